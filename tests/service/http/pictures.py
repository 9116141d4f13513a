"""Images and bodies for requests."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def grey(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """(n, 8, 8, 1), as tiny-vae, tiny-ae and tiny-gan take them."""
    return np.random.RandomState(seed).randint(0, 256, (n, 8, 8, 1), np.uint8)


def encode(pixels: NDArray[np.uint8], form: str = "PNG", **options: Any) -> bytes:
    """A file with Pillow, not with the service's own encoder."""
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, form, **options)
    return stream.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def load_npy(data: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def load_png(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        pixels = np.array(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
