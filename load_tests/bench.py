"""Latentry beside what people would otherwise write or install: `make bench`, or `python -m load_tests.bench`.

The same graph, onnxruntime, answers and machine. Results are saved after every cell, and docs/benchmarks.md is rendered
from them alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from load_tests import bench_page, environments
from load_tests.bench_results import start_results
from load_tests.bench_round import ROOT, Round, interpreter
from load_tests.peers.sampler import Sampler
from load_tests.processes import sigterm_as_an_exit
from load_tests.servers import SERVERS, Server

CONNECTIONS, QUICK_CONNECTIONS = (1, 16, 64), (16,)
QUICK_PAGE = ROOT / "load_tests" / "results" / "benchmarks.md"


def run_all(servers: Sequence[Server], args: argparse.Namespace) -> None:
    for server in servers:  # before the clock: what is installed between two measurements heats the machine
        try:
            print(f"{server.label}: {interpreter(server, args)}", flush=True)
        except environments.NotInstalledError as error:
            print(f"{server.label}: not installed: {error}", file=sys.stderr)
    results, sampler = start_results(servers, args), Sampler()
    for number in range(1, args.rounds + 1):
        Round(number, args, results, sampler).measure(servers)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [server.name for server in SERVERS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--rounds", type=int, help="(default 3; quick: 1)")
    parser.add_argument("--seconds", type=float, help="of a closed loop (default 1; quick: 0.5)")
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
    full, quick = (3, 1.0, 2.0, 10.0), (1, 0.5, 0.7, 2.0)
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
        with sigterm_as_an_exit():
            run_all([server for server in SERVERS if server.name in args.only], args)
    bench_page.write(json.loads(args.results.read_text()), args.page)
    print(f"{args.page}\n{args.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
