"""Files that are wrong in one way each."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.service.http.pictures import grey

BOMB = zlib.compress(bytes(30_000_000), 9)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, rows: bytes, *extra: tuple[bytes, bytes], depth: int = 8, colour: int = 0
) -> bytes:
    """A PNG of `rows` (each after its filter byte), with `extra` chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises what its data does not hold."""
    return png(width, height, b"")


def webp_header(width: int, height: int) -> bytes:
    """Extended WebP of a canvas, with nothing on it."""
    canvas = bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    data = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas
    return b"RIFF" + struct.pack("<I", len(data)) + data


def animated(form: str) -> bytes:
    frames = [Image.fromarray(image[..., 0]) for image in grey(3)]
    stream = io.BytesIO()
    options: dict[str, Any] = {} if form == "MPO" else {"lossless": True}
    frames[0].save(stream, form, save_all=True, append_images=frames[1:], **options)
    return stream.getvalue()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def cmyk() -> bytes:
    return saved(Image.new("CMYK", (8, 8)), "JPEG")


def turned() -> bytes:
    """12 x 8 pixels, to be shown as 8 x 12."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.new("RGB", (12, 8)), "PNG", exif=exif)


def npy_with(descr: str, shape: str, data: bytes, *, major: int = 1) -> bytes:
    """NPY with any header. `descr` is Python, unless it starts like the name of a dtype."""
    descr = f"'{descr}'" if descr[0] in "|<>" else descr
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 12) % 64) + b"\n"
    length = struct.pack("<H" if major == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([major, 0]) + length + header + data


def float_npy(value: float, *shape: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.full(shape, value, np.float32))
    return stream.getvalue()
