"""Frames of one size -> animated WebP or GIF, that loops forever.

Pillow compresses each frame as a picture of its own, and the pictures are laid into the container here. Pillow's own
animations leave out a frame that equals the one before it, and code the others as differences: here frame i of
the animation is frame i, whatever is beside it. The same frames give the same bytes.
"""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GIF = "image/gif"

# Extended WebP (RFC 9649, sec. 2.7): the flag of an animation, and of a frame that is laid over nothing.
_WEBP_ANIMATED = 0x02
_WEBP_DO_NOT_BLEND = 0x02
# GIF89a, sec. 18-23.
_GIF_LOCAL_TABLE = 0x80
_GIF_LOOP_FOREVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_GIF_TRAILER = b"\x3b"


def webp(frames: NDArray[np.uint8], fps: float) -> bytes:
    """(N, H, W, C) as animated WebP, lossless; frame i is shown from i / fps seconds on, rounded to 1 ms."""
    _, height, width, _ = frames.shape
    size = _uint24(width - 1) + _uint24(height - 1)
    chunks = [
        _chunk(b"VP8X", struct.pack("<I", _WEBP_ANIMATED) + size),
        _chunk(b"ANIM", struct.pack("<IH", 0, 0)),  # background; how often, 0: forever
    ]
    for frame, ms in zip(frames, _durations(len(frames), 1000 / fps), strict=True):
        picture = _compress(_picture(frame), "WEBP", lossless=True)[12:]  # without the RIFF header
        place = _uint24(0) + _uint24(0) + size + _uint24(ms) + bytes([_WEBP_DO_NOT_BLEND])
        chunks.append(_chunk(b"ANMF", place + picture))
    return _chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def gif(frames: NDArray[np.uint8], fps: float) -> bytes:
    """(N, H, W, C) as animated GIF; frame i is shown from i / fps seconds on, rounded to 10 ms.

    Grey frames are exact. Each colour frame is quantised to 256 colours of its own (median cut, no dithering).
    """
    _, height, width, _ = frames.shape
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0, 0, 0), _GIF_LOOP_FOREVER]
    for frame, hundredths in zip(frames, _durations(len(frames), 100 / fps), strict=True):
        picture = _picture(frame)
        if picture.mode == "RGB":
            picture = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        table, image = _gif_parts(_compress(picture, "GIF", optimize=False, interlace=0))
        parts += [struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0, hundredths, 0, 0), image[:9]]
        parts += [bytes([_GIF_LOCAL_TABLE | _table_bits(table)]), table, image[10:]]
    return b"".join([*parts, _GIF_TRAILER])


def _picture(frame: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


def _compress(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def _durations(count: int, ticks: float) -> list[int]:
    """Whole ticks of each of `count` frames that are `ticks` apart; errors do not add up."""
    edges = np.rint(np.arange(count + 1) * ticks).astype(int)
    durations: list[int] = np.diff(edges).tolist()
    return durations


def _gif_parts(data: bytes) -> tuple[bytes, bytes]:
    """The colour table of a GIF of one picture, and its image: descriptor (10 bytes) and pixels."""
    end = 13 + 3 * 2 ** ((data[10] & 0x07) + 1)
    return data[13:end], data[end : -len(_GIF_TRAILER)]


def _table_bits(table: bytes) -> int:
    """The size of a colour table as GIF has it: 2^(bits + 1) entries of three bytes."""
    return (len(table) // 3).bit_length() - 2


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\x00" * (len(data) % 2)


def _uint24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]
