"""What callers hold and what graphs take: images, latents and labels, checked and laid out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadRequest
from service.registry import Model, is_conditional

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Labels = dict[str, NDArray[np.int64]]


def from_images(model: Model, images: Images) -> Floats:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [0, 1].

    Raises:
        BadRequest: images that are not of the model's shape.
    """
    image = model.manifest.image
    shape = (image.height, image.width, image.channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise BadRequest.at(
            "images",
            f"must be uint8 (n, {', '.join(map(str, shape))}) for {model}, got {images.dtype} {images.shape}",
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def to_images(x: Floats) -> Images:
    """float32 (N, C, H, W) -> uint8 (N, H, W, C): the nearest of 256 levels, from 0 to 1."""
    levels = np.clip(x, 0, 1)
    levels *= 255
    return np.ascontiguousarray(np.rint(levels, out=levels).transpose(0, 2, 3, 1), np.uint8)


def finite_images(name: str, x: Floats) -> Images:
    """As `to_images`. Raises FloatingPointError where the graph of the model of that name has overflown."""
    if bad := rows_not_finite(x):
        raise FloatingPointError(f"{name} makes no finite image of row {bad[0]}")
    return to_images(x)


def from_latents(model: Model, z: NDArray[Any], dim: int) -> Floats:
    """Numbers (n, dim) -> float32 (n, dim).

    Raises:
        BadRequest: another shape, or numbers that are not finite in float32.
    """
    if z.ndim != 2 or z.shape[1] != dim:
        raise BadRequest.at("latents", f"must have the shape (n, {dim}) for {model}, got {z.shape}")
    with np.errstate(over="ignore"):  # 1e39 becomes infinity, which is then found
        z = z.astype(np.float32)
    if bad := rows_not_finite(z):
        raise BadRequest.at("latents", f"must be finite float32 numbers, row {bad[0]} is not")
    return z


def from_labels(model: Model, labels: Sequence[int] | None, n: int) -> Labels:
    """The `label` input of `generate`, int64 (n,); no input where the model is not conditional.

    Raises:
        BadRequest: labels that the model does not take, or none where it needs them.
    """
    names = model.manifest.class_names or ()
    if not is_conditional(model.manifest):
        if labels is not None:
            raise BadRequest.at("label", f"must be left out: {model} is not conditional")
        return {}
    if labels is None:
        raise BadRequest.at("label", f"is required, {model} is conditional; one of {_choice(names)}")
    if len(labels) != n:
        raise BadRequest.at("label", f"must be given for each of {n} images, got {len(labels)}")
    if bad := [label for label in labels if not 0 <= label < len(names)]:
        raise BadRequest.at("label", f"must be one of {_choice(names)}, got {bad[0]}")
    return {"label": np.array(labels, np.int64)}


def _choice(names: Sequence[str]) -> str:
    return ", ".join(str(i) if name == str(i) else f"{i} ({name})" for i, name in enumerate(names))


def rows(x: Floats) -> Doubles:
    """(N, ...) -> (N, D) in double precision. Sums over its last axis are bit-equal in any batch."""
    return x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64)


def rows_not_finite(x: Floats) -> list[int]:
    """Indices of the rows that hold a NaN or an infinity."""
    finite = np.isfinite(x)
    return [] if finite.all() else np.flatnonzero(~finite.reshape(len(x), -1).all(axis=1)).tolist()
