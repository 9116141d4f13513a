"""The command line in processes of its own, to be killed or starved: forks of one that has imported torch."""

import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType

import torch

from tests.training.recipes import MINI
from training.checkpoint import read_tensors
from training.config import Config
from training.run_dir import RunDir

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "training.commands", "training.export"])

WRITERS = ("training/files.py", "training/run_dir.py")
CALLS = ("mkdir", "open", "flush", "replace")
"""An instant is the return of one of these C functions, called by one of those files."""


def arguments(config: Config, folder: Path, *more: str, data: Path = MINI) -> list[str]:
    """Of the command line that trains `config` into `folder`."""
    recipe = folder.with_suffix(".toml")
    fields = json.loads(config.to_json())
    lines = [f"{k} = {json.dumps(v)}" for k, v in fields.items() if not isinstance(v, dict)]
    for table in ("optimizer", "model"):
        lines += [f"[{table}]", *(f"{k} = {json.dumps(v)}" for k, v in fields[table].items())]
    recipe.write_text("\n".join(lines))
    out = ["--data", str(data), "--out", str(folder), "--threads", "1", "--device", "cpu"]
    return ["train", str(recipe), *out, *more]


def start(
    argv: Sequence[str], said: Path, *, killed_at: int = 0, longest_file_bytes: int | None = None
) -> ForkServerProcess:
    """`python -m training` with these arguments; what it prints goes to `said`.

    Args:
        killed_at: the instant (1 is the first) at which the process kills itself with SIGKILL; 0: never.
        longest_file_bytes: no file of the process can become longer: writing there fails, as on a full disk.
    """
    process = _CONTEXT.Process(target=_run, args=(list(argv), said, killed_at, longest_file_bytes))
    process.start()
    return process


def run(argv: Sequence[str], said: Path, **faults: int) -> tuple[int, str]:
    """As `start`, and wait: the exit status (-9: killed) and what was printed."""
    process = start(argv, said, **faults)
    process.join(120)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode, said.read_text()


def finish(config: Config, folder: RunDir, said: Path) -> None:
    """As the messages say: with --resume where there is a run, without it where there is none yet."""
    more = ["--resume"] if folder.config.exists() else []
    status, text = run(arguments(config, folder.path, *more), said)
    assert status == 0, text


def assert_equal(one: RunDir, two: RunDir) -> None:
    """Bit for bit, and with nothing left of what was cut short."""
    a, b = (read_tensors(folder.checkpoint)[0] for folder in (one, two))
    assert a.keys() == b.keys()
    assert any(name.startswith("optimizer.") for name in a)
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert log(one) == log(two)
    grids = [sorted(folder.path.glob("grids/*")) for folder in (one, two)]
    assert [path.read_bytes() for path in grids[0]] == [path.read_bytes() for path in grids[1]]
    left = [{p.name for p in folder.path.rglob("*") if "tfevents" not in p.name} for folder in (one, two)]
    assert left[0] == left[1]


def log(folder: RunDir) -> list[dict[str, float]]:
    """Without the seconds, which no two runs share."""
    rows = [json.loads(line) for line in folder.log.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def _run(argv: list[str], said: Path, killed_at: int, longest_file_bytes: int | None) -> None:
    with said.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    from training.__main__ import main

    if killed_at:
        sys.setprofile(_Killer(killed_at))
    with no_file_longer_than(longest_file_bytes):
        sys.exit(main(argv))


@contextmanager
def no_file_longer_than(size_bytes: int | None) -> Iterator[None]:
    """Writes beyond it fail in this process with EFBIG, half done as on a full disk. Needs no privilege."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size_bytes is None else size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _Killer:
    def __init__(self, instant: int) -> None:
        self.left = instant

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if event == "c_return" and getattr(arg, "__name__", "") in CALLS and _of_a_writer(frame):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


def _of_a_writer(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.endswith(WRITERS):
            return True
        frame = frame.f_back
    return False
