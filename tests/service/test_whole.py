"""Requests that are read at one look: never taken for what a parser does not take them for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.launch import whole
from tests.service import heads

PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"2", b"+2", b"2,2", b"{}"),
    *(b"\x00", b"\x0b", b"\xff", b"%2e", b"?", b"#"),
    *(b"\r\n ", b"POST /a HTTP/1.1\r\n\r\n", b"HTTP/1.0", b"\r\nExpect: 100-continue"),
    *(b"Connection: close", b"\r\nConnection: Upgrade", b"\r\nProxy-Connection: close"),
    *(b"Transfer-Encoding: chunked", b"\r\ntransfer-encoding:chunked"),
    *(b"Content-Length: 2", b"\r\nContent-Length: 2", b"\r\nContent-Length : 2", b"\r\nX-A: content-length"),
]


@pytest.mark.parametrize("data", heads.HEADS)
def test_a_plain_request_is_read(data: bytes) -> None:
    assert whole.read(data) is not None
    heads.check(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POST", b"GET"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"{}", b"{"),
        (b"{}", b"{}POST"),
        (b"/sample", b"/s%61mple"),
        (b"/sample", b"http://here/sample"),
        (b"Host: here", b"Connection: close"),
        (b"Host: here", b"Transfer-Encoding: chunked"),
        (b"Host: here", b"Expect: 100-continue"),
        (b"Host: here", b"Proxy-Connection: close"),
        (b"Host: here", b"Connection: keep-alive\r\nConnection: close"),
        (b"Host: here", b"Host: here "),
        (b"Host: here", b"Host: h\xe9re"),
        (b"Host: here", b"Host: he\x00re"),
        (b"Host: here", b"Host here"),
        (b"/sample", b"/sample#n"),
        (b"/sample", b"*"),
        (b"Host: here", b"Host: here\r\n there"),
        (b"Host: here", b"Content-Length: 2"),
        (b"Host: here\r\n", b"Host: here\n"),
        (b"content-length: 2", b"content-length: two"),
        (b"content-length: 2", b"content-length : 2"),
        (b"content-length: 2\r\n", b""),
        (b"Host: here", b"X-Long: " + b"a" * whole.MOST_HEAD_BYTES),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(old: bytes, new: bytes) -> None:
    data = heads.HEADS[1]
    assert whole.read(data) is not None
    assert old in data
    assert whole.read(data.replace(old, new, 1)) is None


@settings(max_examples=3000, deadline=None)
@given(
    st.sampled_from(heads.HEADS),
    st.lists(
        st.tuples(st.integers(0, 160), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=3)),
        max_size=4,
    ),
)
def test_it_agrees_with_the_parser(data: bytes, damages: list[tuple[int, int, bytes]]) -> None:
    for at, cut, piece in damages:
        data = data[:at] + piece + data[at + cut :]
    heads.check(data)
