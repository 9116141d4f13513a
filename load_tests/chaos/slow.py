"""Clients that say half of what they want, or do not read what they asked for, beside others."""

import asyncio
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from load_tests import processes
from load_tests.chaos.answers import p99_ms, port_of
from load_tests.chaos.promises import MIB, Promise
from load_tests.generator import Answer, Load, Request, Run
from tests.service.server import Service

CONNECTIONS = 16
TIMES = 5.0
FLOOR_MS = 50.0
"""Of a p99 that is lower, TIMES as much is nothing that anybody would notice."""
GROWTH = 0.05
RECEIVE_BYTES = 4096
"""Of the readers' sockets: the rest of an answer is the service's to keep, or not to compute."""
LOOK_S = 1.0
_NO_LINGER = struct.pack("ii", 1, 0)  # a reset in place of a farewell


@dataclass(frozen=True)
class Slow:
    """Latencies are those of the others, and `failed` their faults.

    `heads_ended`, `readers_ended`: connections that the service ended itself; `bodies_answered`: with 504.

    Memory (private) and descriptors are of all processes of the service: before there were slow clients, with all
    half heads and bodies, and some seconds after the last had left.
    """

    heads: int
    bodies: int
    readers: int
    heads_ended: int
    bodies_answered: int
    readers_ended: int
    failed: dict[str, int]
    before_p99_ms: float
    during_p99_ms: float
    before: processes.Held
    during: processes.Held
    after: processes.Held

    @property
    def growth(self) -> float:
        return self.after.uss_bytes / self.before.uss_bytes - 1

    def promises(self) -> list[Promise]:
        bound_ms = TIMES * max(self.before_p99_ms, FLOOR_MS)
        return [
            Promise(
                "slow clients are in nobody's way",
                f"{self.heads} half heads, {self.bodies} half bodies, {self.readers} who do not read: others' p99 "
                f"{self.during_p99_ms:.0f} ms ({self.before_p99_ms:.0f} before; {bound_ms:.0f} allowed), "
                f"{sum(self.failed.values())} failed",
                self.during_p99_ms <= bound_ms and not self.failed,
            ),
            Promise(
                "once their time is over, half a head and an answer that is not read are cut off, half a body is "
                "answered",
                f"{self.heads_ended} of {self.heads}, {self.readers_ended} of {self.readers}, "
                f"{self.bodies_answered} of {self.bodies}",
                (self.heads_ended, self.bodies_answered, self.readers_ended)
                == (self.heads, self.bodies, self.readers),
            ),
            Promise(
                f"their descriptors come back, and memory to within {GROWTH:.0%}",
                f"descriptors: {self.before.descriptors}, with them {self.during.descriptors}, afterwards "
                f"{self.after.descriptors}; MiB: {self.before.uss_bytes / MIB:.0f}, "
                f"{self.during.uss_bytes / MIB:.0f}, {self.after.uss_bytes / MIB:.0f} ({self.growth:+.1%})",
                self.after.descriptors <= self.before.descriptors and self.growth <= GROWTH,
            ),
        ]


class _Round(NamedTuple):
    readers: int
    heads_ended: int
    bodies_answered: int
    readers_ended: int
    failed: dict[str, int]
    before_p99_ms: float
    during_p99_ms: float
    during: processes.Held


async def slow(
    service: Service,
    request: Request,
    normal_rps: float,
    *,
    long: Request,
    heads: int = 200,
    bodies: int = 200,
    readers: int = 8,
    readers_rps: float = 1.0,
    seconds: float = 18.0,
    before_s: float = 4.0,
    rest_s: float = 3.0,
    rounds: int = 3,
) -> Slow:
    """Let slow clients hang on for `seconds`, beside `normal_rps` of `request`.

    Args:
        service: which gives up a head, and a request, well before `seconds` are over.
        long: what the readers ask for, so many a second. It is more than sockets hold, which is what is computed for
            each: more of them at once would be a load of their own.
        rest_s: before memory and descriptors are looked at.
        rounds: the last one counts; by then every worker has the room that such answers take.
    """
    load = Load(port_of(service.url), request, "open", CONNECTIONS, before_s + seconds, normal_rps)
    await Run(replace(load, seconds=before_s)).measure()
    for _ in range(rounds):
        await asyncio.sleep(rest_s)
        before = processes.held(service.process.pid)
        last = await _round(service, load, before_s, long, heads, bodies, readers, readers_rps)
    await asyncio.sleep(rest_s)
    after = processes.held(service.process.pid)
    return Slow(heads=heads, bodies=bodies, before=before, after=after, **last._asdict())


async def _round(
    service: Service,
    load: Load,
    before_s: float,
    long: Request,
    heads: int,
    bodies: int,
    readers: int,
    readers_rps: float,
) -> _Round:
    answers: list[Answer] = []
    measuring = asyncio.ensure_future(Run(load, answers.append).measure())
    await asyncio.sleep(load.warm_up_s + before_s)
    begin_s = time.perf_counter()
    clients = _Clients(load.port, long)
    for _ in range(heads):
        clients.half_a_head()
    for _ in range(bodies):
        clients.half_a_body()
    await asyncio.sleep(LOOK_S)
    during = processes.held(service.process.pid)
    for _ in range(readers):
        clients.read_nothing()
        await asyncio.sleep(1 / readers_rps)
    await asyncio.sleep(LOOK_S)
    reading = sum(_status(reader) == "200" for reader in clients.readers)
    await asyncio.sleep(begin_s + load.seconds - before_s - time.perf_counter())
    held = set().union(*map(processes.client_ports, service.workers()))
    heads_ended, readers_ended = (
        sum(client.getsockname()[1] not in held for client in some)
        for some in (clients.heads, clients.readers)
    )
    bodies_answered = sum(_status(client) == "504" for client in clients.bodies)
    clients.vanish()
    end_s = time.perf_counter()
    measured = await measuring
    return _Round(
        readers=reading,
        heads_ended=heads_ended,
        bodies_answered=bodies_answered,
        readers_ended=readers_ended,
        failed=measured.failed,
        before_p99_ms=p99_ms(answers, begin_s - before_s, begin_s),
        during_p99_ms=p99_ms(answers, begin_s, end_s),
        during=during,
    )


class _Clients:
    def __init__(self, port: int, long: Request) -> None:
        self._port = port
        once = replace(long, headers={"Connection": "close"})
        self._whole = b"1".join(once.parts(f"127.0.0.1:{port}"))
        self.heads: list[socket.socket] = []
        self.bodies: list[socket.socket] = []
        self.readers: list[socket.socket] = []

    def half_a_head(self) -> None:
        self.heads.append(self._say(self._whole[:40]))

    def half_a_body(self) -> None:
        text = self._whole.replace(b"Content-Length: 0", b"Content-Length: 1000") + b"{"
        self.bodies.append(self._say(text))

    def read_nothing(self) -> None:
        self.readers.append(self._say(self._whole))

    def vanish(self) -> None:
        for client in (*self.heads, *self.bodies, *self.readers):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            client.close()

    def _say(self, text: bytes) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        client.connect(("127.0.0.1", self._port))
        client.sendall(text)
        client.setblocking(False)
        return client


def _status(client: socket.socket) -> str:
    """Of the answer that begins to come in, which is left there; empty of none."""
    with suppress(OSError):
        return client.recv(12, socket.MSG_PEEK)[9:].decode()
    return ""
