"""Damage to files, as strategies of hypothesis."""

import struct
import zlib
from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with some bytes changed, cut out, put in or repeated."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 8)))
        what = draw(st.sampled_from(["change", "cut", "insert", "repeat", "end"]))
        if what == "cut":
            del data[start:stop]
        elif what == "end":
            del data[stop:]
        elif what == "repeat":
            data[start:start] = data[start:stop] * draw(st.integers(1, 40))
        else:
            data[start : stop if what == "change" else start] = draw(st.binary(max_size=8))
    return bytes(data)


def mended(data: bytes) -> bytes:
    """A PNG whose checksums are right, so that what is wrong in its chunks is read."""
    parts, at = [data[:8]], 8
    while len(data) >= at + 12:
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        parts.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join([*parts, data[at:]])
