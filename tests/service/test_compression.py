"""Packed bodies: what is taken, what is refused, and that a bomb is not unpacked."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from service.errors import BadRequest, ServiceError, TooLarge, UnsupportedMediaType
from service.http import compression

DATA = b"latent" * 1000
LIMIT = len(DATA)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_there_and_back(coding: str) -> None:
    packed = compression.compress(DATA, coding)
    assert len(packed) < 100
    assert coding != "gzip" or packed[4:8] == bytes(4)  # where a time could stand
    assert compression.decompress(packed, f" {coding.upper()} ", LIMIT) == DATA


@pytest.mark.parametrize("coding", [None, "", "identity"])
def test_a_plain_body_is_left_alone(coding: str | None) -> None:
    assert compression.decompress(DATA, coding, 1) is DATA


@pytest.mark.parametrize(
    ("body", "coding", "error", "says"),
    [
        (DATA, "br", UnsupportedMediaType, "must be gzip, deflate or identity, got 'br'"),
        (gzip.compress(DATA), "gzip, gzip", UnsupportedMediaType, "got 'gzip, gzip'"),
        (zlib.compress(DATA), "gzip", BadRequest, "body: is not gzip"),
        (zlib.compress(DATA)[:-1], "deflate", BadRequest, "body: ends before its deflate stream does"),
        (gzip.compress(DATA) * 2, "gzip", BadRequest, "bytes after the end of its gzip stream"),
        (gzip.compress(DATA + b"x"), "gzip", TooLarge, "may have 6,000 bytes when unpacked"),
    ],
)
def test_refused(body: bytes, coding: str, error: type[ServiceError], says: str) -> None:
    with pytest.raises(error) as caught:
        compression.decompress(body, coding, LIMIT)
    assert type(caught.value) is error
    assert says in caught.value.detail


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_bomb_is_not_unpacked(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        compression.decompress(bomb, "gzip" if pack is gzip.compress else "deflate", 100_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("Deflate", "deflate"),
        (None, None),
        ("", None),
        ("gzip, deflate, br", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("*", None),
    ],
)
def test_the_coding_asked_for(header: str | None, coding: str | None) -> None:
    assert compression.asked_for(header) == coding
