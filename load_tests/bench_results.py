"""The file of raw results of a benchmark: what is measured, on what, and so far."""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load_tests.servers import Server

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2


class Results:
    """What was measured so far, as in the JSON file, which is written anew at every change."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        self._path = path
        self.table = table
        self.save()

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(_rounded(self.table), separators=(",", ":")) + "\n")
        part.replace(self._path)

    def server(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.table["servers"][name]
        return found


def _rounded(value: Any) -> Any:
    """Six digits of every measured number: no clock here has more, and the file is kept."""
    match value:
        case float():
            return float(f"{value:.6g}")
        case dict():
            return {key: _rounded(part) for key, part in value.items()}
        case list():
            return [_rounded(part) for part in value]
    return value


def start_results(servers: Sequence[Server], args: argparse.Namespace) -> Results:
    settings = ("rounds", "seconds", "open_seconds", "steady_seconds", "limit_seconds", "quick")
    rows = {
        server.name: {
            "label": server.label,
            "how": server.how,
            "docs": server.docs,
            "start_s": [],
            "memory": [],
            "closed": [],
            "open": [],
            "steady": [],
            "beside": [],
            "faults": [],
        }
        for server in servers
    }
    table = {
        "machine": machine(),
        "settings": {name: getattr(args, name) for name in settings},
        "workers": WORKERS,
        "limits": [],
        "servers": rows,
    }
    return Results(args.results, table)


def machine() -> dict[str, Any]:
    """What the numbers depend on, besides the code."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ".", ":!docs/benchmarks*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit.stdout.strip() + ("-dirty" if changed.stdout.strip() else ""),
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
    }
