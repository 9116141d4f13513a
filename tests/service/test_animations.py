"""Animations as Pillow reads them, which is not what wrote them."""

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service import animations

WRITERS = (animations.webp, animations.gif)


def drawn(channels: int) -> NDArray[np.uint8]:
    """Ten frames of an odd size; one is the same as that before it, one is plain, one is black."""
    frames = np.random.RandomState(channels).randint(0, 256, (10, 9, 17, channels)).astype(np.uint8)
    frames[3] = frames[2]
    frames[5] = 200
    frames[9] = 0
    return frames


def read(data: bytes, channels: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Frames and their durations, ms."""
    frames, durations = [], []
    with Image.open(io.BytesIO(data)) as animation:
        assert animation.info["loop"] == 0  # for ever
        for i in range(animation.n_frames):  # type: ignore[attr-defined]
            animation.seek(i)
            pixels = np.array(animation.convert("RGB"))
            frames.append(pixels[..., :channels])
            assert channels == 3 or (pixels == pixels[..., :1]).all()
            durations.append(int(animation.info["duration"]))
    return np.stack(frames), durations


@pytest.mark.parametrize("channels", [1, 3])
def test_webp_is_lossless_and_keeps_every_frame(channels: int) -> None:
    frames = drawn(channels)
    shown, _ = read(animations.webp(frames, 12), channels)
    np.testing.assert_array_equal(shown, frames)


def test_grey_is_exact_in_gif() -> None:
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=0)
    frames[1] = 255 - frames[1]
    frames[2] = 7
    for given in (frames, drawn(1)):
        np.testing.assert_array_equal(read(animations.gif(given, 12), 1)[0], given)


def test_colour_in_gif_is_exact_up_to_256_colours_and_near_beyond() -> None:
    few = drawn(3) // 64 * 64  # 4^3 colours
    np.testing.assert_array_equal(read(animations.gif(few, 12), 3)[0], few)
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    many = np.stack(np.meshgrid(ramp, ramp), axis=-1)[None]
    many = np.concatenate([many, np.full_like(many[..., :1], 90)], axis=-1)  # 1,024 colours
    shown = read(animations.gif(np.concatenate([many, many[:, ::-1]]), 12), 3)[0]
    off = np.abs(shown[0].astype(int) - many[0])
    assert 0 < off.max() <= 24
    np.testing.assert_array_equal(shown[1], shown[0, ::-1])


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("fps", [1, 12, 24, 29.97, 50])
def test_frames_are_shown_on_time(write: object, fps: float) -> None:
    assert callable(write)
    _, durations = read(write(drawn(1), fps), 1)
    unit = 10 if write is animations.gif else 1
    begins = np.cumsum([0, *durations])
    np.testing.assert_allclose(begins, np.arange(11) * 1000 / fps, atol=unit / 2 + 1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_frames_give_the_same_bytes(channels: int) -> None:
    frames = drawn(channels)
    for write in WRITERS:
        assert write(frames, 24) == write(frames.copy(), 24)
        assert write(frames, 24) != write(frames, 25)
        assert write(frames, 24) != write(frames[::-1], 24)


def test_the_webp_container_says_its_length_in_even_chunks() -> None:
    data = animations.webp(drawn(1), 12)
    assert struct.unpack("<4sI4s", data[:12]) == (b"RIFF", len(data) - 8, b"WEBP")
    at, names = 12, []
    while at < len(data):
        name, size = struct.unpack("<4sI", data[at : at + 8])
        names.append(name)
        at += 8 + size + size % 2
    assert at == len(data)
    assert names == [b"VP8X", b"ANIM", *[b"ANMF"] * 10]
