"""`/docs.json`: what the service really takes and gives, in OpenAPI 3.1.

BentoML's own document knows one content type for a body and one for an answer, no query parameters, and
errors in a form that is not ours. This one is made from the schemas that check requests; `/` shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import examples, schemas
from service.animations import GIF
from service.codecs import IMAGE_TYPES, PNG, WEBP
from service.errors import MEDIA_TYPE as PROBLEM
from service.errors import ServiceError
from service.http import admin, answers, openapi_access
from service.http.dispatch import TIMEOUT_HEADER
from service.schemas import JSON, MULTIPART, NPY, ZIP, Options
from service.settings import Settings
from service.v2 import openapi as openapi_v2

Json = dict[str, Any]

_BINARY: Json = {"type": "string", "format": "binary"}
_TEXT: Json = {"type": "string"}
_REF = "#/components/schemas/{model}"


@dataclass(frozen=True)
class _Operation:
    summary: str
    request: type[Options]
    answer: type[BaseModel]
    media_types: Sequence[str]
    seeds: bool = False
    keep: bool = False


_OPERATIONS = {
    "/sample": _Operation(
        "Draw new images",
        schemas.SampleRequest,
        schemas.ImagesAnswer,
        answers.IMAGE_TYPES,
        seeds=True,
        keep=True,
    ),
    "/reconstruct": _Operation(
        "Encode images and decode them again",
        schemas.ReconstructRequest,
        schemas.ImagesAnswer,
        answers.IMAGE_TYPES,
    ),
    "/encode": _Operation(
        "Latent codes of images", schemas.EncodeRequest, schemas.LatentsAnswer, answers.LATENT_TYPES
    ),
    "/decode": _Operation(
        "Images of latent codes", schemas.DecodeRequest, schemas.ImagesAnswer, answers.IMAGE_TYPES
    ),
    "/interpolate": _Operation(
        "Frames of a path through seeds, latents or images",
        schemas.InterpolateRequest,
        schemas.ImagesAnswer,
        answers.FRAME_TYPES,
        seeds=True,
    ),
    "/score": _Operation(
        "How much images look like the model's training data",
        schemas.ScoreRequest,
        schemas.ScoresAnswer,
        answers.SCORE_TYPES,
    ),
}


def document(settings: Settings) -> Json:
    """The OpenAPI document, with this server's limits in it."""
    named = _schemas(settings)
    has_keys = settings.keys_file is not None
    errors = (*examples.ERRORS, *(examples.KEY_ERRORS if has_keys else ()))
    described: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Latentry",
            "version": "1",
            "description": (
                "Sample, reconstruct, encode, decode, interpolate and score with latent-variable models. "
                "The same model version, seed and options give the same bytes. Choose the form of an answer "
                "with `Accept`: a client that reads JSON, as generated ones do, sends `application/json`. "
                "Options may stand in the query with any kind of body. Every answer has an "
                "`X-Request-Id`: the request's own, if that is 1 to 64 of A-Z a-z 0-9 . _ -, or a new one; "
                "the log has it too."
            ),
        },
        "servers": [{"url": "."}],
        "tags": [
            {"name": "Operations"},
            {"name": "Models"},
            {"name": "Infrastructure"},
            {"name": openapi_v2.TAG},
        ],
        "paths": {
            **{path: {"post": _post(path, operation, named)} for path, operation in _OPERATIONS.items()},
            **_get_paths(),
            **(_admin_paths() if settings.admin else {}),
            **openapi_v2.paths(_REF),
        },
        "components": {
            "schemas": named,
            "responses": {_error_name(error.status): _error(error) for error in errors},
            "headers": {
                "Model": {"schema": _TEXT, "description": "name/version of the model that answered"},
                "Seeds": {
                    "schema": _TEXT,
                    "description": "Seeds in order, runs as 7-70, commas between; left out above 4 KiB",
                },
                "Labels": {
                    "schema": _TEXT,
                    "description": "/sample of a conditional model: the class of each image, commas between; left out "
                    "above 4 KiB",
                },
                "Acceptance": {
                    "schema": {"type": "number"},
                    "description": "With `keep`: the fraction of the samples looked at that were kept",
                },
                "Proposed": {"schema": {"type": "integer"}, "description": "With `keep`: samples looked at"},
            },
            "parameters": {
                "RequestId": {
                    "name": "X-Request-Id",
                    "in": "header",
                    "schema": _TEXT,
                    "description": "A name for this request, given back in the answer",
                },
                "Timeout": {
                    "name": TIMEOUT_HEADER,
                    "in": "header",
                    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
                    "description": "Milliseconds after which the answer is of no use any more: 504, and no more work "
                    f"is done for it. It counts up to {settings.request_timeout_s:g} seconds",
                },
                "Key": {
                    "name": "X-Latentry-Key",
                    "in": "header",
                    "schema": _TEXT,
                    "description": "A name for the caller. Where a model has weights between its versions, and the "
                    "request names none, the same name gets the same one; without it, the same request does",
                },
            },
        },
    }
    if has_keys:
        openapi_access.add_keys(described)
    return described


def _schemas(settings: Settings) -> Json:
    models: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
    for operation in _OPERATIONS.values():
        models |= {(operation.request, "validation"): None, (operation.answer, "serialization"): None}
    models |= dict.fromkeys(openapi_v2.SCHEMAS)
    if settings.admin:
        models |= {(schemas.ReloadAnswer, "serialization"): None}
    models |= {(schemas.ModelsAnswer, "serialization"): None, (schemas.Problem, "serialization"): None}
    _, top = models_json_schema(list(models), ref_template=_REF)
    named: Json = top["$defs"]
    for name, schema in named.items():
        if name.endswith("Request"):
            properties = schema["properties"]
            for field, keyword, limit in (
                ("n", "maximum", settings.max_images),
                ("seeds", "maxItems", settings.max_images),
                ("keys", "maxItems", settings.max_images),
                ("images", "maxItems", settings.max_images),
                ("latents", "maxItems", settings.max_latents),
                ("k", "maximum", settings.max_importance_samples),
            ):
                if field in properties:
                    _given(properties[field])[keyword] = limit
            if "latents" in properties:
                number = {"type": "number", "minimum": -settings.max_latent, "maximum": settings.max_latent}
                _given(properties["latents"])["items"] = {"type": "array", "items": number}
    return named


def _given(field: Json) -> Json:
    """The schema of an option that is not null."""
    given: Json = field.get("anyOf", [field])[0]
    return given


def _post(path: str, operation: _Operation, named: Json) -> Json:
    headers = {answers.MODEL_HEADER: _header("Model")}
    if operation.seeds:
        headers[answers.SEEDS_HEADER] = _header("Seeds")
    if operation.keep:
        headers |= {
            answers.LABELS_HEADER: _header("Labels"),
            answers.ACCEPTANCE_HEADER: _header("Acceptance"),
            answers.PROPOSED_HEADER: _header("Proposed"),
        }
    return {
        "tags": ["Operations"],
        "operationId": path[1:],
        "summary": operation.summary,
        "parameters": [
            *_query_parameters(operation.request, named[operation.request.__name__]),
            {"$ref": "#/components/parameters/RequestId"},
            {"$ref": "#/components/parameters/Key"},
            {"$ref": "#/components/parameters/Timeout"},
        ],
        "requestBody": {"content": _request_content(path, operation.request)},
        "responses": {
            "200": {
                "description": "Done",
                "headers": headers,
                "content": {
                    t: {"schema": _answer_schema(t, operation.answer)} for t in operation.media_types
                },
            },
            **_errors(*(error.status for error in examples.ERRORS)),
        },
    }


def _query_parameters(request: type[Options], schema: Json) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "description": f"{field.get('description', '')} (here or in the body)",
            "schema": _as_text(field),
            "style": "form",
            "explode": False,
        }
        for name, field in schema["properties"].items()
        if name != request.payload
    ]


def _request_content(path: str, request: type[Options]) -> Json:
    # Options may be parts too, but the page would send those that are left empty.
    form = {"images": {"type": "array", "items": _BINARY, "minItems": 1}}
    by_type: Json = {
        JSON: {"$ref": _REF.format(model=request.__name__)},
        MULTIPART: {"type": "object", "properties": form, "required": ["images"]},
        NPY: {**_BINARY, "description": _NPY_CONTENT.get(request.payload or "", "")},
        **{t: {**_BINARY, "description": "One image of the model's size"} for t in IMAGE_TYPES},
    }
    content: Json = {media_type: {"schema": by_type[media_type]} for media_type in request.accepts}
    content[JSON]["example"] = examples.REQUESTS[path]
    return content


def _as_text(field: Json) -> Json:
    """An option in a query, where null cannot be written.

    Defaults and examples are left to the body: the page would fill them in, and send them, in both places.
    """
    kept = {k: v for k, v in field.items() if k not in ("anyOf", "default", "examples")}
    choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        items = choices[0].get("items", {}).get("oneOf")
        # Lists of lists cannot be written there either.
        flat = {"items": items[0]} if items else {}
        return {**choices[0], **kept, **flat}
    return kept | ({"anyOf": choices} if choices else {})


_NPY_CONTENT = {
    "images": "NPY: uint8, or float32 in [0, 1]; (N, H, W, C), or (N, H, W) for grey",
    "latents": "NPY: float32 (N, latent dim)",
}


def _answer_schema(media_type: str, answer: type[BaseModel]) -> Json:
    npy = (
        "NPY: the means, float32 (N, latent dim)"
        if answer is schemas.LatentsAnswer
        else "NPY: uint8 (N, H, W, C)"
    )
    zipped = (
        "mean.npy, logvar.npy where there is one, metadata.json"
        if answer is schemas.LatentsAnswer
        else "A PNG an image, and metadata.json, which is the JSON answer with file names for images"
    )
    by_type: Json = {
        JSON: {"$ref": _REF.format(model=answer.__name__)},
        PNG: {**_BINARY, "description": "The image; for several, a contact sheet, row by row"},
        NPY: {**_BINARY, "description": npy},
        ZIP: {**_BINARY, "description": zipped},
        WEBP: {**_BINARY, "description": "The frames as an animation, lossless, which loops forever"},
        GIF: {
            **_BINARY,
            "description": "The frames as an animation, which loops forever: grey is exact, "
            "each frame in colour has 256 colours of its own",
        },
    }
    schema: Json = by_type[media_type]
    return schema


def _get_paths() -> Json:
    models = {"schema": {"$ref": _REF.format(model="ModelsAnswer")}}
    name = {"name": "name", "in": "path", "required": True, "schema": _TEXT, "example": "mnist-gan"}
    return {
        "/models": {"get": _get("Models", "models", "What is served", {JSON: models}, 503)},
        "/models/{name}": {
            "get": _get("Models", "model", "All versions of one model", {JSON: models}, 404, 503)
            | {"parameters": [name]}
        },
        "/livez": {"get": _get("Infrastructure", "livez", "The process runs", _PLAIN)},
        "/readyz": {
            "get": _get(
                "Infrastructure", "readyz", "Models are loaded and proven on golden outputs", _PLAIN, 503
            )
        },
        "/metrics": {"get": _get("Infrastructure", "metrics", "Prometheus metrics of all workers", _PLAIN)},
        "/docs.json": {
            "get": _get("Infrastructure", "docs", "This document", {JSON: {"schema": {"type": "object"}}})
        },
    }


def _admin_paths() -> Json:
    answer = {"schema": {"$ref": _REF.format(model="ReloadAnswer")}}
    summary = "Look for new versions in the models folder now, in every worker"
    return {admin.RELOAD: {"post": _get("Infrastructure", "reload", summary, {JSON: answer})}}


_PLAIN: Json = {"text/plain": {"schema": _TEXT}}


def _get(tag: str, operation_id: str, summary: str, content: Json, *errors: int) -> Json:
    return {
        "tags": [tag],
        "operationId": operation_id,
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": content},
            **_errors(*errors),
        },
    }


def _errors(*statuses: int) -> Json:
    return {str(s): {"$ref": f"#/components/responses/{_error_name(s)}"} for s in statuses}


def _error_name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "").replace("-", "")


def _error(example: ServiceError) -> Json:
    schema = {"$ref": _REF.format(model="Problem")}
    told = {name: {"schema": _TEXT, "description": "Seconds"} for name in example.headers}
    return {
        "description": example.title,
        **({"headers": told} if told else {}),
        "content": {PROBLEM: {"schema": schema, "example": example.problem("/sample")}},
    }


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}
