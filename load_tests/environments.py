"""Environments of the peers: `.venv-peers/NAME/`, made from `peers/requirements/NAME.txt` when that changed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-peers"
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements"
INSTALL_S = 900

_VERSIONS = """
import importlib.metadata as m, json, platform, sys
print(json.dumps({"Python": platform.python_version(), **{n: m.version(n) for n in sys.argv[1:]}}))
"""


class NotInstalledError(Exception):
    """An environment that could not be made; says why."""


def prepare(name: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing or out of date.

    Raises:
        NotInstalledError: pip failed, or took longer than INSTALL_S.
    """
    python = FOLDER / name / "bin" / "python"
    requirements = REQUIREMENTS / f"{name}.txt"
    stamp = FOLDER / name / ".installed"  # written last: an install that was cut short is begun anew
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(FOLDER / name)])
    install(python, requirements)
    stamp.write_text(requirements.read_text())
    return python


def install(python: Path, requirements: Path) -> None:
    """Into the environment of `python`.

    Raises:
        NotInstalledError: with pip's last error.
    """
    _run([str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(requirements)])


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of packages, as installed."""
    done = subprocess.run(
        [str(python), "-c", _VERSIONS, *packages], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def size_bytes(python: Path) -> int:
    """What the packages of an environment take on the disk, each file once."""
    folder = next((python.parent.parent / "lib").glob("python3*/site-packages"))
    files = {(s.st_dev, s.st_ino): 512 * s.st_blocks for s in (p.lstat() for p in folder.rglob("*"))}
    return sum(files.values())


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"the install took longer than {INSTALL_S} s") from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalledError((errors or done.stderr.splitlines() or ["pip failed"])[-1])
