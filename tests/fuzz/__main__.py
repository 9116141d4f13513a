"""`make fuzz`: `python -m tests.fuzz [damage] [api] [readers] [--cases 10000] [--seconds 600]`; without names, all.

damage: hypothesis, on files, forms, manifests and requests; so many cases of each kind.
api: schemathesis, on everything that `/docs.json` describes; so many cases in all.
readers: a coverage-guided fuzzer, on every reader of bytes; for so many seconds in all.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.fuzz import api, readers
from tests.fuzz.targets import TARGETS
from tests.service.server import ROOT

DAMAGE = ("tests/service/test_fuzz.py", "tests/service/http/test_fuzz.py")


def damage(cases: int) -> bool:
    """Run the tests by hypothesis with so many examples each; whether all pass."""
    command = [sys.executable, "-m", "pytest", "--hypothesis-profile=fuzz", *DAMAGE]
    environment = {**os.environ, "FUZZ_CASES": str(cases)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


PARTS: dict[str, Callable[[argparse.Namespace], bool]] = {
    "damage": lambda args: damage(args.cases),
    "api": lambda args: api.run(args.cases),
    "readers": lambda args: readers.run(args.target, args.seconds),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--cases", type=int, default=10_000, help="of damage and api (default 10,000)")
    parser.add_argument("--seconds", type=int, default=600, help="of readers, together (default 600)")
    parser.add_argument(
        "--target", action="append", default=[], choices=list(TARGETS), help="of readers: one alone"
    )
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    results = {name: part(args) for name, part in PARTS.items() if not args.parts or name in args.parts}
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
