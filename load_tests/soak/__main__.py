"""Everything, for a long time: `make soak`, or `python -m load_tests.soak [--minutes 2]`.

Exit status 1: a promise was not kept.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from load_tests.bench_results import machine
from load_tests.chaos.parts import MODEL, MODELS
from load_tests.chaos.promises import told
from load_tests.chaos.reloads import copy_of
from load_tests.generator import run_loop
from load_tests.processes import sigterm_as_an_exit
from load_tests.soak import page
from load_tests.soak.traffic import soak
from tests.service.server import ROOT, running

MINUTES = 20.0
SHORT_PAGE = ROOT / "load_tests" / "results" / "soak.md"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="default 20")
    parser.add_argument("--python", type=Path, default=Path(".venv/bin/python"), help="of the service")
    parser.add_argument(
        "--page", type=Path, help="default docs/soak.md; of less than 20 minutes load_tests/results/soak.md"
    )
    args = parser.parse_args(argv)
    args.page = args.page or (page.PAGE if args.minutes >= MINUTES else SHORT_PAGE)
    args.python = args.python.absolute()  # not resolved: a venv's interpreter is a link
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args, conditions = parse_args(argv), machine()
    with sigterm_as_an_exit(), tempfile.TemporaryDirectory(prefix="latentry-soak-") as scratch:
        root = Path(scratch) / "models"
        shutil.copytree(MODELS, root)
        with running(root, Path(scratch), python=args.python, workers=2, admin=True) as service:
            model = MODEL.parent.name
            found = run_loop(
                soak(
                    service,
                    root,
                    model,
                    copy_of(MODEL),
                    seconds=60 * args.minutes,
                    tell=_tell,
                )
            )
    page.write(found, conditions, args.page)
    print(f"{told(found.promises())}\n{args.page}")
    return 0 if all(promise.kept for promise in found.promises()) else 1


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
