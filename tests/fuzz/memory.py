"""The most memory that a process ever held."""

import os
import re
from pathlib import Path


def peak_bytes(pid: int | None = None) -> int:
    """Of a process, by default this one: the most of it that was in memory at once, since it started (Linux)."""
    status = Path(f"/proc/{os.getpid() if pid is None else pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0
