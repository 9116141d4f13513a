"""The part of `/docs.json` that describes the Open Inference Protocol v2."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel

from service.schemas import JSON
from service.v2 import endpoints as v2
from service.v2 import schemas as v2_schemas
from service.v2.tensors import JSON_LENGTH_HEADER

Json = dict[str, Any]

TAG = "Open Inference Protocol v2"
SCHEMAS: tuple[tuple[type[BaseModel], Literal["validation", "serialization"]], ...] = (
    (v2_schemas.InferRequest, "validation"),
    (v2_schemas.InferAnswer, "serialization"),
    (v2_schemas.ServerMetadata, "serialization"),
    (v2_schemas.Live, "serialization"),
    (v2_schemas.Ready, "serialization"),
    (v2_schemas.ModelReady, "serialization"),
    (v2_schemas.ModelMetadata, "serialization"),
    (v2_schemas.ModelConfig, "serialization"),
    (v2_schemas.IndexEntry, "serialization"),
    (v2_schemas.ErrorAnswer, "serialization"),
)
EXAMPLE_MODEL = "mnist-vae.generate"
EXAMPLE = {"inputs": [{"name": "z", "shape": [1, 16], "datatype": "FP32", "data": [0.0] * 16}]}

_MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "A model's name, a dot and the name of one of its graphs",
    "example": EXAMPLE_MODEL,
}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}, "example": "2"}
_JSON_LENGTH: Json = {
    "description": "Bytes of the JSON, where binary tensors follow it",
    "schema": {"type": "integer"},
}
_BINARY: Json = {
    "schema": {
        "type": "string",
        "format": "binary",
        "description": "The JSON, and after it the binary tensors in its order: little-endian, row-major",
    }
}


def paths(ref_template: str) -> Json:
    """All paths under /v2. `ref_template`: where the schemas are, `{model}` for the name."""

    def schema(model: type[BaseModel]) -> Json:
        return {"$ref": ref_template.format(model=model.__name__)}

    def operation(name: str, summary: str, answer: Json, *errors: int, **more: Any) -> Json:
        failed = {JSON: {"schema": schema(v2_schemas.ErrorAnswer)}}
        return {
            "tags": [TAG],
            "operationId": f"v2{name}",
            "summary": summary,
            **more,
            "responses": {
                "200": {"description": "OK", "content": {JSON: {"schema": answer}}},
                **{str(e): {"description": HTTPStatus(e).phrase, "content": failed} for e in errors},
            },
        }

    def infer(name: str, parameters: list[Json]) -> Json:
        length = {"name": JSON_LENGTH_HEADER, "in": "header"} | _JSON_LENGTH
        shared = [{"$ref": f"#/components/parameters/{name}"} for name in ("Key", "Timeout")]
        described = operation(
            name,
            "Run a graph",
            schema(v2_schemas.InferAnswer),
            *(400, 404, 413, 415, 429, 431, 500, 503, 504),
            parameters=[*parameters, length, *shared],
            requestBody={
                "content": {
                    JSON: {"schema": schema(v2_schemas.InferRequest), "example": EXAMPLE},
                    v2.BINARY: _BINARY,
                }
            },
        )
        done = described["responses"]["200"]
        done["content"][v2.BINARY] = _BINARY
        done["headers"] = {JSON_LENGTH_HEADER: _JSON_LENGTH}
        return described

    index = {"type": "array", "items": schema(v2_schemas.IndexEntry)}
    described: dict[str, Mapping[str, Json]] = {
        "/v2": {"get": operation("Server", "The server", schema(v2_schemas.ServerMetadata))},
        "/v2/health/live": {"get": operation("Live", "The process runs", schema(v2_schemas.Live))},
        "/v2/health/ready": {"get": operation("Ready", "Models are loaded", schema(v2_schemas.Ready), 503)},
        v2.INDEX: {"post": operation("Index", "What is served", index, 503)},
    }
    for base, suffix, parameters in (
        (v2.MODEL, "", [_MODEL]),
        (v2.MODEL_VERSION, "OfVersion", [_MODEL, _VERSION]),
    ):
        for path, name, summary, answer in (
            ("", "Model", "Tensors and versions of a graph", v2_schemas.ModelMetadata),
            ("/ready", "ModelReady", "Whether a graph is served", v2_schemas.ModelReady),
            (
                "/config",
                "ModelConfig",
                "Tensors and largest batch, as Triton writes them",
                v2_schemas.ModelConfig,
            ),
        ):
            described[base + path] = {
                "get": operation(f"{name}{suffix}", summary, schema(answer), 404, 503, parameters=parameters)
            }
        described[f"{base}/infer"] = {"post": infer(f"Infer{suffix}", parameters)}
    return dict(described)
