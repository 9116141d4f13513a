"""Keep-alive connections that find their way to the idle worker.

The workers share one listening socket, and whoever wakes first takes every connection that waits: now and then all
of them land on one worker, and keep-alive holds them there while the others idle. So each worker tells the others how
many requests wait for their turn with it, and how many connections lately brought some that were answered. One that has
clearly more than another asks one of its clients, now and then, to connect again (`Connection: close` on its answer).
The connections even out within tens of milliseconds, before a queue has grown that would tell of it. Who says half of a
request, or does not read an answer, is no work, and counts for nothing.
"""

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.processes import is_alive

CLEARLY_MORE = 3
"""Requests that wait more than the idlest worker's. At a difference of 2 a move would only change the sides."""
INTERVAL_S = 0.05
"""Between two moves of a worker: a connection needs some time to arrive elsewhere."""
MORE_CONNECTIONS = 2
"""Than another worker has. At a difference of 1 a move would only change the sides."""
QUICK_S = 0.005
"""Between two moves for their sake: how many there are is known as soon as one has arrived."""
LOOK_S = 1.0
"""Between two looks for workers that have come or gone, and for connections that brought nothing since the last."""

_PREFIX = "latentry-load-"
_SHOWN = struct.Struct("II")


class Shown(NamedTuple):
    """What a worker has: requests that wait, and connections that lately brought some that were rightly answered."""

    waiting: int
    connections: int


class Board:
    """What every worker has: a file of eight bytes each, named by process id, in a folder they share."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder, self._pid = folder, pid
        self._others: dict[int, mmap.mmap] = {}
        path, new = folder / f"{_PREFIX}{pid}", folder / f"new-{_PREFIX}{pid}"
        new.write_bytes(bytes(_SHOWN.size))
        new.replace(path)  # others may look at any time: it is whole, or not there
        self._own = _map(path, mmap.ACCESS_WRITE)

    def show(self, shown: Shown) -> None:
        self._own[:] = _SHOWN.pack(*shown)

    def look(self) -> None:
        """Find the workers that live now."""
        found = {int(path.name.removeprefix(_PREFIX)): path for path in self._folder.glob(f"{_PREFIX}*")}
        alive = {pid: path for pid, path in found.items() if pid != self._pid and is_alive(pid)}
        self._others = {
            pid: self._others.get(pid) or _map(path, mmap.ACCESS_READ) for pid, path in alive.items()
        }

    def idlest_other(self) -> Shown | None:
        """The other worker where the fewest requests wait; None where there is no other."""
        return min((Shown(*_SHOWN.unpack(other[:])) for other in self._others.values()), default=None)


class Rebalance:
    """ASGI middleware; who does without calls `begin` and `answered`.

    No request is lost: the answer is whole, and HTTP clients reconnect by themselves.

    Args:
        waiting: how many requests of this worker wait for their turn, or are computed.
        folder: the same for all workers of a service; by default the one that BentoML gives them for metrics.
    """

    def __init__(
        self,
        app: ASGIApp,
        waiting: Callable[[], int],
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._waiting = waiting
        self._clock = clock
        self._folder = folder or Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp())
        self._board: Board | None = None
        self._connections: dict[object, float] = {}  # each with the time of its last right answer
        self._moved = self._looked = self._forgot = -LOOK_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._own_board()  # at the worker's start, by its first scope, "lifespan": the idle must be seen too
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def rebalancing(message: Message) -> None:
            is_first = message["type"] == "http.response.start"
            if is_first and self.answered(scope["client"], message["status"]):
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        self.begin()
        await self._app(scope, receive, rebalancing)

    def begin(self) -> None:
        """A request is there, and will wait."""
        self._show(self._waiting() + 1)

    def answered(self, who: object, status: int) -> bool:
        """A request of the connection `who` is about to be: whether the connection is to be closed after that."""
        now = self._clock()
        if status < HTTPStatus.BAD_REQUEST:
            self._connections[who] = now
        if now - self._forgot >= LOOK_S:
            before, self._forgot = self._forgot, now
            self._connections = {who: at for who, at in self._connections.items() if at >= before}
        is_to_move = self._is_to_move(status, now)
        self._show(self._waiting())
        return is_to_move

    def lost(self, who: object) -> None:
        """A connection has ended."""
        if self._connections.pop(who, None) is not None:
            self._show(self._waiting())

    def _is_to_move(self, status: int, now: float) -> bool:
        waiting = self._waiting() + 1  # with the one that is answered
        if waiting < 2 or now - self._moved < QUICK_S:
            return False
        if status == HTTPStatus.TOO_MANY_REQUESTS:  # who is turned away has a place here, by connection
            return False
        if now - self._looked >= LOOK_S:
            self._look(now)
        other = self._own_board().idlest_other()
        if other is None or not self._has_more(waiting, other, now - self._moved):
            return False
        self._moved = now
        return True

    def _has_more(self, waiting: int, other: Shown, since_s: float) -> bool:
        more = waiting - other.waiting
        if more >= CLEARLY_MORE and since_s >= INTERVAL_S:
            return True
        return more >= 0 and len(self._connections) - other.connections >= MORE_CONNECTIONS

    def _look(self, now: float) -> None:
        self._looked = now
        with suppress(OSError):  # no descriptor is left, say: those that are known already will do
            self._own_board().look()

    def _show(self, waiting: int) -> None:
        self._own_board().show(Shown(waiting, len(self._connections)))

    def _own_board(self) -> Board:
        if self._board is None:
            self._board = Board(self._folder, os.getpid())
        return self._board


def _map(path: Path, access: int) -> mmap.mmap:
    with path.open("r+b" if access == mmap.ACCESS_WRITE else "rb") as stream:
        return mmap.mmap(stream.fileno(), _SHOWN.size, access=access)
