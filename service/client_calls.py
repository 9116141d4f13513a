"""The calls of the typed client: what each sends, and how its answer is read."""

import functools
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from service.client_results import (
    Codes,
    Floats,
    LatentryError,
    ModelInfo,
    Pictures,
    ReconstructionErrors,
    Scores,
)

NPY = "application/x-npy"
JSON = "application/json"
ZIP = "application/zip"

T = TypeVar("T")
Upload = NDArray[Any] | bytes | Sequence[bytes]
Label = int | Sequence[int]
PathName = Literal["slerp", "lerp"]
Prior = Literal["fitted", "normal"]
Body = Mapping[str, Any]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how to read its answer. `body`: httpx's argument json, files or content (an array)."""

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[httpx.Response], T]
    accept: str = JSON
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=dict)

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        headers = {"Accept": self.accept}
        if "content" in self.body:
            headers["Content-Type"] = NPY
        return http.build_request(self.method, self.path, params=self.query, headers=headers, **self.body)

    def answer(self, response: httpx.Response) -> T:
        """Raises LatentryError for a status that is not 2xx."""
        if not response.is_success:
            raise _error(response)
        return self.read(response)


def sample(
    model: str,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    truncation: float | None = None,
    prior: Prior | None = None,
    keep: float | None = None,
    discriminator: str | None = None,
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Draw images. `seed`: image i gets seed + i; `seeds`: one for each; neither: the service chooses.

    `truncation` in (0, 1] scales latents towards their mean. `prior`: "fitted" (the default, where the model has one)
    or "normal". `keep` in (0, 1]: the first n of the seeds from `seed` on that a discriminator keeps, about that
    fraction of them; `discriminator`: of which model, NAME or NAME/VERSION, by default the same. `label`: a class, or
    one for each image.
    """
    options = _given(
        model=model,
        n=n,
        seed=seed,
        seeds=seeds,
        truncation=truncation,
        prior=prior,
        keep=keep,
        discriminator=discriminator,
        label=label,
        version=version,
    )
    read = functools.partial(_pictures, asked=tuple(seeds or ()))
    return Call("POST", "/sample", read, NPY, body={"json": options})


def reconstruct(
    model: str, images: Upload, *, label: Label | None = None, version: int | None = None
) -> Call[Pictures]:
    """Encode and decode images.

    `images`: uint8, or floats in [0, 1], (N, H, W) or (N, H, W, C); or one or more PNG, JPEG or WebP files.
    """
    query = _query(model=model, label=label, version=version)
    return Call("POST", "/reconstruct", _pictures, NPY, query, _uploaded(images))


def reconstruction_errors(
    model: str, images: Upload, *, samples: int = 8, label: Label | None = None, version: int | None = None
) -> Call[ReconstructionErrors]:
    """How well each image (as for `reconstruct`) is reconstructed; `samples` draws of z make the ELBO."""
    query = _query(model=model, samples=samples, label=label, version=version)
    return Call("POST", "/reconstruct", _reconstruction_errors, JSON, query, _uploaded(images))


def encode(model: str, images: Upload, *, version: int | None = None) -> Call[Codes]:
    """Latents of images (as for `reconstruct`)."""
    return Call("POST", "/encode", _codes, ZIP, _query(model=model, version=version), _uploaded(images))


def decode(
    model: str, latents: Floats, *, label: Label | None = None, version: int | None = None
) -> Call[Pictures]:
    """Images of latents (N, dim)."""
    query = _query(model=model, label=label, version=version)
    return Call("POST", "/decode", _pictures, NPY, query, _npy(np.asarray(latents, np.float32)))


def interpolate(
    model: str,
    start: int | Sequence[float] | Floats,
    end: int | Sequence[float] | Floats,
    *,
    steps: int = 8,
    path: PathName = "slerp",
    prior: Prior | None = None,
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Frames from `start` to `end` (seeds or latent vectors), both counted in `steps`.

    `prior`: of seeds, as for `sample`.
    """
    options = _given(model=model, steps=steps, path=path, prior=prior, label=label, version=version)
    options |= {"from": _plain(start), "to": _plain(end)}
    return Call("POST", "/interpolate", _pictures, NPY, body={"json": options})


def interpolate_images(
    model: str,
    images: Upload,
    *,
    steps: int = 8,
    path: PathName = "slerp",
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Frames through the codes of two or more images, in order (images as for `reconstruct`)."""
    query = _query(model=model, steps=steps, path=path, label=label, version=version)
    return Call("POST", "/interpolate", _pictures, NPY, query, _uploaded(images))


def score(
    model: str, images: Upload, *, label: Label | None = None, version: int | None = None
) -> Call[Scores]:
    """How real (a GAN) or how likely (a VAE) each image is (images as for `reconstruct`)."""
    query = _query(model=model, label=label, version=version)
    return Call("POST", "/score", _scores, JSON, query, _uploaded(images))


def models() -> Call[list[ModelInfo]]:
    """What is served: each version of each model."""
    return Call("GET", "/models", _model_infos)


def model(name: str) -> Call[ModelInfo]:
    """The latest version of a model."""
    return Call(
        "GET", f"/models/{name}", lambda response: next(m for m in _model_infos(response) if m.latest)
    )


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given, as JSON has them."""
    return {name: _plain(value) for name, value in options.items() if value is not None}


def _query(**options: Any) -> dict[str, str]:
    """The options that were given, as a query string has them: lists with commas."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in _given(**options).items()
    }


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays, and sequences of them, as Python's."""
    if isinstance(value, str | int | float):
        return value
    return np.asarray(value).tolist()


def _uploaded(images: Upload) -> Body:
    if isinstance(images, np.ndarray):
        return _npy(images.astype(np.float32) if np.issubdtype(images.dtype, np.floating) else images)
    listed = [images] if isinstance(images, bytes) else images
    return {
        "files": [("images", (f"{i}", data, "application/octet-stream")) for i, data in enumerate(listed)]
    }


def _npy(array: NDArray[Any]) -> Body:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return {"content": stream.getvalue()}


def _pictures(response: httpx.Response, asked: tuple[int, ...] = ()) -> Pictures:
    """`asked`: the seeds of the request; the service does not repeat a list that is long."""
    seeds = _seeds(response.headers.get("X-Latentry-Seeds", "")) or asked
    rate, proposed = (response.headers.get(f"X-Latentry-{name}") for name in ("Acceptance", "Proposed"))
    return Pictures(
        *_served_by(response),
        _array(response.content),
        seeds,
        float(rate) if rate else None,
        int(proposed) if proposed else None,
    )


def _served_by(response: httpx.Response) -> tuple[str, int]:
    name, _, version = response.headers["X-Latentry-Model"].partition("/")
    return name, int(version)


def _array(npy: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(npy), allow_pickle=False)
    return array


def _seeds(runs: str) -> tuple[int, ...]:
    """ "7-9,20" -> (7, 8, 9, 20)."""
    pairs = [run.partition("-") for run in runs.split(",") if run]
    return tuple(seed for first, _, last in pairs for seed in range(int(first), int(last or first) + 1))


def _codes(response: httpx.Response) -> Codes:
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        arrays = {
            name: _array(archive.read(f"{name}.npy"))
            for name in ("mean", "logvar")
            if f"{name}.npy" in archive.namelist()
        }
    return Codes(*_served_by(response), arrays["mean"], arrays.get("logvar"))


def _reconstruction_errors(response: httpx.Response) -> ReconstructionErrors:
    items = response.json()["images"]
    return ReconstructionErrors(
        *_served_by(response),
        mse=np.array([item["mse"] for item in items]),
        psnr=np.array([np.inf if item["psnr"] is None else item["psnr"] for item in items]),
        elbo_nats=_column(items, "elbo_nats"),
        anomaly_percentile=_column(items, "anomaly_percentile"),
    )


def _scores(response: httpx.Response) -> Scores:
    items = response.json()["scores"]
    names = ("logit", "probability", "density_ratio", "elbo_nats", "bits_per_dim", "anomaly_percentile")
    return Scores(*_served_by(response), *(_column(items, name) for name in names))


def _column(items: Sequence[Mapping[str, Any]], name: str) -> Floats | None:
    """One field of all items, or None where they lack it."""
    values = [item.get(name) for item in items]
    return None if None in values else np.array(values, np.float64)


def _model_infos(response: httpx.Response) -> list[ModelInfo]:
    """Fields that a newer service adds are left out."""
    names = [f.name for f in fields(ModelInfo)]
    return [ModelInfo(**{name: item[name] for name in names}) for item in response.json()["models"]]


def _error(response: httpx.Response) -> LatentryError:
    """From problem+json; from another answer (a proxy's, say) its text."""
    problem: dict[str, Any] = {}
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        problem = response.json()
    after = response.headers.get("Retry-After", "")
    return LatentryError(
        response.status_code,
        problem.get("title", response.reason_phrase),
        problem.get("detail", response.text[:500]),
        problem.get("errors", ()),
        int(after) if after.isdigit() else None,
    )
