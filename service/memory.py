"""Memory that was freed, given back to the operating system."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any


def trim() -> None:
    """Have the C library give back what it keeps for later: the pages of released sessions. Only glibc can."""
    if (malloc_trim := _malloc_trim()) is not None:
        malloc_trim(0)


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
