"""Memory that was freed, given back to the operating system. Only of glibc is it asked; others are left alone."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # malloc.h
_ALONE_BYTES = 1 << 20
"""Blocks from that size on are mapped each by itself, and unmapped when they are freed: in the heap they leave holes
that the next, which is larger, does not fit in. (By itself, glibc raises this to 32 MiB.)"""


def share_heap() -> None:
    """Have all threads take memory from one heap: `trim` gives back the free end of that one, and of no other.

    To be called while there is one thread.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _ALONE_BYTES)


def trim() -> None:
    """Have the C library give back what it keeps for later: the pages of released sessions."""
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


@cache
def _of_glibc(name: str) -> Callable[..., Any] | None:
    library = ctypes.CDLL(None)
    return getattr(library, name, None) if hasattr(library, "gnu_get_libc_version") else None
