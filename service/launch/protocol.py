"""uvicorn's side of a connection, with an end to its patience: for the head of a request, and for its length.

A request that is there whole is handed over at once, without a task: see `service.wire`. A plain one is read at one
look, too: see `service.launch.whole`.
"""

import asyncio
import fcntl
import json
import sys
import termios
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp, Scope
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import MEDIA_TYPE
from service.launch import whole
from service.wire import IS_GONE, REQUEST_ID, Answer, Asked, lines, wire


class Protocol(HttpToolsProtocol):
    """See `with_patience`."""

    head_timeout_s: float
    max_head_bytes: int
    _has_spoken = _is_in_head = _is_at_body = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _is_in_message = False
    _begun: tuple[RequestResponseCycle, ASGI3Application] | None = None
    """A request whose head is there, before it is known whether its body is, too."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        wire.arrivals += 1
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        wire.on_lost(self.client)
        super().connection_lost(exc)
        # What leads back here would keep every connection until the garbage collector comes by, or the timer.
        self.cycle = self._begun = None  # type: ignore[assignment]  # as uvicorn has it before the first request
        self.pipeline.clear()
        self._unset_keepalive_if_required()

    def is_awaited(self) -> bool:
        """Whether a request is on its way: the connection has just begun, or what came of it is no whole head yet."""
        if self.transport.is_closing():
            return False
        return not self._has_spoken or self._is_in_head or _unread_bytes(self.transport) > 0

    def data_received(self, data: bytes) -> None:
        wire.arrivals += 1
        self._has_spoken = True
        if self._is_free() and (request := whole.read(data)):
            self._take_whole(request)
            return
        super().data_received(data)
        if self._begun is not None:
            (cycle, app), self._begun = self._begun, None
            self._begin(cycle, app)
        if not self._is_in_head:
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.max_head_bytes:
            self._refuse(431, f"the head of a request may have {self.max_head_bytes:,} bytes")
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def on_message_begin(self) -> None:
        self._is_in_message = self._is_in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._is_at_body = False, True
        super().on_headers_complete()
        self._is_at_body = False
        self.scope["state"][IS_GONE] = self.transport.is_closing

    def on_message_complete(self) -> None:
        self._is_in_message = False
        super().on_message_complete()

    def _is_free(self) -> bool:
        """Whether what comes now begins a request, and can be answered at once."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not (
            self._is_in_message or self.flow.write_paused or self.transport.is_closing()
        )

    def _take_whole(self, request: whole.Whole) -> None:
        """As uvicorn begins a request that its parser has read."""
        self._stop_timer()
        path = self.root_path + request.path
        state = {**self.app_state, IS_GONE: self.transport.is_closing}
        if answer := wire.turn_away(Asked("POST", path, self.client, state, request.header(REQUEST_ID))):
            self._write(answer, closes=answer.closes)
            self.on_response_complete()
            return
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "method": "POST",
            "path": path,
            "raw_path": path.encode("ascii"),
            "query_string": request.query,
            "headers": request.headers(),
            "state": state,
        }
        self._unset_keepalive_if_required()
        self.cycle = cycle = RequestResponseCycle(
            scope=cast(HTTPScope, scope),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        if not wire.take(scope, request.body, _Caller(self, cycle)):
            cycle.body = bytearray(request.body)
            self.run(cycle, cast(ASGIApp, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # With more requests behind it, or a client that does not read, the answer has to wait: as uvicorn does it.
        can_be_sent = not (self.pipeline or self.flow.write_paused or self.transport.is_closing())
        if not can_be_sent:
            super()._start_asgi_task(cycle, app)
        elif answer := wire.turn_away(_asked(cast(Scope, cycle.scope))):
            self.answer(cycle, answer)
        elif self._is_at_body and not cycle.waiting_for_100_continue:
            self._begun = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        is_whole = not (cycle.more_body or self.transport.is_closing())
        if not (is_whole and wire.take(cast(Scope, cycle.scope), bytes(cycle.body), _Caller(self, cycle))):
            super()._start_asgi_task(cycle, app)
            return
        cycle.body = bytearray()
        if not self.pipeline:  # after a long body it was paused, and whoever leaves would not be seen
            self.flow.resume_reading()

    def run(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        super()._start_asgi_task(cycle, cast(ASGI3Application, app))

    def answer(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """In one piece: uvicorn writes head and body apart."""
        if self.transport.is_closing():
            return
        cycle.keep_alive &= not answer.closes
        cycle.response_started = cycle.response_complete = True
        self._write(answer, closes=not cycle.keep_alive)
        self.on_response_complete()

    def _write(self, answer: Answer, *, closes: bool) -> None:
        head = _first_lines(answer.status, tuple(self.server_state.default_headers)) + answer.head
        end = b"connection: close\r\n\r\n" if closes else b"\r\n"
        self.transport.write(b"".join((head, end, answer.body)))
        if closes:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(408, f"the head of the request was not there after {self.head_timeout_s:g} seconds")
        else:  # not a word
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """There is no request yet that the service could answer."""
        if self.transport.is_closing():
            return
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _unread_bytes(transport: asyncio.BaseTransport) -> int:
    """What lies in the socket, for the loop to read."""
    answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def _asked(scope: Scope) -> Asked:
    own_id = dict(scope["headers"]).get(REQUEST_ID)
    return Asked(scope["method"], scope["path"], scope["client"], scope["state"], own_id)


@lru_cache(maxsize=64)
def _first_lines(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """They change once a second, with the date."""
    return STATUS_LINE[status] + lines(headers)


class _Caller:
    """See `service.wire.Caller`."""

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle

    def answer(self, answer: Answer) -> None:
        self._protocol.answer(self._cycle, answer)

    def run(self, app: ASGIApp) -> None:
        self._protocol.run(self._cycle, app)

    def drop(self) -> None:
        self._protocol.transport.close()


def with_patience(head_timeout_s: float, max_head_bytes: int) -> type[Protocol]:
    """A Protocol class, as uvicorn wants one.

    Args:
        head_timeout_s: from the connection, or from the first byte of a later request, to the end of its head.
        max_head_bytes: of a head that comes in several reads (of up to 256 KiB); one that is there at once has cost
            what it costs.
    """
    return type("Protocol", (Protocol,), {"head_timeout_s": head_timeout_s, "max_head_bytes": max_head_bytes})
