"""A long answer takes no more memory than a short one, and does not stop the others."""

import re
import threading
import time
from pathlib import Path

import httpx

from tests.service.server import ROOT, Service, running, serve

MOST_MIB = 64


def sample(url: str, n: int) -> None:
    """The answer is read and dropped, as it comes."""
    query = f"/sample?model=mnist-gan&seed=1&n={n}"
    with httpx.stream("POST", url + query, headers={"Accept": "application/x-npy"}, timeout=60) as answer:
        assert answer.status_code == 200
        received = sum(len(part) for part in answer.iter_raw())
    assert received == 128 + 784 * n


def peak_mib(service: Service) -> float:
    """The most memory that the only worker of the service ever held."""
    (worker,) = service.workers()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def test_ten_thousand_images_take_the_memory_of_a_few(tmp_path: Path) -> None:
    with running(ROOT / "models", tmp_path, workers=1) as service:
        for _ in range(3):
            sample(service.url, 64)
        before = peak_mib(service)
        sample(service.url, 10_000)
        assert peak_mib(service) - before < MOST_MIB


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
