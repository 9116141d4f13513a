"""Requests that one look tells all about: no parser is asked where they are turned away anyway."""

import re

MOST_BYTES = 4096
_VERSION = b" HTTP/1.1"
_KEEPS = b"\r\nconnection: keep-alive\r\n"
_SPECIAL = re.compile(rb"connection|transfer-encoding|expect|upgrade|x-request-id")
"""In a head, wherever it is, these ask for more than an answer."""


def path_of(data: bytes) -> str | None:
    """The path of a POST that `data` is, from its first byte to its last; None of all else, and of what is not plain.

    What it takes, an HTTP/1.1 parser takes for one whole request too, or for none at all: where a body ends is known
    from one Content-Length alone, or there is none. (RFC 9112, section 6.3.)
    """
    if len(data) > MOST_BYTES or not data.startswith(b"POST /"):
        return None
    head, end, body = data.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    target = line[len(b"POST ") : -len(_VERSION)]
    path, _, _ = target.partition(b"?")
    if not (end and line.endswith(_VERSION) and target.isascii()) or b" " in target or b"%" in path:
        return None
    fields = b"\r\n%b\r\n" % fields.lower()
    # A line that ends, or begins, as others do not is read in one way here and in another there.
    if (
        fields.count(b"\n") != fields.count(b"\r\n")
        or b"\r\n " in fields
        or b"\r\n\t" in fields
        or b"\r\r" in fields
    ):
        return None
    if _SPECIAL.search(fields.replace(_KEEPS, b"\r\n")):
        return None
    _, name, rest = fields.partition(b"content-length")
    if name:
        length = rest[1:].partition(b"\r\n")[0].strip(b" \t")
        if b"\r\ncontent-length:" not in fields or b"content-length" in rest or not length.isdigit():
            return None
        if int(length) != len(body):
            return None
    elif body:
        return None
    return path.decode("ascii")
