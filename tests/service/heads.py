"""What an HTTP/1.1 parser takes for one whole request, beside what is read at one look."""

import httptools

from service.launch import whole

HEADS = [
    b"POST /sample?model=mnist-gan&n=64 HTTP/1.1\r\nHost: here\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n",
    b"POST /sample HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /v2/models/a.generate/infer HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /encode? HTTP/1.1\r\nHost: here\r\nX-Empty:\r\nAccept: image/png\r\nAccept: a, b;q=0\r\n\r\n",
]
"""Plain ones."""


class _Told:
    """What httptools tells of the messages it reads."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


def check(data: bytes) -> None:
    """Raises AssertionError where `whole.read` takes what the server's parser takes for something else."""
    request = whole.read(data)
    if request is None:
        return
    told = _Told()
    parser = httptools.HttpRequestParser(told)
    parser.feed_data(data)
    assert (told.begun, told.ended) == (1, 1)
    url = httptools.parse_url(told.url)
    assert (url.path, url.query or b"") == (request.path.encode(), request.query)
    assert not url.fragment
    assert told.headers == request.headers()
    assert told.body == request.body
    assert parser.get_method() == b"POST"
    assert parser.get_http_version() == "1.1"
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
