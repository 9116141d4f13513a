"""The BentoML service: what `python -m service` runs, and `bentoml serve service.app:Latentry`.

One short method an endpoint.
"""

import gc
from functools import partial
from typing import Any, cast

import bentoml
from starlette.types import ASGIApp

from service import inputs, offers, operations, rejection, telemetry, views
from service.errors import BadRequest
from service.http import answers, pages, routing
from service.http.access import Access
from service.http.balance import Rebalance
from service.http.calls import Call
from service.http.direct import Direct
from service.http.dispatch import Dispatch, Handler
from service.http.endpoint import endpoint, handlers
from service.http.front import Front
from service.http.gateway import Gateway
from service.job import Work
from service.keys import process_keys
from service.loader import process_models
from service.registry import Model
from service.schemas import (
    DecodeRequest,
    EncodeRequest,
    ImagesAnswer,
    InterpolateRequest,
    LatentsAnswer,
    ReconstructRequest,
    SampleRequest,
    ScoreRequest,
    ScoresAnswer,
)
from service.settings import load_settings
from service.steps import Steps
from service.tensors import Images
from service.v2 import endpoints as v2
from service.watcher import Watcher
from service.wire import wire

settings = load_settings()
models = process_models()
watcher = Watcher(models, settings)
_handlers: dict[str, Handler] = {}  # of this worker's instance of the service, once there is one


@bentoml.asgi_app(pages.app(models, settings, watcher))
@bentoml.service(
    workers=settings.workers,
    # Only a net below the Gateway's own deadline, which answers in problem+json.
    traffic={"timeout": settings.request_timeout_s + 5},
    # service/telemetry.py does these, at a tenth of the cost.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Latentry:
    """Sample, reconstruct, encode, decode, interpolate and score with latent-variable image models."""

    def __init__(self) -> None:
        telemetry.configure_logging(settings.log_level)
        models.start()
        watcher.start()
        _handlers.update(handlers(self))
        # What is imported by now stays. The default thresholds would have it walked over and over: with them a request
        # of one image took 2.3 ms of CPU, without 1.6 ms (one run each).
        gc.freeze()
        gc.set_threshold(50_000)

    async def __is_ready__(self) -> bool:  # else BentoML asks in a thread, for which the loop would wait
        models.check_ready()
        return True

    @endpoint(SampleRequest, ImagesAnswer, answers.IMAGE_TYPES)
    def sample(self, call: Call[SampleRequest]) -> Work:
        """Draw new images."""
        model = _model(call)
        if (z := inputs.latents(model, call.options, settings)) is not None:
            labels = inputs.labels(call.options.label, len(z))
            images = yield from operations.decode(model, z, labels)
            return (yield from answers.images(call, model, images))
        if call.options.keep is not None:
            return (yield from _keep(call, model, call.options.keep))
        if call.options.discriminator is not None:
            raise BadRequest.at("discriminator", "chooses by `keep`, which is not given")
        options, streamed = call.options, call.media_type in answers.STREAMED
        seeds = inputs.seeds(options, settings.max_streamed_images if streamed else settings.max_images)
        labels = inputs.labels(options.label, len(seeds))
        if streamed and len(seeds) > answers.STREAMED_IMAGES:
            labels = operations.seed_labels(model, seeds, labels)

            def draw(rows: slice) -> Steps[Images]:
                chosen = None if labels is None else labels[rows]
                drawn = yield from operations.sample(
                    model, seeds[rows], options.truncation, chosen, options.prior
                )
                return drawn.images

            return (yield from answers.stream(call, model, seeds, labels, draw))
        drawn = yield from operations.sample(model, seeds, options.truncation, labels, options.prior)
        items = answers.seed_items(seeds, drawn.labels)
        return (
            yield from answers.images(
                call, model, drawn.images, items=items, seeds=seeds, labels=drawn.labels
            )
        )

    @endpoint(ReconstructRequest, ImagesAnswer, answers.IMAGE_TYPES)
    def reconstruct(self, call: Call[ReconstructRequest]) -> Work:
        """Encode images and decode them again; how far they come back from where they were."""
        model = _model(call)
        images = yield from inputs.images(call.options.images, model, settings)
        labels = inputs.labels(call.options.label, len(images))
        samples = call.options.samples if call.media_type in answers.WITH_DATA else 0
        result = yield from operations.reconstruct(model, images, samples, labels)
        shown = views.view(images, result.images, call.options.view)
        return (yield from answers.images(call, model, shown, items=answers.reconstruction_items(result)))

    @endpoint(EncodeRequest, LatentsAnswer, answers.LATENT_TYPES)
    def encode(self, call: Call[EncodeRequest]) -> Work:
        """The latent codes of images."""
        model = _model(call)
        images = yield from inputs.images(call.options.images, model, settings)
        encoding = yield from operations.encode(model, images)
        return answers.latents(call, model, encoding)

    @endpoint(DecodeRequest, ImagesAnswer, answers.IMAGE_TYPES)
    def decode(self, call: Call[DecodeRequest]) -> Work:
        """The images of latent codes."""
        model = _model(call)
        latents = call.options.latents.decode(offers.latent_dim(model), settings)
        labels = inputs.labels(call.options.label, len(latents))
        images = yield from operations.decode(model, latents, labels)
        return (yield from answers.images(call, model, images))

    @endpoint(InterpolateRequest, ImagesAnswer, answers.FRAME_TYPES)
    def interpolate(self, call: Call[InterpolateRequest]) -> Work:
        """The frames of a path through seeds, latents or images."""
        model = _model(call)
        options = call.options
        labels = inputs.labels(options.label, options.steps)
        keys, seeds = yield from inputs.keys(model, options, settings)
        frames = yield from operations.interpolate(
            model, keys, options.steps, options.path, labels, closed=options.closed, easing=options.easing
        )
        return (yield from answers.frames(call, model, frames, options.fps, seeds=seeds))

    @endpoint(ScoreRequest, ScoresAnswer, answers.SCORE_TYPES)
    def score(self, call: Call[ScoreRequest]) -> Work:
        """How much images look like the model's training data."""
        model = _model(call)
        images = yield from inputs.images(call.options.images, model, settings)
        labels = inputs.labels(call.options.label, len(images))
        k = inputs.importance_samples(call.options.k, len(images), settings.max_importance_samples)
        score = yield from operations.score(model, images, labels, k)
        return answers.scores(call, model, score, k)


def _keep(call: Call[SampleRequest], model: Model, keep: float) -> Work:
    options = call.options
    seeds = inputs.proposals(options, settings)
    label = inputs.one_label(options.label)
    discriminator = model
    if options.discriminator is not None:
        name, version = inputs.name_and_version("discriminator", options.discriminator)
        discriminator = models.registry().route(name, version, partial(routing.key, call))
    kept = yield from rejection.sample(
        model, discriminator, seeds, options.n or 1, keep, options.truncation, label, options.prior
    )
    return (yield from answers.kept(call, model, discriminator, kept))


def _model(call: Call[Any]) -> Model:
    return models.registry().route(call.options.model, call.options.version, partial(routing.key, call))


def _wrap(app: ASGIApp) -> ASGIApp:
    resolve = partial(v2.inference, models, settings)
    dispatch = Dispatch(app, _handlers, settings, models.wait, resolve)
    rebalance = Rebalance(dispatch, lambda: dispatch.waiting)
    if (keys := process_keys()) is not None:  # whoever has none hears no more than that
        access = Access(rebalance, keys)
        gateway = Gateway(access, settings)
        checks = [access.check]
    else:
        gateway = Gateway(rebalance, settings)
        checks = []
        # A server that stops has more to say to a client.
        wire.turn_away = lambda asked: (
            None if models.is_stopping else gateway.turn_away(dispatch.refusal, asked)
        )

    def lost(who: object) -> None:
        dispatch.lost(who)
        rebalance.lost(who)

    wire.on_lost = lost
    wire.take = Direct(
        gateway, rebalance, dispatch, checks, lambda: models.is_loaded, lambda: models.is_stopping
    ).take
    return gateway


# mypy takes a decorated class for the class that it was.
cast(Any, Latentry).add_asgi_middleware(Front, wrap=_wrap)
