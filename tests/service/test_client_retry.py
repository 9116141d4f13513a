"""Requests that are sent again, and those that are not: against a server on a socket that does what it is told."""

import io
import json
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from service.client import AsyncClient, Client, LatentryError

Step = tuple[int, str | None] | str  # status and Retry-After; or what is done to the connection


class Scripted(ThreadingHTTPServer):
    """Answers by `script`, one step a request, and keeps the bodies; after its end: 200 with an image."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Step] = []
        self.bodies: list[bytes] = []
        self.times: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.server.times.append(time.monotonic())
        step = self.server.script.pop(0) if self.server.script else (200, None)
        if step == "close":
            self.close_connection = True
            return
        if step == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"\x93NUMPY")
            self.close_connection = True
            return
        if step == "stall":
            time.sleep(1)
            self.close_connection = True
            return
        assert isinstance(step, tuple)
        status, after = step
        stream = io.BytesIO()
        np.save(stream, np.zeros((1, 2, 2, 1), np.uint8))
        content = stream.getvalue() if status == httpx.codes.OK else b'{"detail": "later"}'
        self.send_response(status)
        if after is not None:
            self.send_header("Retry-After", after)
        if status != httpx.codes.OK:
            self.send_header("Content-Type", "application/problem+json")
        self.send_header("X-Latentry-Model", "m/1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_503_is_asked_again_when_it_says(server: Scripted) -> None:
    server.script = [(503, "1"), (503, "0")]
    with Client(server.url) as client:
        assert client.sample("m", seed=3).images.shape == (1, 2, 2, 1)
    assert [json.loads(body) for body in server.bodies] == [{"model": "m", "seed": 3, "n": 1}] * 3
    first, second, third = server.times
    assert 1 <= second - first < 2
    assert third - second < 0.5


def test_a_429_without_a_time_is_asked_again_later_and_later(server: Scripted) -> None:
    server.script = [(429, None)] * 3
    with Client(server.url) as client:
        client.sample("m", seed=3)
    waits = np.diff(server.times)
    for wait, longest in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert longest / 2 <= wait < longest + 0.2


@pytest.mark.parametrize("fault", ["close", "half"])
def test_a_connection_that_is_lost_is_asked_again_with_the_same_seed(server: Scripted, fault: str) -> None:
    server.script = [fault, fault]
    with Client(server.url) as client:
        (seed,) = client.sample("m").seeds
    assert [json.loads(body) for body in server.bodies] == [{"model": "m", "seed": seed, "n": 1}] * 3


def test_a_date_to_ask_again_at(server: Scripted) -> None:
    server.script = [(503, formatdate(time.time() - 100, usegmt=True)), (503, "soon")]
    with Client(server.url) as client:
        client.sample("m", seed=3)
    assert len(server.bodies) == 3
    server.script = [(503, formatdate(time.time() + 100, usegmt=True))]
    with Client(server.url) as client, pytest.raises(LatentryError) as caught:
        client.sample("m", seed=3)
    assert 95 < (caught.value.retry_after_s or 0) <= 101


@pytest.mark.parametrize("status", [400, 404, 406, 409, 413, 500, 502, 504])
def test_other_errors_are_not_asked_again(server: Scripted, status: int) -> None:
    server.script = [(status, "0")]
    with Client(server.url) as client, pytest.raises(LatentryError, match=str(status)):
        client.sample("m", seed=3)
    assert len(server.bodies) == 1


def test_a_request_that_times_out_is_not_asked_again(server: Scripted) -> None:
    server.script = ["stall"]
    with Client(server.url, timeout_s=0.2) as client, pytest.raises(httpx.ReadTimeout):
        client.sample("m", seed=3)
    assert len(server.bodies) == 1


def test_it_is_bounded_in_number(server: Scripted) -> None:
    server.script = [(503, "0")] * 10
    with Client(server.url, retries=2) as client, pytest.raises(LatentryError, match="503"):
        client.sample("m", seed=3)
    assert len(server.bodies) == 3
    with Client(server.url, retries=0) as client, pytest.raises(LatentryError, match="503"):
        client.sample("m", seed=3)
    assert len(server.bodies) == 4


def test_it_is_bounded_in_time_and_does_not_wait_in_vain(server: Scripted) -> None:
    server.script = [(429, "3600")]
    begin = time.monotonic()
    with Client(server.url, retry_within_s=2) as client, pytest.raises(LatentryError, match="429") as caught:
        client.sample("m", seed=3)
    assert time.monotonic() - begin < 1
    assert caught.value.retry_after_s == 3600
    server.script = [(503, None)] * 100
    with Client(server.url, retries=100, retry_within_s=0.5) as client, pytest.raises(LatentryError):
        client.sample("m", seed=3)
    assert time.monotonic() - begin < 2


def test_where_nobody_listens_it_is_the_connection_that_fails(server: Scripted) -> None:
    with Scripted() as other:
        url = other.url
    begin = time.monotonic()
    with Client(url, retries=2) as client, pytest.raises(httpx.ConnectError):
        client.sample("m", seed=3)
    assert time.monotonic() - begin >= 0.15  # two waits


def test_whether_it_is_ready_is_asked_once() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, headers={"Retry-After": "0"})

    assert not Client("http://test", transport=httpx.MockTransport(handler)).ready()
    assert asked == ["/readyz"]


async def test_the_asynchronous_client_asks_again(server: Scripted) -> None:
    server.script = [(503, "0"), "close", (429, "0")]
    async with AsyncClient(server.url) as client:
        (seed,) = (await client.sample("m")).seeds
    assert [json.loads(body)["seed"] for body in server.bodies] == [seed] * 4
    server.script = [(504, "0")]
    async with AsyncClient(server.url) as client:
        with pytest.raises(LatentryError, match="504"):
            await client.sample("m", seed=3)
    assert len(server.bodies) == 5
