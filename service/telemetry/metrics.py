"""Metrics by model and operation, counted over all workers.

What starts the workers (service/launch, or `bentoml serve`) makes a folder and names it in `PROMETHEUS_MULTIPROC_DIR`;
`prometheus_client`, which looks at that variable once, when it is imported, then keeps every value in files there.
Without the variable (tests, one process) the same code counts in memory.
"""

import os
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from service.processes import is_alive
from service.registry import Model

_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
# Ours alone: BentoML keeps its own metrics in prometheus_client's global registry.
_metrics = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_by_model = ("operation", "model")

_requests = Counter("latentry_requests", "Requests answered", (*_by_model, "status"), registry=_metrics)
_request_seconds = Histogram(
    "latentry_request_seconds",
    "Seconds from the request to its answer",
    _by_model,
    buckets=_SECONDS,
    registry=_metrics,
)
_inference_seconds = Histogram(
    "latentry_inference_seconds",
    "Seconds of a request spent in the model",
    _by_model,
    buckets=_SECONDS,
    registry=_metrics,
)
_wait_seconds = Histogram(
    "latentry_wait_seconds",
    "Seconds from a request's arrival to its first run of a graph",
    _by_model,
    buckets=_SECONDS,
    registry=_metrics,
)
_queue = Gauge(
    "latentry_queue_images", "Images that wait for their turn", multiprocess_mode="livesum", registry=_metrics
)
_images = Counter("latentry_images", "Images sent or received", _by_model, registry=_metrics)
_computed_images = Counter(
    "latentry_computed_images",
    "Images put through a graph (or a chain of graphs), each time that one was",
    _by_model,
    registry=_metrics,
)
_wasted_images = Counter(
    "latentry_wasted_images",
    "Of the computed images: those for which nobody waited any more, as the client had left or the deadline had passed",
    _by_model,
    registry=_metrics,
)
_in_flight = Gauge(
    "latentry_in_flight", "Requests being answered now", multiprocess_mode="livesum", registry=_metrics
)
_model_info = Gauge(
    "latentry_model_info",
    "1 for each model version that is served",
    ("model", "version", "digest"),
    multiprocess_mode="livemax",
    registry=_metrics,
)
_models_refused = Gauge(
    "latentry_models_refused",
    "Bundles (and weights between versions) that are not in use; /models says why",
    multiprocess_mode="livemax",
    registry=_metrics,
)
_model_changes = Counter(
    "latentry_model_changes", "Versions that came and went while it ran", ("change",), registry=_metrics
)
_ready = Gauge("latentry_ready", "1 if every worker is ready", multiprocess_mode="livemin", registry=_metrics)


class _Series(NamedTuple):
    requests: Counter
    seconds: Histogram
    inference_seconds: Histogram
    wait_seconds: Histogram
    images: Counter
    computed_images: Counter
    wasted_images: Counter


@cache
def _series(operation: str, model: str, status: int) -> _Series:
    """What a request adds to. Looking up labels takes as long as adding; there are few of them."""
    return _Series(
        _requests.labels(operation, model, str(status)),
        _request_seconds.labels(operation, model),
        _inference_seconds.labels(operation, model),
        _wait_seconds.labels(operation, model),
        _images.labels(operation, model),
        _computed_images.labels(operation, model),
        _wasted_images.labels(operation, model),
    )


# Names that may be labels. One that a caller could choose freely would grow the metrics without limit.
_served: set[str] = set()
_infos: set[tuple[str, str, str]] = set()


class Answered(NamedTuple):
    """A request that was. `model`: any name; see `_label`. Where nothing was computed, `inference_s` is 0."""

    operation: str
    model: str
    status: int
    seconds: float
    wait_s: float
    inference_s: float
    images: int
    computed_images: int
    wasted_images: int


def count(requests: Iterable[Answered]) -> None:
    """Add requests. Those of a series are added up first: 4 us each, of 40 at a time; 24 us one by one."""
    by_series: defaultdict[tuple[str, str, int], list[Answered]] = defaultdict(list)
    for request in requests:
        by_series[request.operation, _label(request.model), request.status].append(request)
    for labels, group in by_series.items():
        series = _series(*labels)
        series.requests.inc(len(group))
        _observe(series.seconds, [request.seconds for request in group])
        if computed := [request for request in group if request.inference_s]:
            _observe(series.inference_seconds, [request.inference_s for request in computed])
            _observe(series.wait_seconds, [request.wait_s for request in computed])
        for counter, images in (
            (series.images, sum(request.images for request in group)),
            (series.computed_images, sum(request.computed_images for request in group)),
            (series.wasted_images, sum(request.wasted_images for request in group)),
        ):
            if images:
                counter.inc(images)


def _observe(histogram: Histogram, values: Sequence[float]) -> None:
    """What `histogram.observe` of each does; the library has no call for several."""
    histogram._sum.inc(sum(values))
    buckets = Counts(bisect_left(histogram._upper_bounds, value) for value in values)
    for i, n in buckets.items():
        histogram._buckets[i].inc(n)


def show_in_flight(requests: int) -> None:
    _in_flight.set(requests)


def show_queue(images: int) -> None:
    _queue.set(images)


def serving(models: Iterable[Model], refused: int = 0, *, ready: bool = True) -> None:
    """Tell the metrics what is served: the only model names that will be labels. None: not ready."""
    listed = {(model.name, str(model.version), model.digest) for model in models}
    for labels in _infos - listed:
        _model_info.labels(*labels).set(0)
    for labels in listed:
        _served.add(labels[0])
        _model_info.labels(*labels).set(1)
    _infos.update(listed)
    _models_refused.set(refused)
    _ready.set(1 if listed and ready else 0)


def changed(loaded: int, dropped: int) -> None:
    """Count versions that came and went."""
    _model_changes.labels("loaded").inc(loaded)
    _model_changes.labels("dropped").inc(dropped)


def render() -> tuple[bytes, str]:
    """All workers' metrics in Prometheus's text format, and its content type."""
    if _FOLDER is None:
        return generate_latest(_metrics), CONTENT_TYPE_LATEST
    _forget_dead_workers(Path(_FOLDER))
    everyone = CollectorRegistry()
    MultiProcessCollector(everyone, path=_FOLDER)  # type: ignore[no-untyped-call]
    return generate_latest(everyone), CONTENT_TYPE_LATEST


def _label(model: str) -> str:
    """The model, if it is served; "" where none was named, and "unknown" for any other name."""
    return model if model == "" or model in _served else "unknown"


def _forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that died: what was in flight there is not any more.

    Their counters stay, as they must. BentoML does this only for a worker that ends in good order.
    """
    for file in folder.glob("gauge_live*.db"):
        if not is_alive(int(file.stem.rpartition("_")[2])):
            file.unlink(missing_ok=True)
