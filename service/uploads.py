"""Images and latents of a request, as they came in; decoded once the model, and so the shape, is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service import codecs, manifest
from service.errors import BadRequest, ServiceError, TooLarge
from service.settings import Settings
from service.steps import LARGE_BYTES

_MANY_FILES = 32
"""They take some milliseconds to decode, however small they are."""


class Images(Protocol):
    @property
    def takes_long(self) -> bool:
        """Whether to decode them aside."""

    def decode(self, expected: manifest.Image, settings: Settings) -> NDArray[np.uint8]:
        """uint8 (N, H, W, C), N >= 1; raises BadRequest or TooLarge, naming each image at fault."""


@dataclass(frozen=True)
class ImageFiles:
    """PNG, JPEG or WebP files with their locations; a `str` is base64."""

    files: Sequence[tuple[str, bytes | str]]

    @property
    def takes_long(self) -> bool:
        return len(self.files) > _MANY_FILES or sum(len(data) for _, data in self.files) > LARGE_BYTES

    def decode(self, expected: manifest.Image, settings: Settings) -> NDArray[np.uint8]:
        limit_count(self.files[0][0].partition("[")[0], len(self.files), settings.max_images)
        images = np.empty((len(self.files), expected.height, expected.width, expected.channels), np.uint8)
        # Not the errors: their frames know this list, and with it all that was sent.
        faults: list[tuple[str, type[ServiceError], str]] = []
        for i, (location, data) in enumerate(self.files):
            try:
                raw = codecs.decode_base64(data) if isinstance(data, str) else data
                images[i] = codecs.decode_image(raw, expected, max_pixels=settings.max_pixels)
            except (BadRequest, TooLarge) as error:
                faults.append((location, type(error), error.detail))
        if faults:
            raise faults[0][1].of((location, detail) for location, _, detail in faults[:10])
        return images


@dataclass(frozen=True)
class ImageArray:
    """An NPY body."""

    npy: bytes
    takes_long = False

    def decode(self, expected: manifest.Image, settings: Settings) -> NDArray[np.uint8]:
        try:
            images = codecs.images_from_npy(self.npy, expected)
        except BadRequest as error:
            raise BadRequest.at("body", error.detail) from error
        limit_count("body", len(images), settings.max_images)
        return images


class Latents(Protocol):
    def decode(self, dim: int, settings: Settings) -> NDArray[np.float32]:
        """float32 (N, dim), N >= 1, within `max_latent`; raises BadRequest, naming the row at fault."""


@dataclass(frozen=True)
class LatentRows:
    """Lists of numbers, from JSON."""

    rows: Sequence[Sequence[float]]

    def decode(self, dim: int, settings: Settings) -> NDArray[np.float32]:
        limit_count("body.latents", len(self.rows), settings.max_latents)
        rows = (
            latent(f"body.latents[{i}]", row, dim, settings.max_latent) for i, row in enumerate(self.rows)
        )
        return np.stack(list(rows))


@dataclass(frozen=True)
class LatentArray:
    """An NPY body."""

    npy: bytes

    def decode(self, dim: int, settings: Settings) -> NDArray[np.float32]:
        try:
            latents = codecs.decode_npy(self.npy, ("float32",))
        except BadRequest as error:
            raise BadRequest.at("body", error.detail) from error
        if latents.ndim != 2 or latents.shape[1] != dim:
            raise BadRequest.at("body", f"shape must be [N, {dim}], got {list(latents.shape)}")
        limit_count("body", len(latents), settings.max_latents)
        if not (finite := np.isfinite(latents)).all():
            raise BadRequest.at("body", f"latents must be finite, got {latents[~finite][0]}")
        if (beyond := np.abs(latents) > settings.max_latent).any():
            raise BadRequest.at("body", f"latents {_range(settings.max_latent)}, got {latents[beyond][0]}")
        return np.ascontiguousarray(latents)


def latent(location: str, values: Sequence[float], dim: int, largest: float) -> NDArray[np.float32]:
    """float32 (dim,); raises BadRequest for another length, or a value beyond float32 or `largest`."""
    if len(values) != dim:
        raise BadRequest.at(location, f"must have {dim} numbers (the model's latent_dim), got {len(values)}")
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(values, np.float64).astype(np.float32)
    except OverflowError as error:  # an integer beyond float64
        raise BadRequest.at(location, "must hold finite float32 numbers, got a far larger integer") from error
    if not (finite := np.isfinite(vector)).all():
        worst = int(np.argmin(finite))
        raise BadRequest.at(f"{location}[{worst}]", f"must be a finite float32, got {values[worst]!r}")
    if (beyond := np.abs(vector) > largest).any():
        worst = int(np.argmax(beyond))
        raise BadRequest.at(f"{location}[{worst}]", f"{_range(largest)}, got {values[worst]!r}")
    return vector


def _range(largest: float) -> str:
    return f"must be {-largest:,.10g} to {largest:,.10g} (a setting of this server)"


def limit_count(location: str, count: int, limit: int) -> None:
    if not 1 <= count <= limit:
        raise BadRequest.at(location, f"must hold 1 to {limit:,} items, got {count:,}")
