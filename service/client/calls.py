"""The calls of the typed client: what each sends, and how its answer is read."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from service.client import answers
from service.client.request import JSON, NPY, Call, Progress, plain
from service.client.results import Codes, Floats, ModelInfo, Pictures, ReconstructionErrors, Scores

ZIP = "application/zip"

_SEED_LIMIT = 2**53

T = TypeVar("T")
Upload = NDArray[Any] | bytes | Sequence[bytes]
Label = int | Sequence[int]
PathName = Literal["slerp", "lerp"]
Easing = Literal["linear", "smoothstep"]
Prior = Literal["fitted", "normal"]
View = Literal["images", "error", "comparison"]
Key = int | Sequence[float] | Floats


def sample(
    model: str,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    latents: Floats | None = None,
    truncation: float | None = None,
    prior: Prior | None = None,
    keep: float | None = None,
    discriminator: str | None = None,
    label: Label | None = None,
    version: int | None = None,
    progress: Progress = False,
) -> Call[Pictures]:
    """Draw images. `seed`: image i gets seed + i; `seeds`: one for each; `latents`, (n, dim): decoded as they are.

    With none of the three, a seed is drawn here. `truncation` in (0, 1] scales latents towards 0. `prior`: "fitted"
    (the default, where the model has one) or "normal". `keep` in (0, 1]: the first n of the seeds from `seed` on that a
    discriminator keeps, about that fraction of them, in one request; `discriminator`: of which model, NAME or
    NAME/VERSION, by default the same. `label`: a class, or one for each image, of a conditional model; without it, each
    seed has its own, which `labels` of the result tells.
    """
    options: dict[str, Any] = {"model": model, "truncation": truncation, "prior": prior, "version": version}
    options |= {"keep": keep, "discriminator": discriminator}
    if latents is not None:
        # What contradicts latents is sent too: the service explains.
        options |= {"n": n, "seed": seed, "seeds": seeds}
        z = np.asarray(latents, np.float32)
        return _call("/sample", answers.pictures, options, label, progress, accept=NPY, upload=z)
    if seeds is not None:
        options |= {"seed": seed, "n": None if n == len(seeds) else n}
        return _call(
            "/sample",
            answers.pictures,
            options,
            label,
            progress,
            accept=NPY,
            seeds=[int(seed) for seed in seeds],
        )
    count = 1 if n is None else n
    if not 1 <= count <= _SEED_LIMIT:
        return Call(
            "POST", "/sample", answers.pictures, NPY, options | {"n": n, "seed": seed, "label": label}
        )
    start = secrets.randbelow(_SEED_LIMIT - count + 1) if seed is None else seed
    if keep is not None:  # the seeds that a next request would begin with are known when this one is answered
        return Call(
            "POST", "/sample", answers.pictures, NPY, options | {"n": n, "seed": start, "label": label}
        )
    in_a_row = range(start, start + count)
    return _call("/sample", answers.pictures, options, label, progress, accept=NPY, seeds=in_a_row)


def reconstruct(
    model: str,
    images: Upload,
    *,
    view: View | None = None,
    label: Label | None = None,
    version: int | None = None,
    progress: Progress = False,
) -> Call[Pictures]:
    """Encode and decode images.

    `images`: uint8, or floats in [0, 1], (N, H, W) or (N, H, W, C); or one or more PNG, JPEG or WebP files.
    `view`: "images" (the default); "error": |image - reconstruction|, (N, H, W, 1), levels of 0 to 255, the mean over
    channels; "comparison": (N, 3 H, W, C), image, reconstruction and error from top to bottom.
    """
    options = {"model": model, "view": view, "version": version}
    return _call(
        "/reconstruct", answers.pictures, options, label, progress, accept=NPY, upload=_uploaded(images)
    )


def reconstruction_errors(
    model: str,
    images: Upload,
    *,
    samples: int = 8,
    label: Label | None = None,
    version: int | None = None,
    progress: Progress = False,
) -> Call[ReconstructionErrors]:
    """How well each image (as for `reconstruct`) is reconstructed; `samples` draws of z make the ELBO."""
    options = {"model": model, "samples": samples, "version": version}
    return _call(
        "/reconstruct", answers.reconstruction_errors, options, label, progress, upload=_uploaded(images)
    )


def encode(
    model: str, images: Upload, *, version: int | None = None, progress: Progress = False
) -> Call[Codes]:
    """Latents of images (as for `reconstruct`)."""
    options = {"model": model, "version": version}
    return _call("/encode", answers.codes, options, None, progress, accept=ZIP, upload=_uploaded(images))


def decode(
    model: str,
    latents: Floats,
    *,
    label: Label | None = None,
    version: int | None = None,
    progress: Progress = False,
) -> Call[Pictures]:
    """Images of latents (N, dim)."""
    options = {"model": model, "version": version}
    z = np.asarray(latents, np.float32)
    return _call("/decode", answers.pictures, options, label, progress, accept=NPY, upload=z)


def interpolate(
    model: str,
    start: Key | None = None,
    end: Key | None = None,
    *,
    keys: Sequence[Key] | Floats | None = None,
    steps: int = 8,
    path: PathName = "slerp",
    closed: bool = False,
    easing: Easing | None = None,
    prior: Prior | None = None,
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Frames from `start` to `end`, or through `keys` (seeds or latent vectors), both ends counted in `steps`.

    `closed`: and on to the first, which is not repeated. `easing`: "linear" (the default) or "smoothstep", slow at
    every key. `prior`: of seeds, as for `sample`. `label`: a class, or one for each frame.
    """
    options = _path_options(model, steps, path, closed, easing, label, version)
    options |= {"from": start, "to": end, "keys": _keys(keys), "prior": prior}
    return Call("POST", "/interpolate", answers.pictures, NPY, options)


def interpolate_images(
    model: str,
    images: Upload,
    *,
    steps: int = 8,
    path: PathName = "slerp",
    closed: bool = False,
    easing: Easing | None = None,
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Frames through the codes of two or more images, in order (images as for `reconstruct`)."""
    options = _path_options(model, steps, path, closed, easing, label, version)
    return Call("POST", "/interpolate", answers.pictures, NPY, options, upload=_uploaded(images))


def animate(
    model: str,
    keys: Sequence[Key] | Floats | None = None,
    *,
    images: Upload | None = None,
    form: Literal["webp", "gif"] = "webp",
    fps: float = 12,
    steps: int = 32,
    path: PathName = "slerp",
    closed: bool = False,
    easing: Easing | None = None,
    prior: Prior | None = None,
    label: Label | None = None,
    version: int | None = None,
) -> Call[bytes]:
    """The file of an animation that loops: through `keys` as `interpolate`, or `images` as `interpolate_images`.

    WebP is lossless; so is GIF for grey images, others it has 256 colours a frame for. `fps`: frames a second.
    """
    options = _path_options(model, steps, path, closed, easing, label, version)
    options |= {"fps": fps, "keys": _keys(keys), "prior": prior}
    upload = None if images is None else _uploaded(images)
    return Call("POST", "/interpolate", _content, f"image/{form}", options, upload=upload)


def score(
    model: str,
    images: Upload,
    *,
    k: int | None = None,
    label: Label | None = None,
    version: int | None = None,
    progress: Progress = False,
) -> Call[Scores]:
    """How real (a GAN) or how likely (a VAE) each image is (images as for `reconstruct`).

    `k`: draws for the importance weighted bound, `iw_nats`, beside the ELBO.
    """
    options = {"model": model, "k": k, "version": version}
    return _call("/score", answers.scores, options, label, progress, upload=_uploaded(images))


def models() -> Call[list[ModelInfo]]:
    """What is served: each version of each model."""
    return Call("GET", "/models", answers.model_infos)


def model(name: str) -> Call[ModelInfo]:
    """The latest version of a model."""
    return Call(
        "GET", f"/models/{name}", lambda answer: next(m for m in answers.model_infos(answer) if m.latest)
    )


def _call(
    path: str,
    read: Callable[[httpx.Response], T],
    options: dict[str, Any],
    label: Label | None,
    progress: Progress,
    *,
    accept: str = JSON,
    seeds: Sequence[int] | None = None,
    upload: NDArray[Any] | Sequence[bytes] | None = None,
) -> Call[T]:
    """A call that can be divided by its images: those of `seeds`, or of what is uploaded."""
    per_image: dict[str, Sequence[int]] = {}
    if seeds is not None:
        per_image["seeds"] = seeds
    if label is None or np.ndim(label) == 0:
        options = {**options, "label": label}
    else:
        per_image["label"] = np.asarray(label).tolist()
    count = len(upload if upload is not None else seeds or ())
    return Call("POST", path, read, accept, options, per_image, upload, count, progress)


def _path_options(
    model: str,
    steps: int,
    path: PathName,
    closed: bool,
    easing: Easing | None,
    label: Label | None,
    version: int | None,
) -> dict[str, Any]:
    return {
        "model": model,
        "steps": steps,
        "path": path,
        "closed": closed or None,
        "easing": easing,
        "label": label,
        "version": version,
    }


def _keys(keys: Sequence[Key] | Floats | None) -> list[Any] | None:
    return None if keys is None else [plain(key) for key in keys]


def _content(response: httpx.Response) -> bytes:
    return response.content


def _uploaded(images: Upload) -> NDArray[Any] | Sequence[bytes]:
    if isinstance(images, np.ndarray):
        return images.astype(np.float32) if np.issubdtype(images.dtype, np.floating) else images
    return [images] if isinstance(images, bytes) else list(images)
