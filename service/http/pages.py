"""The GET side of the API, an ASGI app: BentoML's own endpoints are POST and have no path parameters."""

import json
from functools import cache
from pathlib import Path
from typing import cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from service import offers, telemetry
from service.errors import ServiceError, to_response
from service.http import admin, openapi
from service.loader import Models
from service.registry import Model, Registry
from service.schemas import JSON, ModelInfo, ModelsAnswer
from service.settings import Settings
from service.v2 import endpoints as v2
from service.watcher import Watcher

# Shows `/docs.json` with the copy of Swagger UI that BentoML brings.
_PAGE = Path(__file__).with_name("docs.html")
# The browser, too, asks no other host for anything.
_OWN_CONTENT_ONLY = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline' data: blob:"}


def app(models: Models, settings: Settings, watcher: Watcher) -> Starlette:
    """`/`, `/docs.json`, `/models`, `/models/{name}`, `/metrics`, and those of `admin` and `v2`."""

    # Plain functions: starlette runs them in threads, where waiting for the models holds up nothing.
    def list_models(_: Request) -> Response:
        registry = models.registry()
        return _describe(registry, registry.models(), dict(registry.refused))

    def show_model(request: Request) -> Response:
        registry = models.registry()
        name = registry.get(request.path_params["name"]).name
        refused = {key: why for key, why in registry.refused.items() if key.startswith(f"{name}/")}
        return _describe(registry, [m for m in registry.models() if m.name == name], refused)

    def metrics(_: Request) -> Response:
        content, media_type = telemetry.render()
        return Response(content, media_type=media_type)

    page = _PAGE.read_text("utf-8")

    def show_page(_: Request) -> Response:
        return HTMLResponse(page, headers=_OWN_CONTENT_ONLY)

    @cache
    def document() -> bytes:
        return json.dumps(openapi.document(settings)).encode()

    def show_document(_: Request) -> Response:
        return Response(document(), media_type=JSON)

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/docs.json", show_document),
            Route("/models", list_models),
            Route("/models/{name}", show_model),
            Route("/metrics", metrics),
            *admin.routes(watcher, settings),
            *v2.routes(models, settings),
        ],
        exception_handlers={ServiceError: _problem},
    )


def _problem(request: Request, error: Exception) -> Response:
    return to_response(cast(ServiceError, error), request.url.path)


def _describe(registry: Registry, models: list[Model], refused: dict[str, str]) -> Response:
    answer = ModelsAnswer(models=[_info(model, registry) for model in models], refused=refused)
    return Response(answer.model_dump_json(), media_type=JSON)


def _info(model: Model, registry: Registry) -> ModelInfo:
    manifest = model.manifest
    tensors = {
        name: {
            "inputs": [tensor.model_dump() for tensor in operation.inputs],
            "outputs": [tensor.model_dump() for tensor in operation.outputs],
        }
        for name, operation in manifest.operations.items()
    }
    return ModelInfo(
        name=model.name,
        version=model.version,
        latest=registry.get(model.name) is model,
        traffic=registry.share(model),
        family=manifest.family,
        description=manifest.description,
        operations=list(offers.offered(model)),
        image=manifest.image.model_dump(),
        latent=None if manifest.latent is None else manifest.latent.model_dump(),
        class_names=None if manifest.class_names is None else list(manifest.class_names),
        graphs=tensors,
        sha256=model.digest,
        dataset=manifest.dataset.model_dump(),
        metrics=manifest.metrics,
    )
