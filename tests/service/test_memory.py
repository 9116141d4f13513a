"""What the C library is asked for, seen in its own account of itself."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import manifest

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

LARGE = """
import ctypes, sys
from service import memory

libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
if sys.argv[2] == "shared":
    memory.share_heap()
libc.free(ctypes.c_void_p(libc.malloc(8 << 20)))
libc.malloc(2 << 20)
stream = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
"""
SESSIONS = """
import re, sys
from pathlib import Path
import numpy as np
from service import manifest
from service.runtime import Graph

def mib():
    # Without pages of files, which are another process's, too, or not, as that comes and goes.
    return int(re.search("Anonymous: +([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text())[1]) / 1024

def opened(bundle):
    known = manifest.read_bundle(Path(bundle))
    operation = known.operations["generate"]
    graph = Graph.open(Path(bundle) / operation.graph, operation, known.opset)
    graph.session_rows = 64  # for there to be something to be seen
    return graph

graphs = [opened(bundle) for bundle in sys.argv[1:]]
held = [mib()]
for graph in graphs:
    graph.warm_up()
held.append(mib())
for graph in graphs:
    graph.run(z=np.zeros((64, int(graph.operation.inputs[0].shape[1])), np.float32))
    held.append(mib())
print(*(after - before for before, after in zip(held, held[1:])))
"""


OUTPUTS = (
    SESSIONS.split("graphs =", maxsplit=1)[0]
    + """
from service import memory, runtime

memory.share_heap()
graph = opened(sys.argv[1])
graph.warm_up()
memory.trim()
before = mib()
# What the second leaves of the room of the first, its output fits in.
outputs = [graph.run(z=np.ones((n, int(graph.operation.inputs[0].shape[1])), np.float32)) for n in (64, 48)]
during = mib()
runtime.give_back()
memory.trim()
print(during - before, mib() - before)
"""
)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize(("how", "is_mapped"), [("shared", True), ("not shared", False)])
def test_a_large_block_is_mapped_alone_also_after_others(how: str, is_mapped: bool, tmp_path: Path) -> None:
    account = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", LARGE, str(account), how], cwd=ROOT, check=True, timeout=30)
    mapped = re.search(r'<total type="mmap" count="\d+" size="(\d+)"', account.read_text())
    assert mapped is not None
    assert (int(mapped[1]) > 2 << 20) == is_mapped


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
def test_sessions_share_the_room_of_their_runs_and_a_warm_up_gives_it_back() -> None:
    bundles = [
        ROOT / "models" / name / str(manifest.versions(ROOT / "models" / name)[-1])
        for name in ("stacked-mnist-gan", "mnist-vae", "mnist-ae")
    ]
    done = subprocess.run(
        [sys.executable, "-c", SESSIONS, *map(str, bundles)],
        cwd=ROOT,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    _, first, *others = map(float, done.stdout.split())
    assert first > 2, done.stdout  # the warm-up had given it back
    assert max(others) < 1, done.stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_a_run_took_is_given_back_while_its_outputs_are_used() -> None:
    model = ROOT / "models" / "mnist-vae"
    command = [sys.executable, "-c", OUTPUTS, str(model / str(manifest.versions(model)[-1]))]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True, text=True)
    during, after = map(float, done.stdout.split())
    assert during > 3, done.stdout
    assert after < 1, done.stdout  # the outputs are 0.2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize(("how", "heaps"), [("shared", 1), ("not shared", 2)])
def test_threads_take_memory_from_one_heap(how: str, heaps: int, tmp_path: Path) -> None:
    account = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", SCRIPT, str(account), how], cwd=ROOT, check=True, timeout=30)
    assert account.read_text().count("<heap nr=") == heaps
