"""Metrics by model and operation, and JSON log lines that carry the request they belong to.

Metrics are counted over all workers. What starts them (service/launch, or `bentoml serve`) makes a folder and
names it in `PROMETHEUS_MULTIPROC_DIR`; `prometheus_client`, which looks at that variable once, when it is imported,
then keeps every value in files there. Without the variable (tests, one process) the same code counts in memory.
"""

import atexit
import itertools
import json
import logging
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TextIO

import pydantic_core
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from service.registry import Model

_log = logging.getLogger(__name__)


class Lines:
    """Writes lines to a stream, those of FLUSH_S at a time: to write each costs as much as to make it."""

    FLUSH_S = 0.05

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        atexit.register(self.flush)

    def write(self, line: str) -> None:
        self._lines.append(line)
        if not self._some.is_set():
            self._some.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._flush_for_ever, name="log-lines", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        self._some.clear()
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()

    def _flush_for_ever(self) -> None:
        while self._some.wait():
            time.sleep(self.FLUSH_S)
            self.flush()


_lines = Lines(sys.stderr)
_new_ids = itertools.count()

_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
RECORD = "latentry.record"
"""Where the ASGI scope of a request keeps its Record."""

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
_images = Counter("latentry_images", "Images sent or received", _by_model, registry=_metrics)
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
_ready = Gauge("latentry_ready", "1 if every worker is ready", multiprocess_mode="livemin", registry=_metrics)


class _Series(NamedTuple):
    requests: Counter
    seconds: Histogram
    inference_seconds: Histogram
    images: Counter


@cache
def _series(operation: str, model: str, status: int) -> _Series:
    """What a request adds to. Looking up labels takes as long as adding; there are few of them."""
    return _Series(
        _requests.labels(operation, model, str(status)),
        _request_seconds.labels(operation, model),
        _inference_seconds.labels(operation, model),
        _images.labels(operation, model),
    )


# Names that may be labels. One that a caller could choose freely would grow the metrics without limit.
_served: set[str] = set()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_current: ContextVar["Record | None"] = ContextVar("latentry_record", default=None)


class Record:
    """One request, from its first line to its answer: counts it, times it and logs it.

        with telemetry.Record("sample", request_id) as record:
            record.model, record.images, record.status = "mnist-vae", 64, 200

    Fill in what is known when it is known. A request that raises is counted with the status that it had then:
    500, unless set. Log lines written inside, in threads too, carry its request id, operation and model.
    """

    def __init__(self, operation: str, request_id: str) -> None:
        self.operation = operation
        self.request_id = request_id
        self.model = ""
        self.images = 0
        self.inference_s = 0.0
        self.status = 500
        self._token: Token[Record | None] | None = None
        self._start_s = 0.0

    def __enter__(self) -> Self:
        _in_flight.inc()
        self._token = _current.set(self)
        self._start_s = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._start_s
        series = _series(self.operation, self.model_label, self.status)
        _in_flight.dec()
        series.requests.inc()
        series.seconds.observe(seconds)
        if self.inference_s:
            series.inference_seconds.observe(self.inference_s)
        if self.images:
            series.images.inc(self.images)
        level = logging.ERROR if self.status >= 500 else logging.INFO
        if _log.isEnabledFor(level):
            # Not by way of a LogRecord and the standard library's JSON, which take ten times as long.
            line = _line(level, _log.name, f"{self.operation} {self.status}", time.time())
            line |= {"status": self.status, "ms": round(seconds * 1000, 3)}
            _lines.write(pydantic_core.to_json(line).decode())
        if self._token is not None:
            _current.reset(self._token)

    @property
    def model_label(self) -> str:
        """The model, if it is served; "" where none was named, and "unknown" for any other name."""
        return self.model if self.model == "" or self.model in _served else "unknown"


def serving(models: Iterable[Model]) -> None:
    """Tell the metrics what is served: the only model names that will be labels. None: not ready."""
    listed = list(models)
    for model in listed:
        _served.add(model.name)
        _model_info.labels(model.name, str(model.version), model.digest).set(1)
    _ready.set(1 if listed else 0)


def render() -> tuple[bytes, str]:
    """All workers' metrics in Prometheus's text format, and its content type."""
    if _FOLDER is None:
        return generate_latest(_metrics), CONTENT_TYPE_LATEST
    _forget_dead_workers(Path(_FOLDER))
    everyone = CollectorRegistry()
    MultiProcessCollector(everyone, path=_FOLDER)  # type: ignore[no-untyped-call]
    return generate_latest(everyone), CONTENT_TYPE_LATEST


def settle() -> None:
    """Log what has ended until now, without waiting for the time."""
    _lines.flush()


def current() -> "Record | None":
    """The record of the request in whose context this is called."""
    return _current.get()


def request_id(header: str | None) -> str:
    """The caller's own id (`X-Request-ID`) where it is fit for a log line, else a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header
    return f"{_id_prefix(os.getpid())}{next(_new_ids):08x}"


@cache
def _id_prefix(_pid: int) -> str:
    """Each process has its own: those that are forked from one count from the same number on."""
    return secrets.token_hex(4)


def configure_logging(level: str) -> None:
    """Log what `service` says, as JSON lines, to stderr. Other loggers are left as they are."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("service")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    # Our lines tell of every request. With a handler above it, uvicorn would make one too, and BentoML drop it.
    logging.getLogger("uvicorn.access").propagate = False


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message; in a `Record` also whose request it was."""

    def format(self, record: logging.LogRecord) -> str:
        line = _line(record.levelno, record.name, record.getMessage(), record.created)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _line(level: int, logger: str, message: str, time_s: float) -> dict[str, object]:
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(level).lower(),
        "logger": logger,
        "message": message,
    }
    if (request := current()) is not None:
        line |= {"request_id": request.request_id, "model": request.model, "operation": request.operation}
    return line


def _forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that died: what was in flight there is not any more.

    Their counters stay, as they must. BentoML does this only for a worker that ends in good order.
    """
    for file in folder.glob("gauge_live*.db"):
        if not _is_alive(int(file.stem.rpartition("_")[2])):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
