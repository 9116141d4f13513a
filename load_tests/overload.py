"""A load beyond saturation.

Requests of 64 images arrive at a constant rate, several times what the service can do. Those it refuses are to be told
when to come again, and some do, on their connection; those it accepts are to be answered as fast as ever; and
`/livez` and `/readyz` are asked all the while.
"""

import asyncio
import gc
import math
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from load_tests.connection import Connection
from load_tests.generator import FIRST_SEED, Load, Request, arrivals, percentile, run_loop

IMAGES = 64
REQUEST = Request(f"/sample?model=mnist-gan&n={IMAGES}&seed={{seed}}", "application/x-npy")
CONNECTIONS = 900
"""Fewer than the files that a process may have open by default."""
MOST_WAITING = 400
"""Connections that wait to come again; whoever is refused beyond them stays away."""
ARRIVE_EVERY_S = 0.02
"""Those due within it are sent together, and timed from when they were due: a timer for each took as much CPU again, of
the service's cores."""
HEALTH_EVERY_S = 0.05
DRAIN_S = 15.0


@dataclass(frozen=True)
class Overloaded:
    """Of a load beyond saturation. Rates are a second, latencies of accepted requests, from their arrival."""

    offered_rps: float
    goodput_rps: float
    sent: int
    accepted: int
    refused: int
    refused_without_time: int
    other: dict[str, int]
    returned: int
    returned_accepted: int
    p50_ms: float | None
    p99_ms: float | None
    health_asked: int
    health_failed: int
    health_p99_ms: float | None
    """From the moment of asking: /livez and /readyz in turns."""

    @property
    def returned_ok(self) -> float:
        """Of those who came again when told: the part that was accepted."""
        return self.returned_accepted / self.returned if self.returned else 0.0


class Overload:
    """One load; a request that finds no free connection counts among `other` as "no connection"."""

    def __init__(self, port: int, rate: float, seconds: float, return_rate: float) -> None:
        self._load = Load(port, REQUEST, "open", CONNECTIONS, seconds, rate, arrivals="uniform")
        self._parts = REQUEST.parts(f"127.0.0.1:{port}")
        self._random = random.Random(0)
        self._return_rate = return_rate
        self._free = deque(Connection("127.0.0.1", port, self._answered) for _ in range(CONNECTIONS))
        self._all = list(self._free)
        self._returning: set[Connection] = set()
        self._waiting = 0
        self._health = Connection("127.0.0.1", port, self._told_health)
        self._latencies: list[float] = []
        self._healths: list[float] = []
        self._count: Counter[str] = Counter()
        self._other: Counter[str] = Counter()
        self._until_s = 0.0
        self._in_time = 0

    async def measure(self) -> Overloaded:
        start_s = time.perf_counter()
        self._until_s = start_s + self._load.seconds
        asking = asyncio.ensure_future(self._ask_health())
        times_s = arrivals(self._load, start_s, self._until_s)
        self._arrive(times_s, next(times_s))
        await asyncio.sleep(self._load.seconds)
        while any(connection.busy for connection in self._all):
            if time.perf_counter() > self._until_s + DRAIN_S:
                self._other["unanswered"] += sum(connection.busy for connection in self._all)
                break
            await asyncio.sleep(0.05)
        asking.cancel()
        for connection in [*self._all, self._health]:
            connection.close()
        ordered, health = sorted(self._latencies), sorted(self._healths)
        return Overloaded(
            offered_rps=self._load.rate,
            goodput_rps=self._in_time / self._load.seconds,
            sent=self._count["sent"],
            accepted=len(ordered),
            refused=self._count["refused"],
            refused_without_time=self._count["without time"],
            other=dict(self._other),
            returned=self._count["returned"],
            returned_accepted=self._count["returned, accepted"],
            p50_ms=percentile(ordered, 0.5),
            p99_ms=percentile(ordered, 0.99),
            health_asked=self._count["health"],
            health_failed=self._count["health"] - len(health),
            health_p99_ms=percentile(health, 0.99),
        )

    def _arrive(self, times_s: Iterator[float], at_s: float) -> None:
        """Those that are due, and later the next."""
        while (wait_s := at_s - time.perf_counter()) <= 0:
            self._send(at_s)
            if (at_s := next(times_s, math.inf)) == math.inf:
                return
        asyncio.get_running_loop().call_later(max(wait_s, ARRIVE_EVERY_S), self._arrive, times_s, at_s)

    def _send(self, at_s: float) -> None:
        self._count["sent"] += 1
        if not self._free:
            self._other["no connection"] += 1
            return
        self._ask(self._free.popleft(), at_s)

    def _ask(self, connection: Connection, at_s: float) -> None:
        connection.started = at_s
        connection.send((b"%d" % (FIRST_SEED + self._random.randrange(8_000_000))).join(self._parts))

    def _answered(self, connection: Connection, fault: str | None, size: int) -> None:
        del size
        now_s = time.perf_counter()
        was_told = connection in self._returning
        self._returning.discard(connection)
        self._count["returned"] += was_told
        if fault is None:
            self._latencies.append(1000 * (now_s - connection.started))
            self._in_time += now_s <= self._until_s
            self._count["returned, accepted"] += was_told
        elif fault == "429":
            self._count["refused"] += 1
            self._count["without time"] += not connection.retry_after_s
            comes_again = connection.retry_after_s and self._random.random() < self._return_rate
            if comes_again and not was_told and self._waiting < MOST_WAITING:
                self._waiting += 1
                loop = asyncio.get_running_loop()
                loop.call_later(connection.retry_after_s, self._return, connection)
                return
        else:
            self._other[fault] += 1
        self._free.append(connection)

    def _return(self, connection: Connection) -> None:
        """Within the time of the load: there is room for everybody afterwards."""
        self._waiting -= 1
        if time.perf_counter() > self._until_s:
            self._free.append(connection)
            return
        self._returning.add(connection)
        self._ask(connection, time.perf_counter())

    async def _ask_health(self) -> None:
        paths = (b"/livez", b"/readyz")
        while True:
            if not self._health.busy:
                self._health.started = time.perf_counter()
                path = paths[self._count["health"] % 2]
                self._health.send(b"GET " + path + b" HTTP/1.1\r\nHost: here\r\n\r\n")
            await asyncio.sleep(HEALTH_EVERY_S)

    def _told_health(self, connection: Connection, fault: str | None, size: int) -> None:
        del size
        self._count["health"] += 1
        if fault is None:
            self._healths.append(1000 * (time.perf_counter() - connection.started))


def overload(port: int, rate: float, seconds: float, return_rate: float = 0.1) -> Overloaded:
    """Put `rate` requests a second on the service, and have a part of the refused come again when told."""
    gc.disable()  # as in `generator.run`
    try:
        return run_loop(Overload(port, rate, seconds, return_rate).measure())
    finally:
        gc.enable()
