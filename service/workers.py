"""What the workers of a service tell each other about their models, by files in a folder that they share.

A call to look at the models folder is a number, one higher than that of the call before. Each worker writes down the
number of the last call that it has answered, and what it found.
"""

import fcntl
import json
import os
import struct
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from service.folder import Changes
from service.processes import is_alive

_CALL = "latentry-call"
_ANSWER = "latentry-models-"


@dataclass(frozen=True)
class Answer:
    """What a worker found when it last looked; `call`: the last that it has answered, 0 for none."""

    pid: int
    call: int
    changes: Changes


class Workers:
    """The workers that live now, and this one among them.

    Args:
        folder: the same for all workers; None: the one that they are given for metrics, or one for this process alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp())

    def call(self) -> int:
        """Ask every worker to look; gives the number of the call."""
        descriptor = os.open(self._folder / _CALL, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            number = _number(os.pread(descriptor, 8, 0)) + 1
            os.pwrite(descriptor, struct.pack("Q", number), 0)
        finally:
            os.close(descriptor)
        return number

    def called(self) -> int:
        """The number of the last call; 0 where there was none."""
        try:
            return _number((self._folder / _CALL).read_bytes())
        except FileNotFoundError:
            return 0

    def answer(self, call: int, changes: Changes) -> None:
        """Tell what this worker found."""
        path = self._folder / f"{_ANSWER}{os.getpid()}"
        written = path.with_suffix(".new")
        written.write_text(json.dumps({"call": call, "changes": asdict(changes)}))
        written.replace(path)

    def answers(self) -> list[Answer]:
        """The last answer of each worker that lives, by process id."""
        found = []
        for path in self._folder.glob(f"{_ANSWER}*"):
            pid = path.name.removeprefix(_ANSWER)
            if not pid.isdigit():
                continue  # just being written
            if is_alive(int(pid)):
                written = json.loads(path.read_bytes())
                found.append(Answer(int(pid), written["call"], Changes(**written["changes"])))
            else:
                path.unlink(missing_ok=True)
        return sorted(found, key=lambda answer: answer.pid)


def _number(data: bytes) -> int:
    return int(struct.unpack("Q", data)[0]) if data else 0
