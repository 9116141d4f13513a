"""Results -> HTTP answers, in the form that the client accepts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pydantic_core
from numpy.typing import NDArray
from starlette.responses import Response

from service import animations, codecs
from service.animations import GIF
from service.codecs import PNG, WEBP
from service.http.calls import Call
from service.job import Part, Work
from service.operations import DiscriminatorScore, ElboScore, Encoding, Reconstruction
from service.registry import Model
from service.rejection import Kept
from service.schemas import JSON, NPY, ZIP
from service.steps import LARGE_BYTES, Steps, aside

IMAGE_TYPES = (PNG, NPY, ZIP, JSON)
FRAME_TYPES = (*IMAGE_TYPES, WEBP, GIF)
LATENT_TYPES = (JSON, NPY, ZIP)
SCORE_TYPES = (JSON,)
# Answers with room for more than pixels.
WITH_DATA = (ZIP, JSON)

MODEL_HEADER = "X-Latentry-Model"
SEEDS_HEADER = "X-Latentry-Seeds"
LABELS_HEADER = "X-Latentry-Labels"
ACCEPTANCE_HEADER = "X-Latentry-Acceptance"
PROPOSED_HEADER = "X-Latentry-Proposed"
MAX_LIST_HEADER_BYTES = 4096
METADATA = "metadata.json"
STREAMED = (NPY, ZIP)
STREAMED_IMAGES = 256
"""Of an answer in these forms that has more: a part of it, sent before the next is computed."""
_MANY_FRAMES = 8
"""Of an animation: WebP and GIF take about a millisecond a frame."""

Item = dict[str, Any]


def images(
    call: Call[Any],
    model: Model,
    pictures: NDArray[np.uint8],
    *,
    items: Iterable[Item] | None = None,
    seeds: Sequence[int] = (),
    labels: Sequence[int] | None = None,
    about: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Steps[Response]:
    """Answer with (N, H, W, C): one PNG (a contact sheet for N > 1), npy, zip or JSON.

    Args:
        items: what JSON and the zip's metadata say of each image, beside its PNG.
        seeds, labels: told in headers, where they fit.
        about: what they say of all images.
        headers: further ones.
    """
    call.record.images = len(pictures)
    headers = {**_list_headers(seeds, labels), **(headers or {})}
    if call.media_type == NPY:
        return _respond(call, model, codecs.encode_npy(pictures), headers)
    takes_long = pictures.nbytes > LARGE_BYTES
    if call.media_type == PNG:
        return _respond(call, model, (yield from aside(takes_long, _sheet, pictures)), headers)
    listed = list(items) if items is not None else [{} for _ in pictures]
    encode = _zip_of if call.media_type == ZIP else _json_of
    body = yield from aside(takes_long, encode, pictures, listed, _about(model, **(about or {})))
    return _respond(call, model, body, headers)


def kept(call: Call[Any], model: Model, discriminator: Model, result: Kept) -> Steps[Response]:
    """Answer with the images that were kept, and with how many were looked at for them."""
    return (
        yield from images(
            call,
            model,
            result.images,
            items=seed_items(result.seeds, result.labels),
            seeds=result.seeds,
            labels=result.labels,
            about={
                "acceptance_rate": result.acceptance_rate,
                "proposed": result.proposed,
                "discriminator": str(discriminator),
            },
            headers={
                ACCEPTANCE_HEADER: f"{result.acceptance_rate:.4g}",
                PROPOSED_HEADER: str(result.proposed),
            },
        )
    )


def frames(
    call: Call[Any], model: Model, pictures: NDArray[np.uint8], fps: float, *, seeds: Sequence[int]
) -> Steps[Response]:
    """Answer with (N, H, W, C) as an animation of `fps` frames a second, or as `images` does."""
    animate = {WEBP: animations.webp, GIF: animations.gif}.get(call.media_type)
    if animate is None:
        about = {"seeds": seeds} if seeds else None
        return (yield from images(call, model, pictures, seeds=seeds, about=about))
    call.record.images = len(pictures)
    body = yield from aside(len(pictures) > _MANY_FRAMES, animate, pictures, fps)
    return _respond(call, model, body, _list_headers(seeds))


def stream(
    call: Call[Any],
    model: Model,
    seeds: Sequence[int],
    labels: Sequence[int] | None,
    draw: Callable[[slice], Steps[NDArray[np.uint8]]],
) -> Work:
    """Answer with npy or zip in parts of STREAMED_IMAGES, byte for byte what `images` gives for all at once.

    Nothing is sent before the first images are there: a refusal or a failure until then has a status of its own.

    Args:
        draw: the images (k, H, W, C) of some of the seeds.
    """
    call.record.images = n = len(seeds)
    image, step = model.manifest.image, STREAMED_IMAGES
    headers = {"Content-Type": call.media_type, MODEL_HEADER: str(model), **_list_headers(seeds, labels)}
    slices = [slice(i, min(i + step, n)) for i in range(0, n, step)]
    if call.media_type == NPY:
        head = codecs.npy_header((n, image.height, image.width, image.channels), "|u1")
        size = len(head) + n * image.height * image.width * image.channels
        headers["Content-Length"] = str(size)
        for rows in slices:
            pixels = (yield from draw(rows)).tobytes()
            yield Part(pixels if rows.start else head + pixels, headers)
        return
    writer = codecs.ZipWriter()
    for rows in slices:
        pictures = yield from draw(rows)
        names = (_file_name(i) for i in range(rows.start, rows.stop))
        yield Part((yield from aside(True, _zipped, writer, names, pictures)), headers)
    described = [{"file": _file_name(i)} | item for i, item in enumerate(seed_items(seeds, labels))]
    metadata = writer.add(METADATA, _json(_about(model, images=described)))
    yield Part(metadata + writer.end())


def latents(call: Call[Any], model: Model, encoding: Encoding) -> Response:
    """Answer with the codes of images: JSON, the means as npy, or a zip of `mean.npy` and `logvar.npy`."""
    call.record.images = len(encoding.mean)
    arrays = _given(vars(encoding))
    if call.media_type == NPY:
        return _respond(call, model, codecs.encode_npy(encoding.mean))
    if call.media_type == ZIP:
        files = {f"{name}.npy": codecs.encode_npy(array) for name, array in arrays.items()}
        return _respond(call, model, _zip(files, _about(model)))
    return _respond(call, model, _json(_about(model, latents=_rows(arrays))))


def scores(
    call: Call[Any], model: Model, score: DiscriminatorScore | ElboScore, k: int | None = None
) -> Response:
    """Answer with one object an image: the fields of `score` that the model has; and `k`, where it was given. JSON."""
    rows = _rows(_given(vars(score)))
    call.record.images = len(rows)
    asked = {} if k is None else {"k": k}
    return _respond(call, model, _json(_about(model, **asked, scores=rows)))


def reconstruction_items(result: Reconstruction) -> list[Item]:
    """What is told of each image: `mse`, `latent`, `psnr`, and what else the model has a measure of."""
    columns: dict[str, NDArray[Any] | None] = {
        "mse": result.mse,
        "latent": result.mean,
        "elbo_nats": result.elbo_nats,
        "anomaly_percentile": result.anomaly_percentile,
    }
    rows = _rows(_given(columns))
    return [row | {"psnr": psnr} for row, psnr in zip(rows, result.psnr, strict=True)]


def seed_items(seeds: Sequence[int], labels: Sequence[int] | None) -> Iterator[Item]:
    """What is told of each image of a seed: that, and its label where it has one."""
    if labels is None:
        return ({"seed": seed} for seed in seeds)
    return ({"seed": seed, "label": label} for seed, label in zip(seeds, labels, strict=True))


def seed_runs(seeds: Sequence[int]) -> str:
    """Seeds in order, runs of consecutive ones shortened: [7, 8, 9, 3] -> "7-9,3"."""
    if isinstance(seeds, range) and seeds:
        return f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _list_headers(seeds: Sequence[int], labels: Sequence[int] | None = None) -> dict[str, str]:
    lists = {SEEDS_HEADER: seed_runs(seeds), LABELS_HEADER: ",".join(map(str, labels or ()))}
    return {name: text for name, text in lists.items() if 0 < len(text) <= MAX_LIST_HEADER_BYTES}


def _given(columns: Mapping[str, NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
    """What the model has a value of: the others are None."""
    return {name: column for name, column in columns.items() if column is not None}


def _rows(columns: dict[str, NDArray[Any]]) -> list[Item]:
    """Arrays of N rows by name -> N objects of Python's numbers (and lists of them)."""
    lists = {name: column.tolist() for name, column in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _file_name(i: int) -> str:
    return f"{i:04d}.png"


def _about(model: Model, **content: Any) -> dict[str, Any]:
    return {"model": model.name, "version": model.version, **content}


def _json(content: Any) -> bytes:
    # Several times as fast as the standard library's on lists of floats.
    return pydantic_core.to_json(content, inf_nan_mode="null")


def _sheet(pictures: NDArray[np.uint8]) -> bytes:
    return codecs.encode_png(pictures[0] if len(pictures) == 1 else codecs.contact_sheet(pictures))


def _zip_of(pictures: NDArray[np.uint8], items: list[Item], about: dict[str, Any]) -> bytes:
    files = {_file_name(i): codecs.encode_png(picture) for i, picture in enumerate(pictures)}
    described = [{"file": file} | item for file, item in zip(files, items, strict=True)]
    return _zip(files, {**about, "images": described})


def _json_of(pictures: NDArray[np.uint8], items: list[Item], about: dict[str, Any]) -> bytes:
    pngs = (codecs.encode_base64(codecs.encode_png(picture)) for picture in pictures)
    return _json({**about, "images": [{"png": png} | item for png, item in zip(pngs, items, strict=True)]})


def _zipped(writer: codecs.ZipWriter, names: Iterable[str], pictures: NDArray[np.uint8]) -> bytes:
    pngs = (codecs.encode_png(picture) for picture in pictures)
    return b"".join(writer.add(name, png) for name, png in zip(names, pngs, strict=True))


def _zip(files: dict[str, bytes], metadata: dict[str, Any]) -> bytes:
    return codecs.encode_zip({**files, METADATA: _json(metadata)})


class _Answer(Response):
    """A Response of one media type, made in a third of the time."""

    def __init__(self, body: bytes, media_type: str, headers: Mapping[str, str]) -> None:
        self.status_code, self.background, self.body = 200, None, body
        named = {"content-type": media_type, "content-length": str(len(body)), **headers}
        self.raw_headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in named.items()]


def _respond(
    call: Call[Any], model: Model, body: bytes, headers: Mapping[str, str] | None = None
) -> Response:
    return _Answer(body, call.media_type, {MODEL_HEADER: str(model), **(headers or {})})
