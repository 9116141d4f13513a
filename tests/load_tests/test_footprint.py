"""Each step of the start, for every model of this repository."""

import re
import subprocess
import sys

import pytest

from load_tests.footprint import ROOT


def test_every_step_is_measured_and_takes_something() -> None:
    """In a process of its own, that has imported nothing yet."""
    done = subprocess.run(
        [sys.executable, "-m", "load_tests.footprint"],
        cwd=ROOT,
        check=True,
        timeout=90,
        capture_output=True,
        text=True,
    )
    steps, packages = done.stdout.split("\n\n")
    rows = re.findall(r"^\| (.+) \| (-?\d+) \| ([\d.]+) \|$", steps, re.MULTILINE)
    mib, seconds = ({name: float(row[at]) for name, *row in rows} for at in (0, 1))
    assert mib["the models, opened and warmed up"] > 5
    assert abs(mib["a run of 64 images of each"]) < 20
    assert seconds["our service"] > 0.01
    assert mib.pop("**all**") == pytest.approx(sum(mib.values()), abs=len(mib))
    assert "| onnxruntime |" in packages
