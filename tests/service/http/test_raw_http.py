"""What is no HTTP is refused by the server itself, which tells no two requests from one; the next caller is served."""

import socket

import httpx
import pytest

from tests.service.http.test_bad_requests import assert_served

HEADERS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3",
    "a length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    "length as text": b"Content-Length: two",
    "negative length": b"Content-Length: -1",
    "endless length": b"Content-Length: " + b"9" * 30,
    "odd chunks": b"Transfer-Encoding: chunked\r\n\r\nxyz",
    "no colon": b"X-Any",
    "a name with a space": b"X Any: a",
    "a zero byte": b"X-Any: \x00",
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
def test_malformed_http(http: httpx.Client, headers: bytes) -> None:
    url = http.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(b"POST /sample HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n\r\n{}")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert_served(http)
