"""One round of the benchmark: every cell of every server, the servers in turns.

All servers are started, checked and then stopped where they stand (SIGSTOP). For each cell each goes on for as long as
it takes to measure it: so the servers' numbers of a cell are seconds apart, and a machine that is slower at times is so
for all of them. A server that does not bear it has a turn of its own.
"""

import argparse
import http.client
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from load_tests import bench_latentry, environments, goodput, limit
from load_tests.bench_numbers import LATENTRY
from load_tests.bench_results import WORKERS, Results
from load_tests.generator import Load, run_apart
from load_tests.peers.sampler import GRAPH, NPY, PNG, Sampler
from load_tests.running import Running, ServerError, StartError, running
from load_tests.servers import Server

ROOT = Path(__file__).resolve().parents[1]
OPEN_CONNECTIONS = 64
WARM_UP_S = 0.3
START_AT = 0.5
"""Where the search for the goodput starts, as a part of the best closed loop."""
START_TRIES = 2
"""On a busy machine a server can miss deadlines of its own."""
FAULTS = (
    ServerError,
    environments.NotInstalledError,
    OSError,
    http.client.HTTPException,
    subprocess.SubprocessError,
)
"""What a server can do to its own row."""


class Round:
    """Measures servers, and puts what it finds into `results`."""

    def __init__(self, number: int, args: argparse.Namespace, results: Results, sampler: Sampler) -> None:
        self._number = number
        self._args = args
        self._results = results
        self._sampler = sampler

    def measure(self, servers: Sequence[Server]) -> None:
        """What goes wrong with a server is a line of its row; what was measured of it by then is kept."""
        self._in_turns([server for server in servers if server.bears_a_stop])
        for server in servers:
            if not server.bears_a_stop:
                self._in_turns([server])

    def _in_turns(self, servers: Sequence[Server]) -> None:
        with ExitStack() as stack:
            started = [run for server in servers if (run := self._start(server, stack)) is not None]
            runs = list(started)
            with self._memory(started):
                for n, media_type, connections in itertools.product(
                    (1, 64), (NPY, PNG), self._args.connections
                ):
                    self._say(f"{n} x {media_type}, {connections} connections")
                    for run in list(runs):
                        with self._limit(run, n, media_type, connections), self._turn(run, runs):
                            self._closed_loop(run, n, media_type, connections)
                self._climb(runs)
                for run in list(runs):
                    if run.server.name == LATENTRY:
                        self._say("a steady load, and a long request")
                        with self._turn(run, runs):
                            self._of_latentry(run)

    def _start(self, server: Server, stack: ExitStack) -> Running | None:
        """Start and check a server, and stop it where it stands until its first turn. None: it cannot be had."""
        row = self._results.server(server.name)
        self._say(server.label)
        for attempt in range(1, START_TRIES + 1):
            try:
                python = interpreter(server, self._args)
                if "versions" not in row:
                    row["versions"] = environments.versions(python, server.packages)
                    row["environment_bytes"] = environments.size_bytes(python)
                scratch = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
                folder = Path(stack.enter_context(scratch))
                run = stack.enter_context(running(server, python, folder, workers=WORKERS))
                stack.callback(run.go_on)  # before it is ended
                row["start_s"].append(run.start_s)
                run.check(self._sampler)
                warm_up = Load(
                    run.port, server.request(1, NPY), seconds=self._args.warm_up_seconds, seed=1000
                )
                run_apart(replace(warm_up, warm_up_s=0.0))
            except FAULTS as error:
                again = isinstance(error, StartError) and attempt < START_TRIES
                self._note(server, error, " (it is tried again)" * again)
                if again:
                    continue
                return None
            run.stop()
            return run
        return None

    @contextmanager
    def _turn(self, run: Running, runs: list[Running]) -> Iterator[None]:
        """A server goes on for a while. With a fault it is out of `runs`."""
        run.go_on()
        try:
            yield
            if (status := run.process.poll()) is not None:
                raise ServerError(f"ended with status {status}")
        except FAULTS as error:
            runs.remove(run)
            self._note(run.server, error)
        finally:
            run.stop()
            self._results.save()

    @contextmanager
    def _memory(self, runs: Sequence[Running]) -> Iterator[None]:
        """Of all servers, at the end."""
        try:
            yield
        finally:
            for run in runs:
                memory = [asdict(process) for process in run.memory()]
                self._results.server(run.server.name)["memory"].append(memory)
            self._results.save()

    def _closed_loop(self, run: Running, n: int, media_type: str, connections: int) -> None:
        measured = run_apart(
            Load(
                run.port,
                run.server.request(n, media_type),
                connections=connections,
                seconds=self._args.seconds,
                warm_up_s=WARM_UP_S,
                seed=self._number,
                body_bytes=run.lengths[n, media_type],
            )
        )
        cell = self._cell(n, media_type, connections)
        self._results.server(run.server.name)["closed"].append(cell | asdict(measured))

    def _cell(self, n: int, media_type: str, connections: int) -> dict[str, Any]:
        return {"round": self._number, "n": n, "media_type": media_type, "connections": connections}

    def _climb(self, runs: list[Running]) -> None:
        """The goodput of all servers, each a step at a time; n = 1, npy."""
        climbs = {
            run.server.name: goodput.Climb(max(self._start_rps(run), goodput.LOWEST_RPS)) for run in runs
        }
        while climbing := [run for run in runs if not climbs[run.server.name].is_over]:
            self._say("open loop, " + ", ".join(run.server.name for run in climbing))
            for run in climbing:
                climb = climbs[run.server.name]
                with self._turn(run, runs):
                    climb.note(run_apart(self._open_load(run, climb.rate)))
        for name, climb in climbs.items():
            kept = goodput.best(climb.steps)
            told = [{"rate": step.rate, "kept": step.kept, **asdict(step.measured)} for step in climb.steps]
            found = {"round": self._number, "goodput_rps": kept.rate if kept else 0.0, "steps": told}
            self._results.server(name)["open"].append(found)

    def _start_rps(self, run: Running) -> float:
        cells = self._results.server(run.server.name)["closed"]
        closed: list[float] = [
            cell["rps"]
            for cell in cells
            if (cell["round"], cell["n"], cell["media_type"]) == (self._number, 1, NPY)
        ]
        return START_AT * max(closed)

    def _open_load(self, run: Running, rate: float) -> Load:
        return Load(
            run.port,
            run.server.request(1, NPY),
            "open",
            OPEN_CONNECTIONS,
            self._args.open_seconds,
            rate,
            warm_up_s=WARM_UP_S,
            seed=self._number,
            body_bytes=run.lengths[1, NPY],
        )

    def _of_latentry(self, run: Running) -> None:
        args, row = self._args, self._results.server(run.server.name)
        told = bench_latentry.steady(
            run, seed=self._number, capacity_s=args.open_seconds, seconds=args.steady_seconds
        )
        row["steady"].append({"round": self._number, **told})
        for connections in bench_latentry.BESIDE_CONNECTIONS:
            told = bench_latentry.beside_long(
                run, connections, seed=self._number, seconds=args.steady_seconds / 2
            )
            row["beside"].append({"round": self._number, **told})

    @contextmanager
    def _limit(self, run: Running, n: int, media_type: str, connections: int) -> Iterator[None]:
        """Beside a cell of Latentry: images a second of onnxruntime alone in batches of n, right before and after it;
        what others took of the cores before."""
        if run.server.name != LATENTRY:
            yield
            return
        busy = psutil.cpu_percent(interval=0.5) / 100
        found = self._cell(n, media_type, connections) | {"busy": busy, "before": self._images_per_s(n)}
        self._results.table["limits"].append(found)
        yield
        found["after"] = self._images_per_s(n)

    def _images_per_s(self, n: int) -> float:
        seconds = self._args.limit_seconds
        return limit.images_per_s(GRAPH.parent, ["generate"], n, processes=WORKERS, seconds=seconds)

    def _note(self, server: Server, error: Exception, more: str = "") -> None:
        fault = {"round": self._number, "fault": plain(error) + more}
        self._results.server(server.name)["faults"].append(fault)
        print(f"  {server.label}: {error}", file=sys.stderr)

    def _say(self, what: str) -> None:
        print(f"round {self._number} of {self._args.rounds}: {what} ...", flush=True)


def plain(error: Exception) -> str:
    """What an error says: one line, cut short, without the folders of this machine."""
    return re.sub(r"(/[\w.@~-]+)+/", "", " ".join(str(error).split()))[:400]


def interpreter(server: Server, args: argparse.Namespace) -> Path:
    """Of the server's environment; a peer's is made first.

    Raises:
        NotInstalledError: it cannot be had.
    """
    if server.environment is not None:
        return environments.prepare(server.environment)
    python: Path = args.python.absolute()  # not resolved: a venv's interpreter is a link
    if not python.exists():
        raise environments.NotInstalledError(f"{args.python} is not there: `make bench` makes it")
    return python
