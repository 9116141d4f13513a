"""Do the service harm, and see what it promised: `make chaos`, or `python -m load_tests.chaos [--only waves]`.

Exit status 1: a promise was not kept.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from load_tests.bench_results import machine
from load_tests.chaos import page
from load_tests.chaos.parts import PARTS
from load_tests.chaos.promises import Promise, told
from load_tests.processes import sigterm_as_an_exit
from tests.service.server import ROOT

SOME_PAGE = ROOT / "load_tests" / "results" / "chaos.md"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(PARTS)
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names)
    )
    parser.add_argument("--python", type=Path, default=Path(".venv/bin/python"), help="of the service")
    parser.add_argument(
        "--page", type=Path, help="default docs/chaos.md; of some parts load_tests/results/chaos.md"
    )
    args = parser.parse_args(argv)
    args.page = args.page or (page.PAGE if args.only == names else SOME_PAGE)
    args.python = args.python.absolute()  # not resolved: a venv's interpreter is a link
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args, conditions = parse_args(argv), machine()
    found: dict[str, list[Promise]] = {}
    for name in args.only:
        print(f"{name}: {PARTS[name].how} ...", flush=True)
        with sigterm_as_an_exit():
            figures = PARTS[name].figures(args.python)
        found[name] = figures.promises()
        print(json.dumps(asdict(figures)))  # type: ignore[call-overload]  # a dataclass, as Figures says
        print(told(found[name]), flush=True)
    page.write(found, conditions, args.page)
    print(args.page)
    return 0 if all(promise.kept for promises in found.values() for promise in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
