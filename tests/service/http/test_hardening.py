"""What no answer and no log line may hold, whatever a caller sends."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.http.conftest import SETTLED_S
from tests.service.http.test_bad_requests import assert_problem
from tests.service.server import Service, running

INFER = "/v2/models/tiny-vae.generate/infer"
ANSWERS = [
    ("POST", "/sample?model=tiny-vae&seed=1", 200),
    ("POST", "/sample?model=tiny-vae&n=300", 200),
    ("POST", "/sample", 400),
    ("GET", "/sample", 405),
    ("GET", "/nope", 404),
    ("GET", "/", 200),
    ("GET", "/docs.json", 200),
    ("GET", "/static_content/swagger-ui.css", 200),
    ("GET", "/static_content/nope", 404),
    ("GET", "/models", 200),
    ("GET", "/metrics", 200),
    ("GET", "/livez", 200),
    ("GET", "/readyz", 200),
    ("GET", "/v2", 200),
    ("POST", INFER, 400),
    ("GET", INFER, 405),
]
NPY = {"Accept": "application/x-npy", "Origin": "http://elsewhere.test"}


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_is_taken_for_what_it_says_it_is(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = http.request(method, path, headers=NPY)
    assert answer.status_code == status
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/sample",
        "/score",
        "/models",
        "/models/tiny-vae",
        "/metrics",
        "/livez",
        "/docs.json",
        "/",
        "/v2",
        INFER,
    ],
)
def test_pages_of_other_origins_are_allowed_nothing(http: httpx.Client, path: str) -> None:
    preflight = {
        "Origin": "http://elsewhere.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    asked = http.options(path, headers=preflight)
    if path.startswith("/v2"):
        assert (asked.status_code, asked.headers["content-type"]) == (405, "application/json")
    else:
        assert_problem(asked, 405)
    sent = http.post(path, json={"model": "tiny-vae"}, headers=preflight)
    read = http.get(path, headers=preflight)
    for answer in (asked, sent, read):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


HEADERS = {"allow", "content-length", "content-type", "date", "x-content-type-options", "x-request-id"}
NASTY = [
    "\n",
    "\r",
    "\0",
    "\x1b[31m\x1b]0;title\x07",
    "\x7f",
    "\x9b31m",  # an escape sequence in 8 bits
    "\x85",
    "\u2028",
    "\u202e",  # from here on to the left
    "\U0001f600",
    '"}\n{"level": "info", "message": "forged"}',
]
HEADS = [
    b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x1b[31mb\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\nX-Forged: b\r\n",
    b"\x1b[31m / HTTP/1.1\r\nHost: x\r\n",
    b"BREW\x1b[31m / HTTP/1.1\r\nHost: x\r\n",
    b"POST /sample HTTP/1.1\r\nHost: x\r\nContent-Length: \x1b[31m\r\n",
    b"POST /sample HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: \x1b[31m\r\n",
]


@pytest.fixture(scope="module")
def service(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(models_dir, tmp_path_factory.mktemp("hardening"), workers=1, log_level="DEBUG") as service:
        yield service


def logged(service: Service, skip: int = 0) -> str:
    """The log, but for its first characters, once all is in it."""
    time.sleep(SETTLED_S)
    return service.log.read_bytes().decode()[skip:]


def assert_plain(log: str) -> list[dict[str, Any]]:
    """Each line is one JSON object, of which a terminal shows all and does nothing."""
    lines = log.split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert line.isascii(), line
        assert line.isprintable(), line
    return [json.loads(line) for line in lines]


def test_what_a_caller_writes_is_escaped_in_the_log(service: Service) -> None:
    before = len(logged(service))
    requests = 0
    with httpx.Client(base_url=service.url, timeout=30) as http:
        for text in NASTY:
            escaped = "".join(f"%{byte:02x}" for byte in text.encode())
            name = f"a{text}b"
            answers = [
                http.post("/sample", json={"model": name}),
                http.post("/sample", params={"model": name}, json={}),
                http.post("/sample", json={"model": "tiny-vae", "discriminator": name, "keep": 1}),
                http.post(f"/v2/models/a{escaped}b.generate/infer"),
                http.get(f"/models/a{escaped}b"),
                http.get(f"/a{escaped}b"),
            ]
            for answer in answers:
                assert answer.status_code == 404, answer.text
                assert set(answer.headers) <= HEADERS
            requests += len(answers)
    lines = assert_plain(logged(service, before))
    assert {line["logger"] for line in lines} == {"service.telemetry"}
    assert len(lines) == requests
    for text in NASTY:  # they are there, to be read
        assert [line["model"] for line in lines].count(f"a{text}b") == 3


def test_no_bytes_of_a_head_come_back_or_reach_the_log(service: Service) -> None:
    before = len(logged(service))
    url = httpx.URL(service.url)
    for head in HEADS:
        with socket.create_connection((url.host, url.port or 0), timeout=5) as connection:
            connection.sendall(head + b"Connection: close\r\n\r\n")
            answer = b""
            while received := connection.recv(65536):
                answer += received
        assert answer.startswith(b"HTTP/1.1 "), head
        assert b"\x1b" not in answer, head
        assert b"forged" not in answer.partition(b"\r\n\r\n")[0].lower(), head
    assert_plain(logged(service, before))
