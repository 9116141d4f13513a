"""A worker: uvicorn, with the service's app, on the socket that all workers share."""

import asyncio
import gc
import select
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry
from service.launch import listening
from service.launch.protocol import Protocol, with_patience
from service.loader import Models
from service.settings import Settings

SETTLE_S, MOST_SETTLE_S = 0.2, 2.0
"""From when no connection is begun any more until those without a request are closed: at most so long, where some wait
to be accepted or are owed their first request. (Without a way to refuse new ones there may be no end of them.)"""
# As often what is in a head it may have, colons and line ends included, while it comes; then it is counted exactly.
_RAW_HEAD = 2
_LOOK_S = 0.01


class Worker:
    """Made in the parent, so that its workers share it; `run` is the child's.

    Args:
        app: an ASGI app. Requests pass it as they are; once this worker is told to end, their connections are closed.
        settings: `drain_s`, seconds for which new connections are still answered then, and `head_timeout_s`.
    """

    def __init__(self, app: ASGIApp, models: Models, listener: socket.socket, settings: Settings) -> None:
        self._models = models
        self._listener = listener
        config = uvicorn.Config(
            _Closing(app, models),
            loop="uvloop",
            http=with_patience(settings.head_timeout_s, _RAW_HEAD * settings.max_header_bytes),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=listening.BACKLOG,
            # Longer than clients keep idle connections: who closes last is not asked on a connection that has ended.
            timeout_keep_alive=75,
        )
        config.load()
        config.get_loop_factory()  # imports uvloop
        self._server = _Server(config, models, settings.drain_s)

    def run(self, ready: Callable[[], object]) -> int:
        """Serve until SIGTERM; the exit status. `ready` is called once requests are answered."""
        gc.enable()
        self._server.ready = ready
        try:
            self._server.run(sockets=[self._listener])
        finally:
            telemetry.settle()
        return self._server.status


class _Server(uvicorn.Server):
    """uvicorn's, with an end that takes its time."""

    ready: Callable[[], object]
    status = 0

    def __init__(self, config: uvicorn.Config, models: Models, drain_s: float) -> None:
        super().__init__(config)
        self._models = models
        self._drain_s = drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if await asyncio.to_thread(self._models.usable):
            self.ready()
        else:  # the reasons are logged
            self.status, self.should_exit = 1, True

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        if sig == signal.SIGTERM:
            self._models.is_stopping = True
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No request is lost: those who come late are answered, and nobody is cut off between two requests."""
        if self.status == 0:
            await self._drain(sockets or [])
        await super().shutdown(sockets)

    async def _drain(self, sockets: list[socket.socket]) -> None:
        await asyncio.sleep(self._drain_s)
        for listener in sockets:
            listening.refuse_new(listener)
        until_s = time.monotonic() + MOST_SETTLE_S
        await asyncio.sleep(SETTLE_S)
        while time.monotonic() < until_s and self._is_more_to_come(sockets):
            await asyncio.sleep(_LOOK_S)

    def _is_more_to_come(self, sockets: list[socket.socket]) -> bool:
        if select.select(sockets, [], [], 0)[0]:
            return True
        connections = cast(set[Protocol], self.server_state.connections)
        return any(connection.is_awaited() for connection in connections)


class _Closing:
    """ASGI middleware that, once the service stops, closes each connection after its next answer."""

    def __init__(self, app: ASGIApp, models: Models) -> None:
        self._app = app
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._models.is_stopping:
                # Rebalance may have set one.
                others = [header for header in message.get("headers", ()) if header[0] != b"connection"]
                message["headers"] = [*others, (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing if scope["type"] == "http" else send)
