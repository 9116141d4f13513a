"""Keep-alive connections that find their way to the idle worker.

The workers share one listening socket, and whoever wakes first takes every connection that waits: now and then all
of them land on one worker, and keep-alive holds them there while the others idle. So each worker tells the others how
many requests it has in flight, and one that has clearly more than another asks one of its clients, now and then,
to connect again (`Connection: close` on its answer).
"""

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.processes import is_alive

CLEARLY_MORE = 3
"""Requests in flight more than the idlest worker's. At a difference of 2 a move would only change the sides."""
INTERVAL_S = 0.05
"""Between two moves of a worker: a connection needs some time to arrive elsewhere."""
LOOK_S = 1.0
"""Between two looks for workers that have come or gone."""

_PREFIX = "latentry-in-flight-"


class Board:
    """In-flight requests of every worker: a file of four bytes each, named by process id, in a folder they share."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder, self._pid = folder, pid
        self._others: dict[int, mmap.mmap] = {}
        path = folder / f"{_PREFIX}{pid}"
        path.write_bytes(bytes(4))
        self._own = _map(path, mmap.ACCESS_WRITE)

    def show(self, in_flight: int) -> None:
        self._own[:] = struct.pack("I", in_flight)

    def look(self) -> None:
        """Find the workers that live now."""
        found = {int(path.name.removeprefix(_PREFIX)): path for path in self._folder.glob(f"{_PREFIX}*")}
        alive = {pid: path for pid, path in found.items() if pid != self._pid and is_alive(pid)}
        self._others = {
            pid: self._others.get(pid) or _map(path, mmap.ACCESS_READ) for pid, path in alive.items()
        }

    def least_of_others(self) -> int | None:
        """In-flight requests of the idlest other worker; None where there is no other."""
        return min((struct.unpack("I", other[:])[0] for other in self._others.values()), default=None)


class Rebalance:
    """ASGI middleware. No request is lost: the answer is whole, and HTTP clients reconnect by themselves.

    `folder` must be the same for all workers of a service; by default the one that BentoML gives them for metrics.
    """

    def __init__(
        self, app: ASGIApp, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._clock = clock
        self._folder = folder or Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp())
        self._board: Board | None = None
        self._in_flight = 0
        self._moved = self._looked = -LOOK_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            self._board is None
        ):  # at the worker's start, by its first scope, "lifespan": the idle must be seen too
            self._board = Board(self._folder, os.getpid())
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        board = self._board

        async def rebalancing(message: Message) -> None:
            is_start = message["type"] == "http.response.start"
            # Who is turned away has a place here, by connection.
            if is_start and message["status"] != 429 and self._should_move(board):
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        self._in_flight += 1
        board.show(self._in_flight)
        try:
            await self._app(scope, receive, rebalancing)
        finally:
            self._in_flight -= 1
            board.show(self._in_flight)

    def _should_move(self, board: Board) -> bool:
        now = self._clock()
        if self._in_flight < CLEARLY_MORE or now - self._moved < INTERVAL_S:
            return False
        if now - self._looked >= LOOK_S:
            board.look()
            self._looked = now
        least = board.least_of_others()
        if least is None or self._in_flight - least < CLEARLY_MORE:
            return False
        self._moved = now
        return True


def _map(path: Path, access: int) -> mmap.mmap:
    with path.open("r+b" if access == mmap.ACCESS_WRITE else "rb") as stream:
        return mmap.mmap(stream.fileno(), 4, access=access)
