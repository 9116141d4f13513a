"""uvicorn's side of a connection, with an end to its patience: for the head of a request, and for its length."""

import asyncio
import json
from http import HTTPStatus
from typing import cast

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import MEDIA_TYPE
from service.wire import IS_GONE, wire


class Protocol(HttpToolsProtocol):
    """See `with_patience`."""

    head_timeout_s: float
    max_head_bytes: int
    _is_in_head = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        wire.arrivals += 1
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        wire.on_lost(self.client)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        wire.arrivals += 1
        super().data_received(data)
        if not self._is_in_head:
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.max_head_bytes:
            self._refuse(431, f"the head of a request may have {self.max_head_bytes:,} bytes")
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()
        self.scope["state"][IS_GONE] = self.transport.is_closing

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # With more requests behind it, or a client that does not read, the answer has to wait: as uvicorn does it.
        can_be_sent = not (self.pipeline or self.flow.write_paused or self.transport.is_closing())
        answer = wire.turn_away(cast(Scope, cycle.scope)) if can_be_sent else None
        if answer is None:
            super()._start_asgi_task(cycle, app)
            return
        lines = [STATUS_LINE[answer.status]]
        for name, value in (*self.server_state.default_headers, *answer.headers):
            lines += [name, b": ", value, b"\r\n"]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join([*lines, b"\r\n", answer.body]))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

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


def with_patience(head_timeout_s: float, max_head_bytes: int) -> type[Protocol]:
    """A Protocol class, as uvicorn wants one.

    Args:
        head_timeout_s: from the connection, or from the first byte of a later request, to the end of its head.
        max_head_bytes: of a head that comes in several reads (of up to 256 KiB); one that is there at once has cost
            what it costs.
    """
    return type("Protocol", (Protocol,), {"head_timeout_s": head_timeout_s, "max_head_bytes": max_head_bytes})
