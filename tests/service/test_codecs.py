"""Bytes <-> arrays: what is decoded to what, and what is refused. Pillow is the judge of our PNG."""

import gc
import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service import codecs, manifest
from service.errors import BadRequest, TooLarge
from tests.service.http.bad.files import npy_with, png

GREY = manifest.Image(height=2, width=3, channels=1)
RGB = manifest.Image(height=2, width=3, channels=3)
PIXELS = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def file(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decode(data: bytes, expected: manifest.Image = GREY) -> NDArray[np.uint8]:
    return codecs.decode_image(data, expected, max_pixels=100)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_grey_and_colour(form: str) -> None:
    grey, colour = Image.fromarray(PIXELS), np.stack([PIXELS, PIXELS // 2, 255 - PIXELS], axis=2)
    lossless = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(decode(file(grey, form, **lossless)), PIXELS[..., None])
    assert np.array_equal(decode(file(Image.fromarray(colour), form, **lossless), RGB), colour)
    assert np.array_equal(decode(file(grey, form, **lossless), RGB), np.repeat(PIXELS[..., None], 3, axis=2))


def test_jpeg() -> None:
    image = np.full((2, 3, 3), (200, 200, 200), np.uint8)
    decoded = decode(file(Image.fromarray(image), "JPEG", quality=95), RGB)
    assert np.abs(decoded.astype(int) - 200).max() <= 3


def test_colour_becomes_grey_by_its_luma() -> None:
    colour = np.zeros((2, 3, 3), np.uint8)
    colour[0] = np.eye(3) * 255  # red, green, blue: 0.299, 0.587, 0.114 (ITU-R BT.601)
    assert decode(file(Image.fromarray(colour)))[0, :, 0].tolist() == [76, 150, 29]


def test_modes() -> None:
    expected = PIXELS[..., None]
    palette = Image.fromarray(PIXELS).convert("P")
    assert np.array_equal(decode(file(palette)), expected)
    sixteen = Image.fromarray(PIXELS.astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    assert np.array_equal(decode(file(sixteen)), expected)
    one_bit = decode(file(Image.fromarray(PIXELS > 120)))
    assert one_bit[..., 0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_16_bits_are_rounded() -> None:
    levels = np.array([[0, 128, 129], [257 * 7 + 128, 257 * 7 + 129, 65535]], np.uint16)
    assert decode(file(Image.fromarray(levels)))[..., 0].tolist() == [[0, 0, 1], [7, 8, 255]]


def test_transparency_is_laid_on_black() -> None:
    alpha = np.array([[255, 255, 255], [0, 128, 255]], np.uint8)
    image = Image.merge("LA", (Image.fromarray(PIXELS), Image.fromarray(alpha)))
    assert decode(file(image))[..., 0].tolist() == [[0, 50, 100], [0, 100, 255]]
    keyed = Image.fromarray(PIXELS)
    assert decode(file(keyed, transparency=200))[..., 0].tolist() == [[0, 50, 100], [150, 0, 255]]


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    stored = Image.fromarray(np.rot90(PIXELS).copy())
    assert stored.size == (2, 3)
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        assert np.array_equal(decode(file(stored, form, exif=exif, **options))[..., 0], PIXELS)
    with pytest.raises(BadRequest, match=r"3 x 2 pixels .* got 2 x 3"):
        decode(file(stored))
    with pytest.raises(BadRequest, match=r"3 x 2 pixels .* got 2 x 3"):
        decode(file(Image.fromarray(PIXELS), exif=exif))


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x, 2).T),
        (8, np.rot90),
        (9, lambda x: x),  # there is none
    ],
)
def test_each_orientation(orientation: int, shown: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    stored = PIXELS if orientation in (1, 2, 3, 4, 9) else PIXELS.reshape(3, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(file(Image.fromarray(stored), exif=exif))
    assert np.array_equal(decoded[..., 0], shown(stored))


def test_colour_of_16_bits_keeps_its_high_bytes() -> None:
    rows = b"\0" + b"\x01\xff\x80\x00\xff\x00" * 3
    assert decode(png(3, 2, rows * 2, depth=16, colour=2), RGB).tolist() == [[[1, 128, 255]] * 3] * 2


def test_a_transparent_colour_is_laid_on_black_or_refused() -> None:
    rows = b"\0\xa0\0\x40"  # 1 0 1, 0 1 0
    for key, shown in ((0, [255, 0, 255, 0, 255, 0]), (1, [0] * 6)):
        assert decode(png(3, 2, rows, (b"tRNS", bytes([0, key])), depth=1)).ravel().tolist() == shown
    for depth, colour, tone in ((2, 0, b"\0\3"), (4, 0, b"\0\3"), (16, 0, b"\0\3"), (16, 2, b"\0\3" * 3)):
        with pytest.raises(BadRequest, match=f"1 or 8 bits a channel, got {depth}; send an alpha channel"):
            decode(png(3, 2, bytes(40), (b"tRNS", tone), depth=depth, colour=colour))


def test_a_palette_may_be_transparent_but_not_missing() -> None:
    rows = bytes([0, 0, 1, 2]) * 2
    palette, alpha = (b"PLTE", bytes([10] * 3 + [200] * 3 + [255] * 3)), (b"tRNS", b"\x00\x80")
    assert decode(png(3, 2, rows, palette, alpha, colour=3))[0, :, 0].tolist() == [0, 100, 255]
    with pytest.raises(BadRequest, match="no palette"):
        decode(png(3, 2, rows, colour=3))


def test_what_follows_an_image_is_not_looked_at() -> None:
    for form in ("PNG", "JPEG"):
        whole = file(Image.fromarray(PIXELS), form)
        assert np.array_equal(decode(whole + b"<?php"), decode(whole))


def test_messages_hold_no_address_of_memory() -> None:
    for data in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x10\x00\x00\x00WEBPVP8X" + bytes(20)):
        with pytest.raises(BadRequest, match="is broken") as caught:
            decode(data)
        assert " at 0x" not in str(caught.value)


def test_pixels_are_counted_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    for form in ("PNG", "JPEG"):
        with pytest.raises(TooLarge, match=r"100 pixels, got 11 x 10 = 110"):
            decode(file(Image.new("L", (11, 10)), form))
    with pytest.raises(BadRequest, match="got 10 x 10"):
        decode(file(Image.new("L", (10, 10))))


@pytest.mark.parametrize("options", [{"lossless": False}, {"lossless": True}, {"exif": b"Exif\0\0"}], ids=str)
def test_of_webp_before_it_is_opened(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """That alone takes 8 bytes a pixel: of a header of 30 bytes, hundreds of MiB."""
    large, small = (file(Image.new("RGB", (width, 10)), "WEBP", **options) for width in (11, 10))
    assert {large[12:16]} <= {b"VP8 ", b"VP8L", b"VP8X"}
    with pytest.raises(BadRequest, match="got 10 x 10"):
        decode(small)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(TooLarge, match=r"100 pixels, got 11 x 10 = 110"):
        decode(large)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\x10\x00\x00\x00WEBPVP8X" + bytes(20),
        file(Image.fromarray(PIXELS), "GIF"),
        file(Image.fromarray(PIXELS), "BMP"),
        file(Image.fromarray(PIXELS), "TIFF"),
        file(Image.new("CMYK", (3, 2)), "JPEG"),
    ],
)
def test_what_is_not_an_image_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(data)


def test_a_file_cut_anywhere_is_decoded_or_refused() -> None:
    for form in ("PNG", "JPEG", "WEBP"):
        whole = file(Image.fromarray(PIXELS), form)
        for length in range(len(whole)):
            with suppress(BadRequest):
                decode(whole[:length])


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (1, 1, 3), (5, 7, 3), (64, 3, 3)])
def test_png_is_read_back_as_it_was(shape: tuple[int, int, int]) -> None:
    random = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    for image in (random, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)):
        data = codecs.encode_png(image)
        with Image.open(io.BytesIO(data)) as read:
            read.verify()  # checksums
        with Image.open(io.BytesIO(data)) as read:
            assert np.array_equal(np.asarray(read).reshape(shape), image)
        assert codecs.encode_png(np.asfortranarray(image)) == data


def test_contact_sheet() -> None:
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 1, 1), np.uint8)
    assert codecs.contact_sheet(images)[..., 0].tolist() == [[1, 2, 3], [1, 2, 3], [4, 5, 0], [4, 5, 0]]
    assert codecs.contact_sheet(images[:4])[..., 0].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert codecs.contact_sheet(images, columns=5)[..., 0].tolist() == [[1, 2, 3, 4, 5]] * 2


def test_npy_round_trip() -> None:
    arrays: list[NDArray[Any]] = [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.array([[0.5], [1.5]], np.float32),
    ]
    for array in arrays:
        data = codecs.encode_npy(array)
        assert np.array_equal(np.load(io.BytesIO(data), allow_pickle=False), array)
        assert np.array_equal(codecs.decode_npy(data, ("uint8", "float32")), array)
    turned = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    stream = io.BytesIO()
    np.save(stream, turned)
    assert b"'fortran_order': True" in stream.getvalue()
    assert np.array_equal(codecs.decode_npy(stream.getvalue(), ("uint8",)), turned)


def test_npy_images() -> None:
    levels = np.array([0, 1, 2, 127, 128, 255], np.uint8).reshape(1, 2, 3)
    for array in (levels, levels[..., None], (levels / 255).astype(np.float32)):
        assert np.array_equal(codecs.images_from_npy(codecs.encode_npy(array), GREY), levels[..., None])
    halves = (np.array([[[0.49, 0.51, 1.49], [1.51, 254.49, 254.51]]]) / 255).astype(np.float32)
    assert codecs.images_from_npy(codecs.encode_npy(halves), GREY).ravel().tolist() == [0, 1, 1, 2, 254, 255]
    with pytest.raises(BadRequest, match=r"\[N, 2, 3, 3\], got \[1, 2, 3\]"):
        codecs.images_from_npy(codecs.encode_npy(levels), RGB)
    for bad in (-0.01, 1.01, np.nan, np.inf):
        halves[0, 1, 1] = bad
        with pytest.raises(BadRequest, match=r"\[0, 1\]"):
            codecs.images_from_npy(codecs.encode_npy(halves), GREY)


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<u2", "|b1", "<c8", "|S3", "<M8[s]"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(BadRequest, match="dtype must be uint8"):
        codecs.decode_npy(codecs.encode_npy(np.zeros(3, dtype)), ("uint8", "float32"))


def test_pickles_are_never_loaded() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([print], object), allow_pickle=True)
    with pytest.raises(BadRequest, match="dtype must be uint8"):
        codecs.decode_npy(stream.getvalue(), ("uint8",))


def test_shapes_that_no_array_has_are_refused() -> None:
    long = 2**31 - 1
    for shape in (f"(0, {10**30})", "(1,) * 2", str((1,) * 65), "(True, 2)", f"({'9' * 4000}, {'9' * 4000})"):
        with pytest.raises(BadRequest, match=r"at most 8 axes, each of 0 to 2,147,483,647|malformed"):
            codecs.decode_npy(npy_with("|u1", shape, b"x"), ("uint8",))
    with pytest.raises(BadRequest, match=rf"shape \[0, {long}, {long}, {long}\] is too long"):
        codecs.decode_npy(npy_with("|u1", str((0, long, long, long)), b""), ("uint8",))
    assert codecs.decode_npy(npy_with("|u1", "(0, 5)", b""), ("uint8",)).shape == (0, 5)


def test_an_npy_file_cut_anywhere_is_refused() -> None:
    whole = codecs.encode_npy(np.zeros((1, 2, 3), np.uint8))
    for length in range(len(whole)):
        with pytest.raises(BadRequest):
            codecs.decode_npy(whole[:length], ("uint8",))


def test_npy_files_alike_leave_nothing_to_the_garbage_collector() -> None:
    data = codecs.encode_npy(np.zeros((3, 2, 3), np.uint8))
    codecs.decode_npy(data, ("uint8",))
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(50):
            codecs.decode_npy(data, ("uint8",))
        assert len(gc.get_objects()) - before < 10
    finally:
        gc.enable()


def test_base64() -> None:
    assert codecs.decode_base64(codecs.encode_base64(b"\x00\xff?>")) == b"\x00\xff?>"
    for bad in ("a", "a b=", "_-8=", "é", "http://x"):
        with pytest.raises(BadRequest, match="base64"):
            codecs.decode_base64(bad)


def test_zip_does_not_depend_on_the_clock() -> None:
    data = codecs.encode_zip({"a.png": b"1", "b.json": b"2"})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [(i.filename, archive.read(i), i.date_time[0]) for i in archive.infolist()] == [
            ("a.png", b"1", 1980),
            ("b.json", b"2", 1980),
        ]
