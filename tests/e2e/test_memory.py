"""A long answer takes no more memory than a short one, and does not stop the others."""

import re
import threading
import time
from pathlib import Path

import httpx

from tests.service.server import ROOT, serve

MOST_MIB = 64


def sample(url: str, n: int) -> None:
    """The answer is read and dropped, as it comes."""
    query = f"/sample?model=mnist-gan&seed=1&n={n}"
    with httpx.stream("POST", url + query, headers={"Accept": "application/x-npy"}, timeout=60) as answer:
        assert answer.status_code == 200
        received = sum(len(part) for part in answer.iter_raw())
    assert received == 128 + 784 * n


def peak_mib(home: Path) -> float:
    """The most memory that the worker of the service whose BENTOML_HOME this is ever held."""
    peaks = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"BENTOML_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0")
            if ours and b"_bentoml_impl.worker" in (process / "cmdline").read_bytes():
                found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
                peaks.append(int(found[1]) / 1024 if found else 0.0)
        except OSError:
            continue  # not ours, or ended
    assert len(peaks) == 1
    return peaks[0]


def test_ten_thousand_images_take_the_memory_of_a_few(tmp_path: Path) -> None:
    with serve(ROOT / "models", tmp_path, workers=1) as url:
        for _ in range(3):
            sample(url, 64)
        before = peak_mib(tmp_path)
        sample(url, 10_000)
        assert peak_mib(tmp_path) - before < MOST_MIB


def test_others_are_answered_meanwhile(tmp_path: Path) -> None:
    """Not by the clock, which other programs turn: by the order in which answers come."""
    with serve(ROOT / "models", tmp_path, workers=1) as url:
        sample(url, 1)
        long = threading.Thread(target=sample, args=(url, 10_000))
        long.start()
        time.sleep(0.2)
        for _ in range(20):
            sample(url, 1)
        assert long.is_alive()
        long.join()
