"""What the C library is asked for, seen in its own account of itself."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import ctypes, sys, threading
from service import memory

libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc.restype = ctypes.c_void_p
if sys.argv[2] == "shared":
    memory.share_heap()
thread = threading.Thread(target=libc.malloc, args=(5000,))
thread.start()
thread.join()
stream = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize(("how", "heaps"), [("shared", 1), ("not shared", 2)])
def test_threads_take_memory_from_one_heap(how: str, heaps: int, tmp_path: Path) -> None:
    account = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", SCRIPT, str(account), how], cwd=ROOT, check=True, timeout=30)
    assert account.read_text().count("<heap nr=") == heaps
