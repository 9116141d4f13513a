"""The part of `/docs.json` that describes keys, on a server that asks for them."""

from http import HTTPStatus
from typing import Any

from service.errors import is_v2
from service.http.access import KEY_HEADER, OPEN, needs_admin
from service.schemas import JSON

Json = dict[str, Any]


def add_keys(document: Json) -> None:
    """Say how a key is sent, and which answers those get who have none that will do."""
    document["components"]["securitySchemes"] = {
        "Bearer": {"type": "http", "scheme": "bearer"},
        "ApiKey": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    }
    document["security"] = [{"Bearer": []}, {"ApiKey": []}]
    for path, methods in document["paths"].items():
        for operation in (methods[name] for name in ("get", "post") if name in methods):
            if path in OPEN:
                operation["security"] = []
                continue
            for status in (401, 403) if needs_admin(path) else (401,):
                operation["responses"][str(status)] = _refusal(path, HTTPStatus(status).phrase)


def _refusal(path: str, phrase: str) -> Json:
    if is_v2(path):
        schema = {"$ref": "#/components/schemas/ErrorAnswer"}
        return {"description": phrase, "content": {JSON: {"schema": schema}}}
    return {"$ref": f"#/components/responses/{phrase}"}
