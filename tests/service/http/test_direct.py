"""A request that comes whole gets, by another way, the answer of one that comes in two pieces."""

import json
import socket
import time
from typing import BinaryIO

import httpx
import pytest

from tests.service.http.conftest import MAX_BODY_BYTES, settled_metrics

NPY = "application/x-npy"
PAUSE_S = 0.05
"""Between two pieces: long enough for the server to read the first by itself."""
ITS_OWN = (b"date", b"x-request-id")

Answer = tuple[bytes, dict[bytes, bytes], bytes]


def request(path: str, body: bytes = b"{}", **headers: str) -> bytes:
    named = {"host": "here", "content_type": "application/json", "content_length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def answers(http: httpx.Client, count: int, *pieces: bytes) -> list[Answer]:
    """Status line, headers and body of each answer on one connection."""
    with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=30) as connection:
        for i, piece in enumerate(pieces):
            if i:
                time.sleep(PAUSE_S)
            connection.sendall(piece)
        with connection.makefile("rb") as stream:
            return [one_answer(stream) for _ in range(count)]


def one_answer(stream: BinaryIO) -> Answer:
    status, headers = stream.readline().strip(), {}
    while line := stream.readline().strip():
        name, _, value = line.partition(b": ")
        headers[name] = value
    if b"content-length" in headers:
        return status, headers, stream.read(int(headers[b"content-length"]))
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return status, headers, body


def in_two(whole: bytes) -> tuple[bytes, bytes]:
    """The last byte of the body apart."""
    return whole[:-1], whole[-1:]


@pytest.mark.parametrize(
    ("whole", "status"),
    [
        (request("/sample?model=tiny-gan&n=3&seed=7", accept=NPY), 200),
        (request("/sample?model=tiny-gan&n=2&seed=7", accept="application/json"), 200),
        (request("/sample?model=tiny-gan&n=300&seed=7", accept=NPY), 200),  # in parts
        (request("/sample?model=tiny-gan&n=300&seed=7", accept="application/zip"), 200),
        (request("/sample?model=tiny-gan&n=1024&seed=7", accept="image/png"), 200),  # encoded aside
        (request("/v2/models/tiny-vae.generate/infer", b'{"inputs": []}'), 400),
        (request("/sample", b'{"model": "none"}'), 404),
        (request("/sample", b'{"model": "tiny-gan", "n": 0}'), 400),
        (request("/sample", b"{"), 400),
        (request("/sample?model=tiny-gan", accept="text/html"), 406),
        (request("/sample?model=tiny-gan", content_type="text/html"), 415),
        (request("/sample?model=tiny-gan", b"x" * (MAX_BODY_BYTES + 1), content_type=NPY), 413),
        (request("/decode?model=tiny-vae", b'{"model": "tiny-vae", "latents": [[1e39]]}'), 400),
        (
            request("/encode?model=tiny-vae", b"x" * 100_000, content_type=NPY),
            400,
        ),  # more than is read at a time
        (request("/sample?model=tiny-gan&n=1024", x_request_timeout_ms="1", accept=NPY), 504),
        (request("/sample?model=tiny-gan", x_request_timeout_ms="0"), 400),
        (request("/sample?model=tiny-gan", x_a="a" * 40_000), 431),
    ],
)
def test_the_answer_is_the_same(http: httpx.Client, whole: bytes, status: int) -> None:
    [direct] = answers(http, 1, whole)
    [other] = answers(http, 1, *in_two(whole))
    assert int(direct[0].split()[1]) == status
    for _, headers, _ in (direct, other):
        for name in ITS_OWN:
            headers.pop(name, None)
    assert without_id(direct) == without_id(other)


def without_id(answer: Answer) -> Answer:
    status, headers, body = answer
    if b"problem" in headers.get(b"content-type", b""):
        body = json.dumps(json.loads(body) | {"request_id": ""}).encode()
    return status, {name: value for name, value in headers.items() if name != b"connection"}, body


def test_requests_behind_each_other_are_answered_in_their_order(http: httpx.Client) -> None:
    whole = [request(f"/sample?model=tiny-gan&seed={seed}", accept=NPY) for seed in (5, 6, 7)]
    apart = [answers(http, 1, one)[0] for one in whole]
    together = answers(http, 3, b"".join(whole))
    halves = answers(http, 3, whole[0] + whole[1][:-1], whole[1][-1:] + whole[2])
    for found in (together, halves):
        assert [body for _, _, body in found] == [body for _, _, body in apart]


def test_a_connection_ends_when_its_client_wants_it(http: httpx.Client) -> None:
    whole = request("/sample?model=tiny-gan&seed=5", accept=NPY, connection="close")
    [(_, headers, body)] = answers(http, 1, whole)
    assert headers[b"connection"] == b"close"
    old = whole.replace(b"HTTP/1.1", b"HTTP/1.0")
    [(_, headers, again)] = answers(http, 1, old)
    assert (headers[b"connection"], again) == (b"close", body)


def test_it_is_logged_and_counted(http: httpx.Client) -> None:
    def count(status: int) -> float:
        text = settled_metrics(http)
        name = f'latentry_requests_total{{model="tiny-gan",operation="sample",status="{status}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    before = count(200), count(400)
    answers(http, 1, request("/sample?model=tiny-gan", accept=NPY))
    answers(http, 1, request("/sample?model=tiny-gan&prior=fitted"))
    assert (count(200), count(400)) == (before[0] + 1, before[1] + 1)


def test_who_calls_can_name_the_request(http: httpx.Client) -> None:
    [(_, headers, _)] = answers(http, 1, request("/sample?model=tiny-gan", x_request_id="mine"))
    assert headers[b"x-request-id"] == b"mine"
