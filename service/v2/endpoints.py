"""The Open Inference Protocol v2 (KServe, Triton) under `/v2`: each graph of each model is a model of its own.

Its errors have a form of their own too, which `errors.to_response` knows.
"""

import re
from functools import partial
from hashlib import blake2b

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import tensors
from service.errors import BadRequest, MethodNotAllowed
from service.http import calls, compression
from service.http.calls import RawRequest
from service.http.dispatch import Handler
from service.job import Work
from service.loader import Models
from service.schemas import JSON
from service.settings import Settings
from service.steps import LARGE_BYTES, aside, run
from service.v2 import models as v2_models
from service.v2 import tensors as v2_tensors
from service.v2.models import GraphModel
from service.v2.schemas import IndexEntry, InferRequest, Live, ModelReady, Ready, ServerMetadata
from service.v2.tensors import JSON_LENGTH_HEADER, Array, Wanted

NAME = "latentry"
VERSION = "0.1.0"
EXTENSIONS = ("binary_tensor_data", "model_configuration")
BINARY = "application/octet-stream"

MODEL = "/v2/models/{model}"
MODEL_VERSION = f"{MODEL}/versions/{{version}}"
INDEX = "/v2/repository/index"
# As they stand in `/docs.json`.
PATHS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    *(f"{model}{what}" for model in (MODEL, MODEL_VERSION) for what in ("", "/ready", "/config", "/infer")),
    INDEX,
)

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_INDEX_ANSWER = TypeAdapter(list[IndexEntry])


def routes(models: Models, settings: Settings) -> list[Route]:
    """All but inference. Plain functions: starlette runs them in threads, as those of `pages`."""

    def server(_: Request) -> Response:
        return _json(ServerMetadata(name=NAME, version=VERSION, extensions=list(EXTENSIONS)))

    def live(_: Request) -> Response:
        return _json(Live(live=True))

    def ready(_: Request) -> Response:
        models.check_ready()
        return _json(Ready(ready=True))

    def model_ready(request: Request) -> Response:
        return _json(ModelReady(name=v2_models.find(models.registry(), *_named(request)).name, ready=True))

    def metadata(request: Request) -> Response:
        return _json(v2_models.metadata(models.registry(), *_named(request)))

    def config(request: Request) -> Response:
        return _json(v2_models.config(models.registry(), *_named(request), settings))

    def index(_: Request) -> Response:
        return Response(_INDEX_ANSWER.dump_json(v2_models.index(models.registry())), media_type=JSON)

    of_models = {"": metadata, "/ready": model_ready, "/config": config}
    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        *(Route(f"{model}{what}", f) for model in (MODEL, MODEL_VERSION) for what, f in of_models.items()),
        Route(INDEX, index, methods=["POST"]),
    ]


def is_inference(path: str) -> bool:
    return _INFER.fullmatch(path) is not None


def inference(models: Models, settings: Settings, method: str, path: str) -> Handler | None:
    """The handler of `POST .../infer`; None for any other path.

    Raises:
        MethodNotAllowed: another method.
    """
    found = _INFER.fullmatch(path)
    if found is None:
        return None
    if method != "POST":
        raise MethodNotAllowed(method, ["POST"])
    return partial(_infer, models, settings, found[1], found[2])


def _infer(models: Models, settings: Settings, name: str, version: str | None, raw: RawRequest) -> Work:
    raw.record.model = name.rpartition(".")[0]
    served = v2_models.find(models.registry(), name, version, partial(_key, raw))
    request, inputs = yield from aside(len(raw.body) > LARGE_BYTES, _read, raw, served, settings)
    wanted = v2_tensors.wanted_outputs(request, served.operation)
    outputs = yield from run(served.graph, **inputs)
    _check_outputs(served, outputs)
    if v2_models.has_images(served.operation):
        raw.record.images = len(outputs[0])
    large = sum(output.nbytes for output in outputs) > LARGE_BYTES
    return (yield from aside(large, _answer, raw, served, request, outputs, wanted))


def _read(raw: RawRequest, served: GraphModel, settings: Settings) -> tuple[InferRequest, dict[str, Array]]:
    body = compression.decompress(raw.body, raw.headers.get("content-encoding"), settings.max_body_bytes)
    json_length = raw.headers.get(JSON_LENGTH_HEADER.lower())
    document, binary = v2_tensors.split(body, json_length, settings)
    request = calls.check(document, InferRequest)
    limit = v2_models.most_rows(served.operation, settings)
    return request, v2_tensors.read(request.inputs, binary, served, limit)


def _key(raw: RawRequest) -> bytes:
    """What the version of a request that names none is chosen by."""
    given = raw.headers.get(calls.KEY_HEADER)
    return blake2b(raw.body).digest() if given is None else b"key " + given.encode()


def _check_outputs(served: GraphModel, outputs: tuple[Array, ...]) -> None:
    for tensor, array in zip(served.operation.outputs, outputs, strict=True):
        if bad := tensors.rows_not_finite(array):
            raise BadRequest.at(
                "inputs",
                f"are too large for {served.name}: row {bad[0]} of its {tensor.name!r} would not be finite",
            )


def _answer(
    raw: RawRequest,
    served: GraphModel,
    request: InferRequest,
    outputs: tuple[Array, ...],
    wanted: list[Wanted],
) -> Response:
    body, json_length = v2_tensors.write(served, request.id, outputs, wanted)
    headers = {"Vary": "Accept-Encoding"}
    if json_length is not None:
        headers[JSON_LENGTH_HEADER] = str(json_length)
    if coding := compression.asked_for(raw.headers.get("accept-encoding")):
        headers["Content-Encoding"] = coding
        body = compression.compress(body, coding)
    return Response(body, headers=headers, media_type=JSON if json_length is None else BINARY)


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type=JSON)
