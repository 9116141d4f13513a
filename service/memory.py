"""Memory that was freed, given back to the operating system. Only of glibc is it asked; others are left alone."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

_M_ARENA_MAX = -8  # malloc.h


def share_heap() -> None:
    """Have all threads take memory from one heap: `trim` gives back the free end of that one, and of no other.

    To be called while there is one thread.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Have the C library give back what it keeps for later: the pages of released sessions."""
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


@cache
def _of_glibc(name: str) -> Callable[..., Any] | None:
    library = ctypes.CDLL(None)
    return getattr(library, name, None) if hasattr(library, "gnu_get_libc_version") else None
