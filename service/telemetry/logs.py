"""JSON log lines, to stderr, that tell which request they belong to."""

import json
import logging
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from queue import SimpleQueue
from typing import Protocol

import pydantic_core


class Request(Protocol):
    """Whose a log line is."""

    request_id: str
    model: str
    operation: str


MOST_UNREAD = 10_000
FLUSH_WITHIN_S = 2.0

_starting = threading.Lock()
_texts: SimpleQueue[str | threading.Event] = SimpleQueue()
request_of_context: ContextVar[Request | None] = ContextVar("latentry_request", default=None)


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
        request = request_of_context.get()
        line = _line(record.levelno, record.name, record.getMessage(), record.created, request)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ascii(json.dumps(line, default=str))


def of_request(level: int, logger: str, time_s: float, seconds: float, status: int, request: Request) -> str:
    """The line of a request that was answered.

    Not by way of a LogRecord and the standard library's JSON, which take ten times as long.
    """
    line = _line(level, logger, f"{request.operation} {status}", time_s, request)
    line |= {"status": status, "ms": round(seconds * 1000, 3)}
    text = pydantic_core.to_json(line).decode()
    return _ascii(text if text.isascii() else json.dumps(line))


def _ascii(line: str) -> str:
    """The same JSON without the one control character that is left: a terminal might do what a caller wrote."""
    return line.replace("\x7f", "\\u007f")


def write(lines: Iterable[str]) -> None:
    """All at once: to write each costs as much as to make it. In a thread: who reads them may be slow, or stand still.

    Lines beyond MOST_UNREAD calls are dropped.
    """
    if (text := "\n".join(lines)) and _texts.qsize() < MOST_UNREAD:
        with _starting:  # not sooner: a thread does not outlive a fork
            _writer()
        _texts.put(text + "\n")


def flush() -> None:
    """Wait until what was written is out, FLUSH_WITHIN_S at the most."""
    if _writer.cache_info().currsize:
        done = threading.Event()
        _texts.put(done)
        done.wait(FLUSH_WITHIN_S)


@cache
def _writer() -> threading.Thread:
    thread = threading.Thread(target=_write_for_ever, name="logs", daemon=True)
    thread.start()
    return thread


def _write_for_ever() -> None:
    while True:
        text = _texts.get()
        if isinstance(text, threading.Event):
            text.set()
            continue
        with suppress(OSError, ValueError):  # nobody reads any more; closed
            sys.stderr.write(text)
            sys.stderr.flush()


def _line(level: int, logger: str, message: str, time_s: float, request: Request | None) -> dict[str, object]:
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(level).lower(),
        "logger": logger,
        "message": message,
    }
    if request is not None:
        line |= {"request_id": request.request_id, "model": request.model, "operation": request.operation}
    return line
