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

from service import answers, schemas
from service.codecs import IMAGE_TYPES, PNG
from service.errors import MEDIA_TYPE as PROBLEM
from service.schemas import JSON, MULTIPART, NPY, ZIP, Options
from service.settings import Settings

Json = dict[str, Any]

_BINARY: Json = {"type": "string", "format": "binary"}
_TEXT: Json = {"type": "string"}
_REF = "#/components/schemas/{model}"
_BAD_INPUT = (400, 404, 406, 413, 415)
_OUR_TROUBLE = (500, 503, 504)


@dataclass(frozen=True)
class _Call:
    summary: str
    request: type[Options]
    answer: type[BaseModel]
    media_types: Sequence[str]
    seeds: bool = False


_CALLS = {
    "/sample": _Call(
        "Draw new images", schemas.SampleRequest, schemas.ImagesAnswer, answers.IMAGE_TYPES, seeds=True
    ),
    "/reconstruct": _Call(
        "Encode images and decode them again",
        schemas.ReconstructRequest,
        schemas.ImagesAnswer,
        answers.IMAGE_TYPES,
    ),
    "/encode": _Call(
        "Latent codes of images", schemas.EncodeRequest, schemas.LatentsAnswer, answers.LATENT_TYPES
    ),
    "/decode": _Call(
        "Images of latent codes", schemas.DecodeRequest, schemas.ImagesAnswer, answers.IMAGE_TYPES
    ),
    "/interpolate": _Call(
        "Frames of a path between two seeds or latents, or through images",
        schemas.InterpolateRequest,
        schemas.ImagesAnswer,
        answers.IMAGE_TYPES,
        seeds=True,
    ),
    "/score": _Call(
        "How much images look like the model's training data",
        schemas.ScoreRequest,
        schemas.ScoresAnswer,
        answers.SCORE_TYPES,
    ),
}


def document(settings: Settings) -> Json:
    """The OpenAPI document, with this server's limits in it."""
    named = _schemas(settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Latentry",
            "version": "1",
            "description": (
                "Sample, reconstruct, encode, decode, interpolate and score with latent-variable models. "
                "The same model version, seed and options give the same bytes. Choose the form of an answer "
                "with `Accept`. Options may stand in the query with any kind of body."
            ),
        },
        "servers": [{"url": "."}],
        "tags": [{"name": "Operations"}, {"name": "Models"}, {"name": "Infrastructure"}],
        "paths": {
            **{path: {"post": _post(path, call, named)} for path, call in _CALLS.items()},
            **_get_paths(),
        },
        "components": {
            "schemas": named,
            "responses": {_error_name(s): _error(s) for s in (*_BAD_INPUT, *_OUR_TROUBLE)},
            "headers": {
                "RequestId": {
                    "schema": _TEXT,
                    "description": "The request's own X-Request-Id, if it is 1 to 64 of A-Z a-z 0-9 . _ -",
                },
                "Model": {"schema": _TEXT, "description": "name/version of the model that answered"},
                "Seeds": {
                    "schema": _TEXT,
                    "description": "Seeds in order, runs as 7-70, commas between; left out above 4 KiB",
                },
            },
            "parameters": {
                "RequestId": {
                    "name": "X-Request-Id",
                    "in": "header",
                    "schema": _TEXT,
                    "description": "Given back in the answer and written to the log",
                }
            },
        },
    }


def _schemas(settings: Settings) -> Json:
    models: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
    for call in _CALLS.values():
        models |= {(call.request, "validation"): None, (call.answer, "serialization"): None}
    models |= {(schemas.ModelsAnswer, "serialization"): None, (schemas.Problem, "serialization"): None}
    _, top = models_json_schema(list(models), ref_template=_REF)
    named: Json = top["$defs"]
    for name, schema in named.items():
        if name.endswith("Request"):
            properties = schema["properties"]
            for field, keyword, limit in (
                ("n", "maximum", settings.max_images),
                ("seeds", "maxItems", settings.max_images),
                ("images", "maxItems", settings.max_images),
                ("latents", "maxItems", settings.max_latents),
            ):
                if field in properties:
                    properties[field].get("anyOf", [properties[field]])[0][keyword] = limit
    return named


def _post(path: str, call: _Call, named: Json) -> Json:
    headers = {"X-Request-Id": _header("RequestId"), "X-Latentry-Model": _header("Model")}
    if call.seeds:
        headers["X-Latentry-Seeds"] = _header("Seeds")
    return {
        "tags": ["Operations"],
        "operationId": path[1:],
        "summary": call.summary,
        "parameters": [
            {"$ref": "#/components/parameters/RequestId"},
            *_query_parameters(call.request, named[call.request.__name__]),
        ],
        "requestBody": {"content": _request_content(call.request, named[call.request.__name__])},
        "responses": {
            "200": {
                "description": "Done",
                "headers": headers,
                "content": {t: {"schema": _answer_schema(t, call.answer)} for t in call.media_types},
            },
            **_errors(*_BAD_INPUT, *_OUR_TROUBLE),
        },
    }


def _query_parameters(request: type[Options], schema: Json) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "description": f"{field.get('description', '')} (here or in the body)",
            "schema": field,
            "style": "form",
            "explode": False,
        }
        for name, field in schema["properties"].items()
        if name != request.payload
    ]


def _request_content(request: type[Options], schema: Json) -> Json:
    options = {k: v for k, v in schema["properties"].items() if k != request.payload}
    form = {"images": {"type": "array", "items": _BINARY, "minItems": 1}, **options}
    by_type: Json = {
        JSON: {"$ref": _REF.format(model=request.__name__)},
        MULTIPART: {"type": "object", "properties": form, "additionalProperties": False},
        NPY: {**_BINARY, "description": _NPY_CONTENT.get(request.payload or "", "")},
        **{t: {**_BINARY, "description": "One image of the model's size"} for t in IMAGE_TYPES},
    }
    return {media_type: {"schema": by_type[media_type]} for media_type in request.accepts}


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
    }
    schema: Json = by_type[media_type]
    return schema


def _get_paths() -> Json:
    models = {"schema": {"$ref": _REF.format(model="ModelsAnswer")}}
    name = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
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


_PLAIN: Json = {"text/plain": {"schema": _TEXT}}


def _get(tag: str, operation_id: str, summary: str, content: Json, *errors: int) -> Json:
    return {
        "tags": [tag],
        "operationId": operation_id,
        "summary": summary,
        "responses": {
            "200": {
                "description": "OK",
                "headers": {"X-Request-Id": _header("RequestId")},
                "content": content,
            },
            **_errors(*errors),
        },
    }


def _errors(*statuses: int) -> Json:
    return {str(s): {"$ref": f"#/components/responses/{_error_name(s)}"} for s in statuses}


def _error_name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "").replace("-", "")


def _error(status: int) -> Json:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": {"X-Request-Id": _header("RequestId")},
        "content": {PROBLEM: {"schema": {"$ref": _REF.format(model="Problem")}}},
    }


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}
