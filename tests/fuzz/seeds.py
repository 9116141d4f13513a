"""Whole files, bodies and requests, as our own encoders and others write them: what damage is done to."""

import gzip
import io
import json
import zlib
from typing import Any

import numpy as np
from PIL import Image

from service import animations, codecs
from tests.service.http.bad.case import form
from tests.service.http.bad.files import animated, npy_with, png, saved, turned
from tests.service.http.pictures import grey, npy
from tests.service.server import ROOT

LEVELS = grey(1)[0, ..., 0]
COLOUR = np.stack([LEVELS, LEVELS // 2, 255 - LEVELS], axis=2)

PNGS = [
    saved(Image.fromarray(LEVELS), "PNG", transparency=7),
    saved(Image.fromarray(LEVELS > 9), "PNG"),
    saved(Image.fromarray(LEVELS.astype(np.uint16) * 257), "PNG"),
    saved(Image.fromarray(COLOUR).quantize(9), "PNG", transparency=3),
    saved(Image.fromarray(COLOUR).convert("RGBA"), "PNG"),
    png(8, 8, bytes(8 * 9), (b"zTXt", b"a\0\0" + zlib.compress(b"b")), (b"gAMA", bytes(4))),
]
TURNED = Image.Exif()
TURNED[0x0112] = 6
PICTURES = [
    *PNGS,
    saved(Image.fromarray(LEVELS), "JPEG"),
    saved(Image.fromarray(COLOUR), "JPEG", progressive=True, comment=b"a"),
    saved(Image.fromarray(COLOUR), "WEBP", lossless=True),
    saved(Image.fromarray(COLOUR), "WEBP"),
    saved(Image.fromarray(COLOUR), "JPEG", exif=TURNED),
    saved(Image.fromarray(COLOUR), "WEBP", lossless=True, exif=TURNED),
    turned(),
    codecs.encode_png(COLOUR),
    animations.webp(grey(2), 12),
    *(animated(form) for form in ("PNG", "WEBP", "MPO")),
]
DIGITS = [(ROOT / "examples" / "digits" / f"{digit}.png").read_bytes() for digit in (0, 7)]
"""28 x 28, as the published models take them."""
IMAGE_ARRAYS = [
    npy(grey(2)),
    codecs.encode_npy(grey(1)),
    npy(np.asfortranarray(np.zeros((1, 8, 8), np.float32))),
    npy(np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f8")])),
    npy_with("|O", "(1,)", b"cos\nsystem\n(S'true'\ntR."),
    npy_with("|u1", "(1, 8, 8, 1)", bytes(64), major=2),
]
LATENT_ARRAYS = [npy(np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)), npy(np.ones((1, 4), np.float32))]
FORMS = [form(("images", b"\r\n--xyz"), ("model", b"a")), form(), form(*[("images", b"x")] * 5)]


def archive(arrays: dict[str, Any], *, compressed: bool) -> bytes:
    """As `golden.npz`."""
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


JSON_BYTES = 256
"""Of the JSON that binary tensors stand behind in `BINARY_TENSORS`, so that one header fits them all."""


def tensors(*inputs: dict[str, Any], **more: object) -> bytes:
    """The JSON of a request of the Open Inference Protocol v2."""
    return json.dumps({"inputs": inputs, **more}).encode()


Z: dict[str, Any] = {"name": "z", "shape": [2, 4], "datatype": "FP32"}
LABEL: dict[str, Any] = {"name": "label", "shape": [2], "datatype": "INT64"}
BINARY_Z = Z | {"parameters": {"binary_data_size": 32}}
BINARY_LABEL = LABEL | {"parameters": {"binary_data_size": 16}}
BINARY_TENSORS = [
    tensors(BINARY_Z).ljust(JSON_BYTES) + np.full((2, 4), 0.5, np.float32).tobytes(),
    tensors(BINARY_Z, BINARY_LABEL, parameters={"binary_data_output": True}).ljust(JSON_BYTES) + bytes(48),
]
JSON_TENSORS = [
    tensors(Z | {"data": [0.5] * 8}, outputs=[{"name": "image", "parameters": {"binary_data": True}}]),
    tensors(Z | {"data": [[1, 2, 3, 4]] * 2}, LABEL | {"data": [0, 2]}, id="a"),
]

REQUESTS: dict[str, list[dict[str, Any]]] = {
    "/sample": [
        {"model": "tiny-vae", "n": 2, "seed": 7, "truncation": 0.5, "prior": "normal"},
        {"model": "tiny-cgan", "seeds": [1, 2], "label": [0, 1]},
        {"model": "tiny-gan", "n": 1, "seed": 3, "keep": 0.5, "discriminator": "tiny-gan/2"},
        {"model": "tiny-vae", "version": 1, "latents": [[0.5, -1, 2e0, 0]]},
    ],
    "/reconstruct": [{"model": "tiny-vae", "images": [codecs.encode_base64(PNGS[1])], "samples": 2}],
    "/encode": [{"model": "tiny-ae", "images": [codecs.encode_base64(PNGS[1])]}],
    "/decode": [{"model": "tiny-vae", "latents": [[0, 0.5, 1, -1], [1, 1, 1, 1]]}],
    "/interpolate": [
        {"model": "tiny-vae", "from": 1, "to": [0, 0, 0, 1], "steps": 3, "path": "lerp"},
        {"model": "tiny-vae", "keys": [1, 2, 3], "closed": True, "easing": "linear", "fps": 10},
    ],
    "/score": [{"model": "tiny-gan", "images": [codecs.encode_base64(PNGS[1])]}],
}

CODED = [gzip.compress(bytes(300), mtime=0), zlib.compress(b"a" * 300), zlib.compress(bytes(10**6), 9)]
WEIGHTS = [b'{"1": 0.9, "2": 0.1}', b'{"1": 0, "3": 1e300}']
