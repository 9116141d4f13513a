"""Clients that say half of what they want, or nothing, or far too much."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from load_tests.processes import client_ports
from tests.service.server import running, serve

HEAD_S = 0.5
LONG = 40_000
WHOLE = b"POST /sample?model=tiny-gan&seed=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def url(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("slow")
    with serve(models_dir, scratch, workers=1, head_timeout_s=HEAD_S, request_timeout_s=1) as url:
        yield url


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)


def read(connection: socket.socket) -> bytes:
    """All until the server ends the connection."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def status(connection: socket.socket) -> int:
    """Of one answer, which is read whole: its head and its body may come apart."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12])


def assert_ended(data: bytes, expected: int, says: str) -> None:
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % expected)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert says in json.loads(body)["detail"]


def sent_before_the_end(connection: socket.socket, pieces: list[bytes], pause_s: float) -> int:
    """How many pieces went out before the server ended the connection."""
    for i, piece in enumerate(pieces):
        try:
            connection.sendall(piece)
        except OSError:
            return i
        time.sleep(pause_s)
    return len(pieces)


def test_half_a_head_is_given_up(url: str) -> None:
    started_s = time.perf_counter()
    with connect(url) as connection:
        connection.sendall(WHOLE[:30])
        assert_ended(read(connection), 408, "not there after 0.5 seconds")
    assert HEAD_S * 0.9 < time.perf_counter() - started_s < 3


def test_a_head_that_comes_by_drops_is_given_up(url: str) -> None:
    started_s = time.perf_counter()
    with connect(url) as connection:
        assert sent_before_the_end(connection, [bytes([byte]) for byte in WHOLE], 0.05) < len(WHOLE)
    assert time.perf_counter() - started_s < 3


def test_so_is_the_head_of_a_later_request(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(WHOLE)
        assert status(connection) == 200
        connection.sendall(WHOLE[:30])
        assert b"HTTP/1.1 408" in read(connection)


def test_who_says_nothing_is_not_listened_to_for_ever(url: str) -> None:
    with connect(url) as connection:
        assert read(connection) == b""


def test_a_head_in_two_pieces_is_a_head(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(WHOLE[:30])
        time.sleep(HEAD_S / 2)
        connection.sendall(WHOLE[30:])
        assert status(connection) == 200
        time.sleep(2 * HEAD_S)  # nothing is held against it later
        connection.sendall(WHOLE)
        assert status(connection) == 200


def test_a_head_without_an_end_is_too_long(url: str) -> None:
    line = b"X-More: " + b"x" * 1000 + b"\r\n"
    with connect(url) as connection:
        assert sent_before_the_end(connection, [WHOLE[:-2], *[line] * 10_000], 0) < 10_000
    with connect(url) as connection:
        connection.sendall(WHOLE[:-2] + line * 70)
        assert_ended(read(connection), 431, "65,536 bytes")


def test_half_a_body_is_given_up(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(WHOLE.replace(b"Content-Length: 0", b"Content-Length: 10") + b"{")
        assert status(connection) == 504


def test_who_reads_nothing_is_given_up(models_dir: Path, tmp_path: Path) -> None:
    """More than sockets hold: what is left, the service would keep for as long as it had to."""
    with running(models_dir, tmp_path, workers=1, request_timeout_s=1, max_streamed_images=LONG) as service:
        [worker] = service.workers()
        with connect(service.url) as connection:
            connection.sendall(
                b"POST /sample?model=tiny-rgb&n=%d HTTP/1.1\r\nHost: x\r\nAccept: application/x-npy\r\n"
                b"Content-Length: 0\r\n\r\n" % LONG
            )
            assert connection.recv(12) == b"HTTP/1.1 200"
            own, deadline_s = connection.getsockname()[1], time.perf_counter() + 10
            assert own in client_ports(worker)
            while own in client_ports(worker):
                assert time.perf_counter() < deadline_s
                time.sleep(0.05)
    assert "sample 200" in service.log.read_text()


def test_they_are_in_nobodys_way(url: str) -> None:
    slow = [connect(url) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(WHOLE[:30])
        started_s = time.perf_counter()
        for _ in range(20):
            assert httpx.post(f"{url}/sample?model=tiny-gan").status_code == 200
        assert time.perf_counter() - started_s < 2
    finally:
        for connection in slow:
            connection.close()


def test_bodies_together_have_a_limit(models_dir: Path, tmp_path: Path) -> None:
    """Half a body of each of two is held; the third finds no room, until one has left."""
    limits = {"max_held_bytes": 300_000, "max_body_bytes": 400_000}
    head = b"POST /score?model=tiny-gan HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    with serve(models_dir, tmp_path, workers=1, request_timeout_s=20, **limits) as url:
        one, other, third = connect(url), connect(url), connect(url)
        for connection in (one, other):
            connection.sendall(head % 200_000 + bytes(140_000))
        time.sleep(0.5)
        third.sendall(head % 60_000 + bytes(60_000))
        assert status(third) == 429
        one.close()
        time.sleep(0.5)
        third = connect(url)
        third.sendall(head % 60_000 + bytes(60_000))
        assert status(third) == 400  # not an image
        other.close()
        time.sleep(0.5)
        alone = connect(url)
        alone.sendall(head % 399_000 + bytes(399_000))
        assert status(alone) == 400
