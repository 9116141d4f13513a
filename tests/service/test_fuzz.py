"""Whatever the bytes: a value, or the one error that is documented, soon. `make fuzz` tries a hundred times as many."""

import json
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service import codecs, manifest
from service.errors import BadRequest, TooLarge
from service.http import multipart, nesting
from service.manifest import BundleError
from tests.service import bundles
from tests.service.http.bad.case import FORM, form
from tests.service.http.bad.files import animated, npy_with, png, saved, turned
from tests.service.http.pictures import grey, npy

GREY = manifest.Image(height=8, width=8, channels=1)
RGB = manifest.Image(height=8, width=8, channels=3)
soon = settings(deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])

LEVELS = grey(1)[0, ..., 0]
COLOUR = np.stack([LEVELS, LEVELS // 2, 255 - LEVELS], axis=2)
PICTURES = [
    saved(Image.fromarray(LEVELS), "PNG", transparency=7),
    saved(Image.fromarray(LEVELS > 9), "PNG"),
    saved(Image.fromarray(LEVELS.astype(np.uint16) * 257), "PNG"),
    saved(Image.fromarray(COLOUR).quantize(9), "PNG", transparency=3),
    saved(Image.fromarray(COLOUR).convert("RGBA"), "PNG"),
    png(8, 8, bytes(8 * 9), (b"zTXt", b"a\0\0" + zlib.compress(b"b")), (b"gAMA", bytes(4))),
    saved(Image.fromarray(LEVELS), "JPEG"),
    saved(Image.fromarray(COLOUR), "JPEG", progressive=True, comment=b"a"),
    saved(Image.fromarray(COLOUR), "WEBP", lossless=True),
    saved(Image.fromarray(COLOUR), "WEBP"),
    turned(),
    *(animated(form) for form in ("PNG", "WEBP", "MPO")),
]
ARRAYS = [
    npy(grey(2)),
    npy(np.asfortranarray(np.zeros((1, 8, 8), np.float32))),
    npy(np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f8")])),
    npy_with("|O", "(1,)", b"cos\nsystem\n(S'true'\ntR."),
    npy_with("|u1", "(1, 8, 8, 1)", bytes(64), major=2),
]
# What a header may be made of. The server reads its bytes as Latin-1.
OPTIONS = st.text(st.sampled_from("=;*'\"\\%, 0\xffabx") | st.characters(max_codepoint=255), max_size=30)
FORMS = [form(("images", b"\r\n--xyz"), ("model", b"a")), form(), form(*[("images", b"x")] * 5)]


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


@soon
@given(data=st.binary(max_size=200) | damaged(PICTURES) | damaged(PICTURES[:6]).map(mended))
def test_images(data: bytes) -> None:
    for expected in (GREY, RGB):
        with suppress(BadRequest, TooLarge):
            image = codecs.decode_image(data, expected, max_pixels=100)
            assert image.shape == (8, 8, expected.channels)
            assert image.dtype == np.uint8


def test_damage_leaves_some_images_whole() -> None:
    """Else the test above would try nothing but the first look at a file."""
    for data in PICTURES[:10]:
        for expected in (GREY, RGB):
            codecs.decode_image(data, expected, max_pixels=100)
    assert mended(PICTURES[0]) == PICTURES[0]


HEADERS = st.builds(
    npy_with,
    st.sampled_from(["|u1", "<f4", "|O", "('<f4', (2,))", "[('a', '<f4')]", "None", "|V0"]),
    st.lists(st.integers(-2, 9) | st.integers() | st.booleans() | st.none(), max_size=70).map(
        lambda s: str(tuple(s))
    ),
    st.binary(max_size=80),
)


@soon
@given(
    data=st.binary(max_size=200)
    | st.binary(max_size=99).map(b"\x93NUMPY\1\0".__add__)
    | damaged(ARRAYS)
    | HEADERS
)
def test_npy(data: bytes) -> None:
    with suppress(BadRequest):
        array = codecs.decode_npy(data, ("uint8", "float32"))
        assert array.dtype in (np.uint8, np.float32)
        assert array.nbytes <= len(data)
    with suppress(BadRequest):
        assert codecs.images_from_npy(data, GREY).shape[1:] == (8, 8, 1)


PARTS = OPTIONS.map(lambda text: form(("images", b"")).replace(b'="images"', text.encode("latin-1")))


@soon
@given(
    data=st.binary(max_size=200) | damaged(FORMS) | PARTS,
    kind=st.just(FORM) | OPTIONS.map("multipart/form-data; boundary".__add__),
)
def test_multipart(data: bytes, kind: str) -> None:
    with suppress(BadRequest):
        parts = multipart.parse(data, kind, 4)
        assert len(parts) <= 4
        assert sum(len(part.data) for part in parts) <= len(data)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.write_vae(tmp_path_factory.mktemp("bundle"))


@soon
@given(data=st.data())
def test_manifests(bundle: Path, data: st.DataObject) -> None:
    path = bundle / manifest.MANIFEST
    whole = path.read_bytes()
    fields = json.loads(whole)
    replaced = st.builds(
        lambda name, value: json.dumps(fields | {name: value}).encode(),
        st.sampled_from(sorted(fields)),
        DOCUMENTS,
    )
    try:
        path.write_bytes(data.draw(st.binary(max_size=99) | damaged([whole]) | replaced))
        with suppress(BundleError):
            assert manifest.read_bundle(bundle).name == "tiny-vae"
    finally:
        path.write_bytes(whole)


TEXTS = st.text(st.sampled_from('[]{}"\\\n\t\b a\x00é'), max_size=6)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)


@soon
@given(document=DOCUMENTS, most=st.integers(1, 5), ascii_only=st.booleans())
def test_depth_is_that_of_the_document(document: Any, most: int, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode()
    if depth(document) <= most:
        nesting.limit(text, most)
    else:
        with pytest.raises(BadRequest, match=f"{most} lists and objects"):
            nesting.limit(text, most)


def depth(document: Any) -> int:
    if isinstance(document, dict):
        document = list(document.values())
    return 1 + max(map(depth, document), default=0) if isinstance(document, list) else 0


def test_depth_is_counted_across_pieces() -> None:
    """Of which a document of this length has several: brackets in strings, and lists that end and begin again."""
    flat = json.dumps([["[[[[", {"a\\\\": "\\"}]] * 40_000).encode()
    nesting.limit(flat, 3)
    with pytest.raises(BadRequest):
        nesting.limit(flat, 2)
    with pytest.raises(BadRequest):
        nesting.limit(flat[:-1] + b"," + b"[" * 3 + b"]" * 4, 3)
