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

NPY = "application/x-npy"
JSON = "application/json"
ZIP = "application/zip"

T = TypeVar("T")
Images = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Upload = NDArray[Any] | bytes | Sequence[bytes]
Label = int | Sequence[int]


class LatentryError(Exception):
    """The service refused or failed: `str()` is the problem's text.

    Attributes:
        status: of HTTP; title: its name.
        detail: what was wrong, the value, and what is allowed.
        errors: {"location", "message"} for each field at fault.
        retry_after_s: seconds after which to try again, where the service says so (429).
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 (N, H, W, C). `seeds` has one for each (of an interpolation: the ends'), or is empty."""

    model: str
    version: int
    images: Images
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Codes:
    """q(z|x): `mean` and `logvar`, float32 (N, dim); a plain autoencoder has no `logvar`."""

    model: str
    version: int
    mean: Floats
    logvar: Floats | None


@dataclass(frozen=True)
class ReconstructionErrors:
    """How far reconstructions are from their images, (N,) each; None: the model has no such figure.

    `mse` is in [0, 1]; `psnr` in dB, infinite where mse is 0; `anomaly_percentile` 0 to 100, high is strange.
    """

    model: str
    version: int
    mse: Floats
    psnr: Floats
    elbo_nats: Floats | None
    anomaly_percentile: Floats | None


@dataclass(frozen=True)
class Scores:
    """(N,) each. A discriminator gives the first three, a VAE the others (a percentile if calibrated)."""

    model: str
    version: int
    logit: Floats | None
    probability: Floats | None
    density_ratio: Floats | None
    elbo_nats: Floats | None
    bits_per_dim: Floats | None
    anomaly_percentile: Floats | None


@dataclass(frozen=True)
class ModelInfo:
    """One version of a model; the service's `/docs.json` describes the fields."""

    name: str
    version: int
    latest: bool
    family: str
    description: str
    operations: list[str]
    image: dict[str, int]
    latent: dict[str, Any] | None
    class_names: list[str] | None
    graphs: dict[str, Any]
    sha256: str
    dataset: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how to read its answer. `body` holds the arguments of httpx that make the body."""

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[httpx.Response], T]
    accept: str = JSON
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        headers = {"Accept": self.accept}
        if self.content_type:
            headers["Content-Type"] = self.content_type
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
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Draw images. `seed`: image i gets seed + i; `seeds`: one for each; neither: the service chooses.

    `truncation` in (0, 1] scales latents towards their mean. `label`: a class, or one for each image.
    """
    options = _given(
        model=model, n=n, seed=seed, seeds=seeds, truncation=truncation, label=label, version=version
    )
    return _post("/sample", functools.partial(_pictures, asked=tuple(seeds or ())), NPY, options)


def reconstruct(
    model: str, images: Upload, *, label: Label | None = None, version: int | None = None
) -> Call[Pictures]:
    """Encode and decode images.

    `images`: uint8, or floats in [0, 1], (N, H, W) or (N, H, W, C); or one or more PNG, JPEG or WebP files.
    """
    return _upload("/reconstruct", _pictures, NPY, images, _given(model=model, label=label, version=version))


def reconstruction_errors(
    model: str, images: Upload, *, samples: int = 8, label: Label | None = None, version: int | None = None
) -> Call[ReconstructionErrors]:
    """How well each image (as for `reconstruct`) is reconstructed; `samples` draws of z make the ELBO."""
    options = _given(model=model, samples=samples, label=label, version=version)
    return _upload("/reconstruct", _reconstruction_errors, JSON, images, options)


def encode(model: str, images: Upload, *, version: int | None = None) -> Call[Codes]:
    """Latents of images (as for `reconstruct`)."""
    return _upload("/encode", _codes, ZIP, images, _given(model=model, version=version))


def decode(
    model: str, latents: Floats, *, label: Label | None = None, version: int | None = None
) -> Call[Pictures]:
    """Images of latents (N, dim)."""
    options = _given(model=model, label=label, version=version)
    return _post_npy("/decode", _pictures, NPY, np.asarray(latents, np.float32), options)


def interpolate(
    model: str,
    start: int | Sequence[float] | Floats,
    end: int | Sequence[float] | Floats,
    *,
    steps: int = 8,
    path: Literal["slerp", "lerp"] = "slerp",
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Frames from `start` to `end` (seeds or latent vectors), both counted in `steps`."""
    options = _given(model=model, steps=steps, path=path, label=label, version=version)
    return _post("/interpolate", _pictures, NPY, options | {"from": _plain(start), "to": _plain(end)})


def interpolate_images(
    model: str,
    images: Upload,
    *,
    steps: int = 8,
    path: Literal["slerp", "lerp"] = "slerp",
    label: Label | None = None,
    version: int | None = None,
) -> Call[Pictures]:
    """Frames through the codes of two or more images, in order (images as for `reconstruct`)."""
    options = _given(model=model, steps=steps, path=path, label=label, version=version)
    return _upload("/interpolate", _pictures, NPY, images, options)


def score(
    model: str, images: Upload, *, label: Label | None = None, version: int | None = None
) -> Call[Scores]:
    """How real (a GAN) or how likely (a VAE) each image is (images as for `reconstruct`)."""
    return _upload("/score", _scores, JSON, images, _given(model=model, label=label, version=version))


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


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays, and sequences of them, as Python's."""
    if isinstance(value, str | int | float):
        return value
    return np.asarray(value).tolist()


def _post(path: str, read: Callable[[httpx.Response], T], accept: str, options: Mapping[str, Any]) -> Call[T]:
    return Call("POST", path, read, accept, body={"json": options})


def _post_npy(
    path: str,
    read: Callable[[httpx.Response], T],
    accept: str,
    array: NDArray[Any],
    options: Mapping[str, Any],
) -> Call[T]:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    body = {"content": stream.getvalue()}
    return Call("POST", path, read, accept, _query(options), content_type=NPY, body=body)


def _upload(
    path: str,
    read: Callable[[httpx.Response], T],
    accept: str,
    images: Upload,
    options: Mapping[str, Any],
) -> Call[T]:
    if isinstance(images, np.ndarray):
        if np.issubdtype(images.dtype, np.floating):
            images = images.astype(np.float32)
        return _post_npy(path, read, accept, images, options)
    listed = [images] if isinstance(images, bytes) else images
    files = [("images", (f"{i}", data, "application/octet-stream")) for i, data in enumerate(listed)]
    return Call("POST", path, read, accept, _query(options), body={"files": files})


def _query(options: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in options.items()
    }


def _pictures(response: httpx.Response, asked: tuple[int, ...] = ()) -> Pictures:
    """`asked`: the seeds of the request; the service does not repeat a list that is long."""
    seeds = _seeds(response.headers.get("X-Latentry-Seeds", "")) or asked
    return Pictures(*_served_by(response), _array(response.content), seeds)


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
