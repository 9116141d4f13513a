"""The readers of what others send or write: whatever the bytes, a value, or the error that is documented, soon.

A target is made in a folder of its own, for what it has to lie there. Its readers take any bytes; they check what they
get, and raise what is a finding.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from service import codecs, golden, manifest, runtime, telemetry, traffic
from service.codecs import PNG
from service.errors import ServiceError, to_response
from service.http import answers, calls, compression, documents, multipart
from service.http.calls import RawRequest
from service.manifest import BundleError
from service.registry import load_model
from service.schemas import JSON, NPY, Options
from service.settings import Settings
from service.uploads import LatentArray
from service.v2 import models as v2_models
from service.v2 import tensors as v2_tensors
from service.v2.models import GraphModel
from service.v2.schemas import InferRequest
from tests.fuzz import seeds
from tests.fuzz.damage import mended
from tests.fuzz.memory import peak_bytes
from tests.service import bundles, heads
from tests.service.http.bad.case import FORM
from tests.service.test_openapi import SCHEMAS

GREY = manifest.Image(height=8, width=8, channels=1)
RGB = manifest.Image(height=8, width=8, channels=3)
SETTINGS = Settings(max_images=16, max_latents=16, max_pixels=100, max_body_bytes=256 * 1024)

MOST_BYTES = 16 * 1024 * 1024
"""By which the memory of the process may grow for one input.

Inputs are shorter than 64 KiB and pixels fewer than `max_pixels`; the most is had from a body that unpacks to
`max_body_bytes`, as JSON of lists in lists, of which each takes 56 bytes for 2: 7 MiB, beside the copies of the text.
"""
MOST_REFUSAL_BYTES = 8 * 1024

Reader = Callable[[bytes], object]


class FindingError(Exception):
    """A reader did what none may do."""


@dataclass(frozen=True)
class Target:
    """`seeds`: whole inputs; each reader takes one of them."""

    readers: Sequence[Reader]
    seeds: Sequence[bytes]


def attempt(target: Target, data: bytes) -> None:
    """Have all readers read `data`.

    Raises:
        FindingError: it took more memory than MOST_BYTES, or a refusal is long.
        Exception: a reader's own, if it is no refusal of ours.
    """
    before = peak_bytes()
    for reader in target.readers:
        try:
            reader(data)
        except BundleError:
            pass
        except ServiceError as error:
            if error.status >= 500:
                raise
            if (size := len(to_response(error, "/sample").body)) > MOST_REFUSAL_BYTES:
                raise FindingError(f"a refusal of {size:,} bytes") from error
    if (grown := peak_bytes() - before) > MOST_BYTES:
        raise FindingError(f"{grown:,} bytes of memory for {len(data):,} bytes of input")


def images(_: Path) -> Target:
    def read(expected: manifest.Image, mend: bool, data: bytes) -> None:
        image = codecs.decode_image(mended(data) if mend else data, expected, max_pixels=SETTINGS.max_pixels)
        assert image.shape == (expected.height, expected.width, expected.channels)
        assert image.dtype == np.uint8

    readers = [partial(read, expected, mend) for expected in (GREY, RGB) for mend in (False, True)]
    return Target(readers, seeds.PICTURES)


def arrays(_: Path) -> Target:
    def any_array(data: bytes) -> None:
        array = codecs.decode_npy(data, ("uint8", "float32"))
        assert array.dtype in (np.uint8, np.float32)
        assert array.nbytes <= len(data)

    def image_array(data: bytes) -> None:
        assert codecs.images_from_npy(data, GREY).shape[1:] == (8, 8, 1)

    def latents(data: bytes) -> None:
        z = LatentArray(data).decode(4, SETTINGS)
        assert z.shape[1:] == (4,)
        assert np.isfinite(z).all()

    return Target([any_array, image_array, latents], seeds.IMAGE_ARRAYS + seeds.LATENT_ARRAYS)


def forms(_: Path) -> Target:
    def read(data: bytes) -> None:
        kind, _, body = data.partition(b"\n")
        parts = multipart.parse(body, kind.decode("latin-1"), 4)
        assert len(parts) <= 4
        assert sum(len(part.data) for part in parts) <= len(body)

    return Target([read], [f"{FORM}\n".encode() + body for body in seeds.FORMS])


def requests(_: Path) -> Target:
    """A line each of query, `Content-Type` and `Accept`, and the body; and what is in it is decoded."""

    def read(schema: type[Options], data: bytes) -> None:
        query, kind, accept, body = ([*data.split(b"\n", 3), b"", b"", b""])[:4]
        raw = RawRequest(
            query.decode("latin-1"),
            kind.decode("latin-1"),
            accept.decode("latin-1"),
            body,
            telemetry.Record("fuzz", "id"),
        )
        call = calls.parse(raw, schema, answers.FRAME_TYPES, SETTINGS)
        with call.locating_errors():
            if (latents := getattr(call.options, "latents", None)) is not None:
                latents.decode(4, SETTINGS)
            if (pictures := getattr(call.options, "images", None)) is not None:
                pictures.decode(GREY, SETTINGS)

    def request(body: bytes, kind: str, query: str = "model=tiny-vae", accept: str = "*/*") -> bytes:
        return f"{query}\n{kind}\n{accept}\n".encode() + body

    bodies = [json.dumps(body).encode() for listed in seeds.REQUESTS.values() for body in listed]
    whole = [
        *(request(body, JSON, "") for body in bodies),
        request(b"", "", "model=tiny-vae&n=2&seeds=7,%208&truncation=0.5"),
        request(b"", JSON, "model=a&keys=1,2&closed=true&fps=1e1", "image/*, image/png;q=0"),
        *(request(picture, PNG, accept="application/zip;q=0.5, */*") for picture in seeds.PNGS[:2]),
        *(request(array, NPY) for array in seeds.IMAGE_ARRAYS + seeds.LATENT_ARRAYS),
        *(request(body, FORM, "k=4&label=1") for body in seeds.FORMS),
    ]
    return Target([partial(read, schema) for schema in SCHEMAS.values()], whole)


def whole_requests(_: Path) -> Target:
    """Those that are read at one look, beside what the parser makes of them."""
    return Target([heads.check], heads.HEADS)


def coded(_: Path) -> Target:
    def read(coding: str, data: bytes) -> None:
        body = compression.decompress(data, coding, SETTINGS.max_body_bytes)
        assert len(body) <= SETTINGS.max_body_bytes
        documents.parse_json(body, SETTINGS)

    packed = [compression.compress(t, coding) for t in seeds.JSON_TENSORS for coding in ("gzip", "deflate")]
    return Target([partial(read, coding) for coding in ("gzip", "deflate")], packed + seeds.CODED)


def tensors(scratch: Path) -> Target:
    """The header `Inference-Header-Content-Length` in a line, or an empty one, and the body."""
    bundles.write_vae(scratch)
    bundles.write_cgan(scratch)

    def read(served: GraphModel, data: bytes) -> None:
        length, _, body = data.partition(b"\n")
        document, binary = v2_tensors.split(body, length.decode("latin-1") or None, SETTINGS)
        request = calls.check(document, InferRequest)
        limit = v2_models.most_rows(served.operation, SETTINGS)
        inputs = v2_tensors.read(request.inputs, binary, served, limit)
        wanted = v2_tensors.wanted_outputs(request, served.operation)
        assert served.graph.check(inputs) <= limit
        outputs = served.graph.empty(1)
        for output in outputs:
            output.fill(0)
        body, json_bytes = v2_tensors.write(served, request.id, outputs, wanted)
        json.loads(body[:json_bytes])

    served = [load_model(scratch / name / "1", threads=1) for name in ("tiny-vae", "tiny-cgan")]
    graphs = [GraphModel(f"{model.name}.generate", model, model.graphs["generate"]) for model in served]
    whole = [f"{seeds.JSON_BYTES}\n".encode() + body for body in seeds.BINARY_TENSORS]
    return Target([partial(read, graph) for graph in graphs], whole + [b"\n" + t for t in seeds.JSON_TENSORS])


def manifests(scratch: Path) -> Target:
    folder = bundles.write_vae(scratch)
    path = folder / manifest.MANIFEST
    whole = path.read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        assert manifest.read_bundle(folder).name == "tiny-vae"

    return Target([read], [whole, json.dumps(json.loads(whole)).encode()])


def archives(scratch: Path) -> Target:
    """`golden.npz`, the one zip that is read."""
    bundle = manifest.read_bundle(bundles.write_vae(scratch))
    outputs = bundles.golden(
        {"generate": bundles.generate(GREY, seed=1), "encode": bundles.encode(GREY, seed=2, logvar=True)}
    )

    def read(data: bytes) -> None:
        for array in golden.read(data, bundle).values():
            assert len(array) >= 2

    whole = [seeds.archive(outputs, compressed=compressed) for compressed in (False, True)]
    return Target([read], [*whole, seeds.archive({"a": np.zeros(3)}, compressed=True)])


def graphs(scratch: Path) -> Target:
    """The look at an ONNX file before onnxruntime gets it. The file is small: its weights are of no interest."""
    model, _ = bundles.prior(seed=1)

    def read(data: bytes) -> None:
        try:
            runtime._check_file(data, bundles.OPSET)
        except ValueError as error:  # as `Graph.open` does
            raise BundleError(str(error)) from error

    return Target([read], [model.SerializeToString()])


def weights(scratch: Path) -> Target:
    """`traffic.json`."""
    path = scratch / traffic.FILE

    def read(data: bytes) -> None:
        path.write_bytes(data)
        shares = traffic.read(path).shares([1, 2, 3])
        assert abs(sum(shares.values()) - 1) < 1e-9

    return Target([read], seeds.WEIGHTS)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "images": images,
    "arrays": arrays,
    "forms": forms,
    "requests": requests,
    "whole-requests": whole_requests,
    "coded": coded,
    "tensors": tensors,
    "manifests": manifests,
    "archives": archives,
    "graphs": graphs,
    "weights": weights,
}
