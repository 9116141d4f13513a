"""Latentry beside what people would otherwise write or install: `make bench`, or `python -m load_tests.bench`.

The same graph, onnxruntime, answers and machine; one server at a time. In each round every server has its turn: it is
started, its answers are compared byte by byte, then it is measured; the limit of the machine is taken before the first
round and after each. Results are saved after every cell, and docs/benchmarks.md is rendered from them alone.
"""

import argparse
import http.client
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from load_tests import bench_page, environments, goodput, limit
from load_tests.bench_numbers import LATENTRY
from load_tests.bench_results import WORKERS, Results, start_results
from load_tests.generator import Load, Measured
from load_tests.peers.sampler import GRAPH, NPY, PNG, Sampler
from load_tests.running import Running, ServerError, StartError, running
from load_tests.servers import SERVERS, Server

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS, QUICK_CONNECTIONS = (1, 16, 64), (16,)
OPEN_CONNECTIONS = 64
QUICK_PAGE = ROOT / "load_tests" / "results" / "benchmarks.md"
WARM_UP_S = 0.3
START_AT = 0.7
"""Where the search for the goodput starts, as a part of the best closed loop."""
STEADY_AT = 0.7
"""What Latentry is asked to keep up, as a part of the same."""
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
GENERATOR_S = 60.0
"""Longer than any load; a generator that takes longer hangs."""


def generate(load: Load) -> Measured:
    """Put a load on a server from a process of its own."""
    command = [sys.executable, "-m", "load_tests.generator", json.dumps(asdict(load))]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=load.seconds + GENERATOR_S
    )
    return Measured(**json.loads(done.stdout))


def measure_limit(seconds: float) -> dict[str, float]:
    """Images a second of onnxruntime alone, in batches of 1 and of 64; and what others took of the cores before."""
    busy = psutil.cpu_percent(interval=1.0) / 100
    return {"busy": busy} | {
        str(n): limit.images_per_s(GRAPH.parent, ["generate"], n, processes=WORKERS, seconds=seconds)
        for n in (1, 64)
    }


def closed_loops(run: Running, round_: int, args: argparse.Namespace, results: Results) -> None:
    """All cells of one server.

    Raises:
        ServerError: it ended under the load.
    """
    load = Load(run.port, run.server.request(1, NPY), seconds=args.warm_up_seconds, warm_up_s=0.0, seed=1000)
    generate(load)
    for n, media_type, connections in itertools.product((1, 64), (NPY, PNG), args.connections):
        measured = generate(
            replace(
                load,
                request=run.server.request(n, media_type),
                connections=connections,
                seconds=args.seconds,
                warm_up_s=WARM_UP_S,
                seed=round_,
                body_bytes=run.lengths[n, media_type],
            )
        )
        cell = {"round": round_, "n": n, "media_type": media_type, "connections": connections}
        results.server(run.server.name)["closed"].append(cell | asdict(measured))
        results.save()
        if (status := run.process.poll()) is not None:
            raise ServerError(
                f"ended with status {status} at {connections} connections, n = {n}, {media_type}"
            )


def open_loops(run: Running, round_: int, args: argparse.Namespace, results: Results) -> None:
    """The goodput of one server, and for Latentry its latency at a part of its capacity; n = 1, npy."""
    row = results.server(run.server.name)
    cells = [
        cell for cell in row["closed"] if (cell["round"], cell["n"], cell["media_type"]) == (round_, 1, NPY)
    ]
    capacity = max(cell["rps"] for cell in cells)

    def arrive(rate: float, seconds: float) -> Measured:
        request = run.server.request(1, NPY)
        load = Load(
            run.port, request, "open", OPEN_CONNECTIONS, seconds, rate, warm_up_s=WARM_UP_S, seed=round_
        )
        return generate(replace(load, body_bytes=run.lengths[1, NPY]))

    steps = goodput.search(lambda rate: arrive(rate, args.open_seconds), START_AT * capacity)
    kept = goodput.best(steps)
    row["open"].append(
        {
            "round": round_,
            "goodput_rps": kept.rate if kept else 0.0,
            "steps": [{"rate": step.rate, "kept": step.kept, **asdict(step.measured)} for step in steps],
        }
    )
    if run.server.name == LATENTRY:
        rate = STEADY_AT * capacity
        steady = asdict(arrive(rate, args.steady_seconds))
        row["steady"].append({"round": round_, "capacity_rps": capacity, "rate": rate, **steady})
    results.save()


def turn(server: Server, round_: int, args: argparse.Namespace, results: Results, sampler: Sampler) -> None:
    """Start, check and measure one server; what goes wrong with it is a line of its row."""
    row = results.server(server.name)
    for attempt in range(1, START_TRIES + 1):
        try:
            python = interpreter(server, args)
            if "versions" not in row:
                row["versions"] = environments.versions(python, server.packages)
                row["environment_bytes"] = environments.size_bytes(python)
            measure(server, python, round_, args, results, sampler)
        except FAULTS as error:
            again = isinstance(error, StartError) and attempt < START_TRIES
            row["faults"].append({"round": round_, "fault": plain(error) + " (it is tried again)" * again})
            print(f"  {server.label}: {error}", file=sys.stderr)
            if again:
                continue
        break
    results.save()


def measure(
    server: Server, python: Path, round_: int, args: argparse.Namespace, results: Results, sampler: Sampler
) -> None:
    """Everything about one server in one round.

    Raises:
        ServerError: it did not start, gave other bytes, or ended under the load; what was measured by then is kept.
    """
    row = results.server(server.name)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch,
        running(server, python, Path(scratch), workers=WORKERS) as run,
    ):
        row["start_s"].append(run.start_s)
        run.check(sampler)
        try:
            closed_loops(run, round_, args, results)
            open_loops(run, round_, args, results)
        finally:
            row["memory"].append([asdict(process) for process in run.memory()])


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


def run_all(servers: Sequence[Server], args: argparse.Namespace) -> None:
    for server in servers:  # before the clock: what is installed between two measurements heats the machine
        try:
            print(f"{server.label}: {interpreter(server, args)}", flush=True)
        except environments.NotInstalledError as error:
            print(f"{server.label}: not installed: {error}", file=sys.stderr)
    results, sampler = start_results(servers, args), Sampler()
    results.table["limits"].append(measure_limit(args.limit_seconds))
    for round_ in range(1, args.rounds + 1):
        for server in servers:
            print(f"round {round_} of {args.rounds}: {server.label} ...", flush=True)
            turn(server, round_, args, results, sampler)
        results.table["limits"].append(measure_limit(args.limit_seconds))
        results.save()


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [server.name for server in SERVERS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--rounds", type=int, help="turns of each server (default 2; quick: 1)")
    parser.add_argument("--seconds", type=float, help="of a closed loop (default 2; quick: 0.5)")
    parser.add_argument(
        "--open-seconds", type=float, help="of a step of the open loop (default 2; quick: 0.7)"
    )
    parser.add_argument("--steady-seconds", type=float, help="at 70 %% of capacity (default 10; quick: 2)")
    parser.add_argument("--quick", action="store_true", help="some minutes: that it works, not how fast")
    parser.add_argument(
        "--python", type=Path, default=Path(".venv/bin/python"), help="of the serving environment"
    )
    parser.add_argument(
        "--page", type=Path, help="default docs/benchmarks.md; quick: load_tests/results/benchmarks.md"
    )
    parser.add_argument(
        "--results", type=Path, help="the JSON; by default benchmarks/results.json beside the page"
    )
    parser.add_argument("--render", action="store_true", help="write the page from the JSON; measure nothing")
    args = parser.parse_args(argv)
    full, quick = (2, 2.0, 2.0, 10.0), (1, 0.5, 0.7, 2.0)
    names = ["rounds", "seconds", "open_seconds", "steady_seconds"]
    for name, value in zip(names, quick if args.quick else full, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.page = args.page or (QUICK_PAGE if args.quick else bench_page.PAGE)
    args.results = args.results or args.page.parent / "benchmarks" / "results.json"
    args.connections = QUICK_CONNECTIONS if args.quick else CONNECTIONS
    args.limit_seconds = min(2.0, args.seconds)
    args.warm_up_seconds = min(2.0, 2 * args.seconds)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if not args.render:
        run_all([server for server in SERVERS if server.name in args.only], args)
    bench_page.write(json.loads(args.results.read_text()), args.page)
    print(f"{args.page}\n{args.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
