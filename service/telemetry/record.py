"""One request, from its first line to its answer: timed, counted and logged.

Counting and logging wait for AT_ONCE requests or FLUSH_S, and are done for all of them at once, between two turns of
the event loop: done for each request amid others' work, they took a tenth of its time. In a thread they were in the
way, as one that has the interpreter's lock may itself have to wait for a core: at 70 % of capacity the p99 was 3.8
times the p50, and is 3.0 times (means of eight runs each, in turns).
"""

import asyncio
import atexit
import itertools
import logging
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, Token, copy_context
from functools import cache
from types import TracebackType
from typing import NamedTuple, Self

from service.telemetry import logs, metrics

AT_ONCE = 32
FLUSH_S = 0.05
RECORD = "latentry.record"
"""Where the ASGI scope of a request keeps its Record."""

_log = logging.getLogger("service.telemetry")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_new_ids = itertools.count()


class Record:
    """A request that is being answered.

        with telemetry.Record("sample", request_id) as record:
            record.model, record.images, record.status = "mnist-vae", 64, 200

    Fill in what is known when it is known. A request that raises is counted with the status that it had then:
    500, unless set. Log lines written inside, in threads too, carry its request id, operation and model.
    """

    model = ""
    images = computed_images = wasted_images = 0
    wait_s = inference_s = 0.0
    status = 500
    _token: Token[logs.Request | None] | None = None
    _start_s = 0.0

    def __init__(self, operation: str, request_id: str) -> None:
        self.operation = operation
        self.request_id = request_id

    def begin(self) -> Self:
        """Time runs from now."""
        _ledger.begin()
        self._start_s = time.perf_counter()
        return self

    def end(self) -> None:
        """It is answered."""
        _ledger.end(_Ended(self, time.perf_counter() - self._start_s, time.time()))

    def context(self) -> Context:
        """A copy of the current context, in which log lines carry whose they are."""
        context = copy_context()
        context.run(logs.request_of_context.set, self)
        return context

    def __enter__(self) -> Self:
        self._token = logs.request_of_context.set(self)
        return self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()
        if self._token is not None:
            logs.request_of_context.reset(self._token)


class _Ended(NamedTuple):
    record: Record
    seconds: float
    time_s: float


class _Ledger:
    """The requests of this process: how many are being answered, and those that ended and are not counted yet."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.queue: Callable[[], int] = lambda: 0
        self._ended: deque[_Ended] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        """On which it will be settled."""

    def begin(self) -> None:
        self.in_flight += 1
        self._settle_later()

    def end(self, ended: _Ended) -> None:
        self.in_flight -= 1
        self._ended.append(ended)
        if (loop := self._settle_later()) and len(self._ended) == AT_ONCE:
            loop.call_soon(self._settle_now, context=Context())

    def settle(self) -> None:
        metrics.show_in_flight(self.in_flight)
        metrics.show_queue(self.queue())
        answered, lines = [], []
        while self._ended:
            try:
                record, seconds, time_s = self._ended.popleft()
            except IndexError:  # someone else settles too
                break
            answered.append(
                metrics.Answered(
                    record.operation,
                    record.model,
                    record.status,
                    seconds,
                    record.wait_s,
                    record.inference_s,
                    record.images,
                    record.computed_images,
                    record.wasted_images,
                )
            )
            level = logging.ERROR if record.status >= 500 else logging.INFO
            if _log.isEnabledFor(level):
                lines.append(logs.of_request(level, _log.name, time_s, seconds, record.status, record))
        metrics.count(answered)
        logs.write(lines)

    def _settle_later(self) -> asyncio.AbstractEventLoop | None:
        """The running loop; None: `settle` is left to the caller."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(FLUSH_S, self._settle_in_time, context=Context())  # of no request
        return loop

    def _settle_in_time(self) -> None:
        self._loop = None
        self._settle_now()

    def _settle_now(self) -> None:
        try:
            self.settle()
        except Exception:  # a full disk, say: the next requests are to be counted all the same
            _log.exception("requests could not be counted or logged")


_ledger = _Ledger()


def watch_queue(images: Callable[[], int]) -> None:
    """Tell the metrics how many images wait."""
    _ledger.queue = images


def in_flight() -> int:
    """Requests that are being answered."""
    return _ledger.in_flight


def settle() -> None:
    """Count and log what has ended until now, without waiting for the time."""
    _ledger.settle()
    logs.flush()


atexit.register(settle)


def render() -> tuple[bytes, str]:
    """All workers' metrics in Prometheus's text format, and its content type; others' are FLUSH_S old at most."""
    _ledger.settle()
    return metrics.render()


def request_id(header: str | None) -> str:
    """The caller's own id (`X-Request-ID`) where it is fit for a log line, else a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header
    return f"{_id_prefix(os.getpid())}{next(_new_ids):08x}"


@cache
def _id_prefix(_pid: int) -> str:
    """Each process has its own: those that are forked from one count from the same number on."""
    return secrets.token_hex(4)
