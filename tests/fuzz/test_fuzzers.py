"""The fuzzers see what there is to be seen: `make fuzz` in short, and what is planted is found."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.errors import BadRequest, InternalError, TooLarge
from service.manifest import BundleError
from tests.fuzz import api, readers, targets
from tests.fuzz.memory import peak_bytes
from tests.service.server import ROOT, serve

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is there for Linux on x86-64 alone"
)

PLANTED = """
import sys
sys.path.insert(0, {root!r})
from tests.fuzz import child, targets
from tests.fuzz.child import atheris

@atheris.instrument_func
def broken(data):
    if data[:4] == b"ruin":
        raise KeyError("planted")

targets.TARGETS["planted"] = lambda _: targets.Target([broken], [b"rain"])
child.main(sys.argv[1:])
"""


@needs_atheris
def test_what_is_planted_is_found(tmp_path: Path) -> None:
    script = tmp_path / "planted.py"
    script.write_text(PLANTED.format(root=str(ROOT)))
    explored = readers.explore("planted", 30, tmp_path, [str(script)])
    assert explored.fault is not None
    assert "KeyError: 'planted'" in explored.fault
    assert [path.read_bytes()[:4] for path in (tmp_path / "findings").iterdir()] == [b"ruin"]


def fill(_: bytes) -> None:
    """As much as the process ever held, and more."""
    now_bytes = psutil.Process().memory_info().rss
    bytearray(b"a") * (peak_bytes() - now_bytes + 2 * targets.MOST_BYTES)


def fail(error: Exception) -> targets.Reader:
    def read(_: bytes) -> None:
        raise error

    return read


@pytest.mark.parametrize(
    ("reader", "found"),
    [
        (fail(ValueError("planted")), ValueError),
        (fail(InternalError()), InternalError),
        (fail(BadRequest("x" * targets.MOST_REFUSAL_BYTES)), targets.FindingError),
        (fill, targets.FindingError),
    ],
)
def test_what_no_reader_may_do_is_a_finding(reader: targets.Reader, found: type[Exception]) -> None:
    with pytest.raises(found):
        targets.attempt(targets.Target([reader], []), b"")


@pytest.mark.parametrize("error", [BadRequest("short"), TooLarge("short"), BundleError("any")])
def test_a_refusal_is_none(error: Exception) -> None:
    targets.attempt(targets.Target([fail(error)], []), b"")


class Liar(BaseHTTPRequestHandler):
    """Describes an answer in JSON, and says something else."""

    document: dict[str, Any]

    def do_GET(self) -> None:
        body = json.dumps(self.document).encode() if self.path == "/docs.json" else b"text"
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if self.path == "/docs.json" else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def liar() -> Iterator[str]:
    content = {"application/json": {"schema": {"type": "object"}}}
    operation = {"responses": {"200": {"description": "OK", "content": content}}}
    Liar.document = {
        "openapi": "3.1.0",
        "info": {"title": "a", "version": "1"},
        "paths": {"/a": {"get": operation}},
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_answer_that_is_not_as_described_is_found() -> None:
    with liar() as url:
        asked = api.ask(url, 1, ["fuzzing"])
    assert asked.cases == 1
    assert asked.failures == ["Undocumented Content-Type: GET /a"]


def test_the_service_is_as_described(tmp_path: Path) -> None:
    """What schemathesis counts up rather than draws, which is nearly the same each time."""
    with serve(None, tmp_path, workers=1, **api.LIMITS) as url:
        # Whether a request is wrong cannot always be told from the schema alone: `make fuzz` looks at those.
        checks = [check for check in api.CHECKS if check != "negative_data_rejection"]
        asked = api.ask(url, 1, ["examples", "coverage"], checks)
    assert asked.failures == [], asked.log
    assert asked.cases > 1000
