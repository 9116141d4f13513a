"""What an HTTP/1.1 parser takes for one whole request, beside what is told at one look."""

import httptools

from service.launch import whole

HEADS = [
    b"POST /sample?model=mnist-gan&n=64 HTTP/1.1\r\nHost: here\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n",
    b"POST /sample HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /v2/models/a.generate/infer HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /encode HTTP/1.1\r\nHost: here\r\n\r\n",
]
"""Plain ones."""


class _Told:
    """What httptools tells of the messages it reads."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.url = b""

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_complete(self) -> None:
        self.ended += 1


def check(data: bytes) -> None:
    """Raises AssertionError where `whole.path_of` and the server's parser would read on at different places."""
    path = whole.path_of(data)
    if path is None:
        return
    told = _Told()
    parser = httptools.HttpRequestParser(told)
    try:
        parser.feed_data(data)
    except httptools.HttpParserError:
        return  # a parser would have given up: whatever follows, it is nobody's request
    assert (told.begun, told.ended) == (1, 1)
    assert told.url.partition(b"?")[0] == path.encode()
    assert parser.get_method() == b"POST"
    assert parser.get_http_version() == "1.1"
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
