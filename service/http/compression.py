"""Bodies that are compressed on their way: gzip, and deflate, which is zlib's format (RFC 9110, sec. 8.4.1)."""

import gzip
import zlib

from service.errors import BadRequest, TooLarge, UnsupportedMediaType

# Float tensors hardly shrink further at higher levels.
_LEVEL = 1
# zlib's `wbits`: the largest window, + 16 for the gzip format.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


def decompress(body: bytes, content_encoding: str | None, limit: int) -> bytes:
    """A body as it was before `Content-Encoding`. No more than `limit` bytes are ever unpacked.

    Raises:
        UnsupportedMediaType: another coding.
        BadRequest: not one whole stream of that coding.
        TooLarge: more than `limit` bytes.
    """
    coding = (content_encoding or "identity").strip().lower()
    if coding == "identity":
        return body
    if coding not in _WINDOW_BITS:
        raise UnsupportedMediaType.at(
            "header.Content-Encoding", f"must be gzip, deflate or identity, got {coding[:60]!r}"
        )
    stream = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        data = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest.at("body", f"is not {coding}: {error}") from error
    if len(data) > limit:
        raise TooLarge.at("body", f"may have {limit:,} bytes when unpacked (a setting of this server)")
    if not stream.eof:
        raise BadRequest.at("body", f"ends before its {coding} stream does")
    if stream.unused_data:
        raise BadRequest.at(
            "body", f"has {len(stream.unused_data):,} bytes after the end of its {coding} stream"
        )
    return data


def refuse(content_encoding: str | None) -> None:
    """Raises UnsupportedMediaType for a body that is compressed."""
    coding = (content_encoding or "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType.at(
            "header.Content-Encoding",
            f"must be left out, or identity: bodies are compressed under /v2 alone; got {coding[:60]!r}",
        )


def asked_for(accept_encoding: str | None) -> str | None:
    """The coding that a client wants its answer in: the one that it names alone.

    A list of codings is what HTTP libraries send unasked, and 64 images of floats that took 40 ms to make took 10 ms to
    pack.
    """
    coding = (accept_encoding or "").strip().lower()
    return coding if coding in _WINDOW_BITS else None


def compress(data: bytes, coding: str) -> bytes:
    """The same bytes for the same data: no time is written into them."""
    return gzip.compress(data, _LEVEL, mtime=0) if coding == "gzip" else zlib.compress(data, _LEVEL)
