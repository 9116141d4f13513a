"""Coverage-guided fuzzing of the readers: each target in a process of its own, one after the other."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.service.server import ROOT

FOLDER = ROOT / ".fuzz"
"""`corpus/`: what reached something new, which the next run begins with; `findings/`: what a reader failed on."""
MOST_INPUT_BYTES = 64 * 1024
MOST_CASE_S = 5
MOST_PROCESS_MIB = 1024
"""Of all cases of a target together, with what libFuzzer keeps of them; of a single one: `targets.MOST_BYTES`."""
START_S = 60

_COUNTS = {
    "cases": "number_of_executed_units",
    "new": "new_units_added",
    "slowest_s": "slowest_unit_time_sec",
    "peak_mib": "peak_rss_mb",
}


@dataclass(frozen=True)
class Explored:
    """What became of a target. `new`: cases that reached something new. `fault`: the end of the log of a finding."""

    target: str
    cases: int
    new: int
    slowest_s: int
    peak_mib: int
    fault: str | None

    def __str__(self) -> str:
        told = f"{self.target:<10}{self.cases:>10,} cases{self.new:>7,} new"
        told += f", slowest {self.slowest_s} s, at most {self.peak_mib} MiB: "
        return told + ("nothing found" if self.fault is None else f"FOUND\n{self.fault}")


def explore(
    target: str,
    seconds: int,
    folder: Path = FOLDER,
    command: Sequence[str] = ("-m", "tests.fuzz.child"),
) -> Explored:
    """Fuzz one target for some seconds, or until something is found.

    Args:
        command: what Python runs.
    """
    corpus, findings = folder / "corpus" / target, folder / "findings"
    for needed in (corpus, findings):
        needed.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="latentry-fuzz-") as scratch:
        done = subprocess.run(
            [
                *(sys.executable, *command, target, scratch, str(corpus)),
                *(f"-max_total_time={seconds}", f"-max_len={MOST_INPUT_BYTES}", f"-timeout={MOST_CASE_S}"),
                *(f"-rss_limit_mb={MOST_PROCESS_MIB}", f"-artifact_prefix={findings}/{target}-"),
                "-print_final_stats=1",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
            timeout=seconds + START_S,
        )
    counts = {name: _count(theirs, done.stdout) for name, theirs in _COUNTS.items()}
    return Explored(target, **counts, fault=None if done.returncode == 0 else done.stdout[-4000:])


def run(targets: Sequence[str], seconds: int) -> bool:
    """Some targets, or all, in equal parts of some seconds; whether nothing was found."""
    if importlib.util.find_spec("atheris") is None:
        print("The readers were not explored: atheris is there for Linux on x86-64 alone.")
        return True
    results = []
    for target in targets or TARGETS:
        results.append(explore(target, max(1, seconds // len(targets or TARGETS))))
        print(results[-1], flush=True)
    return all(result.fault is None for result in results)


def _count(name: str, log: str) -> int:
    found = re.search(rf"^stat::{name}:\s+(\d+)$", log, re.MULTILINE)
    return int(found[1]) if found else 0
