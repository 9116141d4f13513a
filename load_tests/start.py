"""How long the service takes to start, and what its processes hold: `.venv/bin/python -m load_tests.start`.

Starts it a few times by its own launcher and by `bentoml serve`, in turns, and prints the Markdown table that
docs/footprint.md has. Needs the serving environment alone; Linux (PSS).
"""

import argparse
import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from load_tests import processes

ROOT = Path(__file__).resolve().parents[1]
WAYS = {
    "`python -m service`": ["-m", "service"],
    "`bentoml serve`": ["-m", "bentoml", "serve", "service.app:Latentry"],
}
MODELS = ("mnist-ae", "mnist-vae", "mnist-gan")
REQUESTS, CLIENTS, IMAGES = 30, 6, 64
START_S = 60.0
MIB = 2**20


@dataclass(frozen=True)
class Held:
    """MiB. `worker`: private memory of the largest worker; `all`: of all processes, shared pages counted once."""

    worker: float
    all: float


@dataclass(frozen=True)
class Start:
    """`seconds`: from the start of the process until /readyz says 200, with models that are warmed up."""

    seconds: float
    idle: Held
    worked: Held


def start(command: Sequence[str], scratch: Path) -> Start:
    """Start the service once, measure it, have it answer some requests, and measure it again."""
    port = processes.free_ports(1)
    listen = ["--host", "127.0.0.1", "--port", str(port)]
    environment = {"BENTOML_HOME": str(scratch), "BENTOML_DO_NOT_TRACK": "True", "LATENTRY_WORKERS": "2"}
    begin = time.perf_counter()
    with processes.started(
        [sys.executable, *command, *listen], scratch / "service.log", cwd=ROOT, environment=environment
    ) as process:
        _wait(port, process)
        seconds = time.perf_counter() - begin
        time.sleep(2)  # for the worker that is ready last
        idle = _held(process.pid)
        with ThreadPoolExecutor(CLIENTS) as pool:
            paths = [f"/sample?model={MODELS[i % len(MODELS)]}&n={IMAGES}&seed={i}" for i in range(REQUESTS)]
            statuses = set(pool.map(lambda path: _ask(port, "POST", path), paths))
        if statuses != {http.client.OK}:
            raise RuntimeError(f"the service answers {statuses}")
        return Start(seconds, idle, _held(process.pid))


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if _ask(port, "GET", "/readyz") == http.client.OK:
                return
        time.sleep(0.01)
    raise RuntimeError("the service did not start")


def _ask(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={"Accept": "application/x-npy"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _held(pid: int) -> Held:
    found = processes.memory(pid)
    children = [item for item in found if item.pid != pid]
    return Held(max(item.uss_bytes for item in children) / MIB, sum(item.pss_bytes for item in found) / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5, help="of each way (default 5)")
    starts: dict[str, list[Start]] = {name: [] for name in WAYS}
    for _ in range(parser.parse_args().starts):
        for name, command in WAYS.items():
            with tempfile.TemporaryDirectory(prefix="latentry-start-") as scratch:
                starts[name].append(start(command, Path(scratch)))
    print(
        "| | ready after, s | a worker's own MiB, idle | and after work | all processes, MiB, idle | and after work |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in starts.items():
        seconds = [one.seconds for one in found]
        held = [
            statistics.median(value)
            for value in zip(
                *((one.idle.worker, one.worked.worker, one.idle.all, one.worked.all) for one in found),
                strict=True,
            )
        ]
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        print(f"| {name} | {spread} | {' | '.join(f'{value:.0f}' for value in held)} |")


if __name__ == "__main__":
    main()
