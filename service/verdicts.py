"""What was read of files that others write, and whether to read them again."""

import logging
import os
from collections.abc import Callable, Container
from pathlib import Path
from typing import TypeVar

from service.manifest import BundleError

T = TypeVar("T")
_Mark = tuple[tuple[str, int, int, int], ...]

_log = logging.getLogger(__name__)


class Verdicts:
    """Each thing is read once for each state that it is found in; only one thread may judge at a time."""

    def __init__(self) -> None:
        self._judged: dict[str, _Mark] = {}
        self._failed: dict[str, tuple[_Mark, str]] = {}

    def judge(self, key: str, path: Path, read: Callable[[], T], *, final: bool) -> T | str | None:
        """What `read` made of a file or a folder, or why it is refused. None: nothing new, or too early to say.

        What fails may be half written. So it is refused where nothing was written since it failed before.

        Args:
            key: its name here.
            read: raises BundleError, or whatever else is wrong with it.
            final: it is whole now, or never.
        """
        mark = _mark(path)
        if self._judged.get(key) == mark:
            return None
        failed_as, reason = self._failed.get(key, (None, ""))
        if failed_as != mark:
            try:
                good = read()
            except BundleError as error:
                reason = str(error)
            except Exception as error:  # whatever is wrong with one, the others are served
                reason = f"{path}: {type(error).__name__}: {error}"
                _log.warning("while reading %s", path, exc_info=True)
            else:
                self._judged[key] = mark
                self._failed.pop(key, None)
                return good
            self._failed[key] = (mark, reason)
            if not final:
                return None
        self._judged[key] = mark
        return reason

    def keep(self, keys: Container[str]) -> None:
        """Forget all others."""
        self._judged = {key: mark for key, mark in self._judged.items() if key in keys}
        self._failed = {key: failed for key, failed in self._failed.items() if key in keys}


def _mark(path: Path) -> _Mark:
    """Another whenever something was written: inode, bytes and time of change of a file, or of all in a folder."""
    try:
        files = sorted(os.scandir(path), key=lambda entry: entry.name) if path.is_dir() else []
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in files]
        own = path.lstat()
    except OSError:  # it is not to be read, or is just going
        return ()
    return (
        (path.name, own.st_ino, 0 if files else own.st_size, own.st_ctime_ns),
        *((name, one.st_ino, one.st_size, one.st_ctime_ns) for name, one in found),
    )
