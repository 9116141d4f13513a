"""One service for all tests of the HTTP API: two workers, tiny models, limits small enough to run into."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.telemetry.record import FLUSH_S
from tests.service.server import serve

SETTLED_S = 6 * FLUSH_S
MAX_BODY_BYTES = 400_000
MAX_PIXELS = 10_000
LIMITS = {"max_body_bytes": MAX_BODY_BYTES, "max_pixels": MAX_PIXELS, "max_json_values": 150_000}


@pytest.fixture(scope="session")
def service_url(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("service")
    with serve(models_dir, scratch, workers=2, **LIMITS) as url:
        yield url


@pytest.fixture(scope="session")
def http(service_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service_url, timeout=30) as client:
        yield client


def settled_metrics(http: httpx.Client) -> str:
    """The metrics, once every worker has counted what it answered."""
    time.sleep(SETTLED_S)
    return http.get("/metrics").text
