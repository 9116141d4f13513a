"""Files that appear whole or not at all; one that cannot be written is an error that says what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import WriteError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes any failure to write inside an error that names `path`.

    Raises:
        WriteError: the disk is full, or `path` may not be written.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written ({error.strerror or error}); free space there, or make it writable, "
            "and run the command again"
        ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all: after an error or a kill, `path` is what it was.

    Raises:
        WriteError: as `writing`; nothing is left then.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            with partial.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
