"""A light HTTP/1.1 load generator: `python -m load_tests.generator '{"port": 3000, "request": {...}, ...}'`.

One process, one thread, the standard library and uvloop where it is installed. Prints a `Measured` as JSON. It shares
the machine with the server, so it does little for an answer: status, length and the end of the body are read, the body
itself is counted and dropped.
"""

import asyncio
import gc
import json
import math
import random
import subprocess
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from load_tests.connection import Connection

with suppress(ImportError):
    import uvloop

ROOT = Path(__file__).resolve().parents[1]
START_S = 30.0
"""More than a process takes to begin and to end on a busy machine: one that takes longer hangs."""
FIRST_SEED, SEEDS = 1_000_000, 8_000_000  # 7 digits each, so that all requests of a load have one length
EARLY_S = 0.0005
"""Timers tick in milliseconds: arrivals this near are sent with those that are due, and timed from then."""

Mode = Literal["closed", "open"]
Arrivals = Literal["poisson", "uniform"]
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A POST. `path` and `body` may hold `{seed}`, which is another seed of 7 digits in each request."""

    path: str
    accept: str
    body: str = ""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further ones."""

    def parts(self, host: str) -> list[bytes]:
        """The bytes of the request, cut where the seed goes."""
        length = len(self.fill(FIRST_SEED)[1])
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {host}", f"Accept: {self.accept}"]
        lines += [f"Content-Type: {self.content_type}"] * bool(self.content_type)
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        text = "\r\n".join([*lines, f"Content-Length: {length}", "", self.body])
        return [part.encode() for part in text.split("{seed}")]

    def fill(self, seed: int) -> tuple[str, bytes]:
        """Path and body with a seed in them."""
        return self.path.replace("{seed}", str(seed)), self.body.replace("{seed}", str(seed)).encode()


@dataclass(frozen=True)
class Load:
    """What is sent, and for how long.

    Closed loop: each of `connections` sends its next request when the answer to the last is in. Open loop: requests
    arrive at `rate` a second, whatever the server does, and one that finds all connections busy waits for the next
    free one. Its latency counts from its arrival, so that a stall is seen by all that it kept waiting.
    """

    port: int
    request: Request
    mode: Mode = "closed"
    connections: int = 16
    seconds: float = 5.0
    rate: float = 0.0
    arrivals: Arrivals = "poisson"
    warm_up_s: float = 0.5
    drain_s: float = 10.0
    """Wait for answers after the last request; those still out then are failures, "unanswered"."""
    seed: int = 0
    """Of the arrivals and of the seeds that the requests carry."""
    body_bytes: int | None = None
    """Length of a right answer, where all have one."""
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if (self.mode == "open") != (self.rate > 0):
            raise ValueError(f"rate goes with mode open and only with it, got {self.mode} and {self.rate}")
        if self.connections < 1 or self.seconds <= 0:
            raise ValueError(
                f"connections and seconds must be positive, got {self.connections}, {self.seconds}"
            )


@dataclass(frozen=True)
class Measured:
    """Of a load without its warm-up. Latencies are those of right answers, None where there was none.

    A closed loop counts the answers that came within `seconds`, an open one the requests that arrived within them,
    `offered` a second; `rps` is of the right answers that came in that time. `failed` is by status, or "refused",
    "reset", "malformed", "size", "unanswered". `cpu` is what the generator took of one core.
    """

    seconds: float
    sent: int
    ok: int
    failed: dict[str, int]
    offered: float
    rps: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    body_bytes: int
    cpu: float

    @property
    def failures(self) -> int:
        return sum(self.failed.values())


class Answer(NamedTuple):
    """One of a load, warm-up included. Times are of `time.perf_counter`; `fault` as in `Measured.failed`.

    `started_s`: when its request arrived or was sent; `port`: of this side of its connection.
    """

    started_s: float
    at_s: float
    fault: str | None
    port: int


class Run:
    """One load on one server. `told`: is called with each answer."""

    def __init__(self, load: Load, told: Callable[[Answer], object] | None = None) -> None:
        self.load = load
        self._told = told
        self._parts = load.request.parts(f"{load.host}:{load.port}")
        self._seeds = random.Random(load.seed)
        self._free = deque(Connection(load.host, load.port, self._answered) for _ in range(load.connections))
        self._all = list(self._free)
        self._waiting: deque[float] = deque()
        self._latencies = array("d")
        self._failed: Counter[str] = Counter()
        self._sent = self._in_time = self._bytes = 0
        self._from = self._until = 0.0

    async def measure(self) -> Measured:
        load = self.load
        self._from = time.perf_counter() + load.warm_up_s
        self._until = self._from + load.seconds
        if load.mode == "open":
            await self._arrive()
        else:
            while self._free:
                self._dispatch(self._free.popleft(), time.perf_counter())
            await asyncio.sleep(self._until - time.perf_counter())
        await self._drain()
        for connection in self._all:
            connection.close()
        return self._measured()

    def _answered(self, connection: Connection, fault: str | None, size: int) -> None:
        """Count an answer, and give the connection its next request."""
        now = time.perf_counter()
        self._count(connection.started, now, fault, size)
        if self._told is not None:
            self._told(Answer(connection.started, now, fault, connection.port))
        if self._waiting:
            self._dispatch(connection, self._waiting.popleft())
        elif self.load.mode == "closed" and now < self._until:
            self._dispatch(connection, now)
        else:
            self._free.append(connection)

    def _count(self, started: float, now: float, fault: str | None, size: int) -> None:
        if fault is None and self.load.body_bytes not in (None, size):
            fault = "size"
        if fault is None and self._from <= now <= self._until:
            self._in_time += 1
        # A closed loop counts by the answer: by the request, slow ones would be missed at the end of the time.
        if not self._from <= (started if self.load.mode == "open" else now) <= self._until:
            return
        self._sent += 1
        if fault is not None:
            self._failed[fault] += 1
            return
        self._bytes += size
        self._latencies.append(now - started)

    def _dispatch(self, connection: Connection, started: float) -> None:
        connection.started = started
        connection.send((b"%d" % (FIRST_SEED + self._seeds.randrange(SEEDS))).join(self._parts))

    async def _arrive(self) -> None:
        for at in arrivals(self.load, self._from - self.load.warm_up_s, self._until):
            while (wait := at - time.perf_counter()) > EARLY_S:
                await asyncio.sleep(wait)
            started = min(at, time.perf_counter())
            if self._free:
                self._dispatch(self._free.popleft(), started)
            else:
                self._waiting.append(started)
        await asyncio.sleep(max(0.0, self._until - time.perf_counter()))

    async def _drain(self) -> None:
        deadline = time.perf_counter() + self.load.drain_s
        while len(self._free) < len(self._all) and time.perf_counter() < deadline:
            await asyncio.sleep(0.005)
        busy = [connection.started for connection in self._all if connection.busy]
        self._waiting, late = deque(), [*busy, *self._waiting]
        for started in late:
            self._count(started, self._until, "unanswered", 0)
        self._from = math.inf  # nothing that still comes counts

    def _measured(self) -> Measured:
        ordered = sorted(1000 * latency for latency in self._latencies)
        return Measured(
            seconds=self.load.seconds,
            sent=self._sent,
            ok=len(ordered),
            failed=dict(sorted(self._failed.items())),
            offered=self._sent / self.load.seconds,
            rps=self._in_time / self.load.seconds,
            p50_ms=percentile(ordered, 0.50),
            p90_ms=percentile(ordered, 0.90),
            p99_ms=percentile(ordered, 0.99),
            max_ms=ordered[-1] if ordered else None,
            body_bytes=self._bytes,
            cpu=0.0,
        )


def arrivals(load: Load, start: float, end: float) -> Iterator[float]:
    """Times in [start, end): independent ones (Poisson, exponential gaps), or one every 1 / rate seconds."""
    gaps, at = random.Random(load.seed + 1), start
    while at < end:
        yield at
        at += gaps.expovariate(load.rate) if load.arrivals == "poisson" else 1 / load.rate


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """The smallest of the values that q of them do not exceed (nearest rank); None of none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def run(load: Load) -> Measured:
    """Put the load on the server, in this process. Never raises for what the server does."""
    gc.disable()  # a run makes little garbage in cycles, and a collection would be taken for a slow answer
    try:
        start, cpu = time.perf_counter(), time.process_time()
        measured = run_loop(Run(load).measure())
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        return Measured(**{**asdict(measured), "cpu": share})
    finally:
        gc.enable()


def run_apart(load: Load) -> Measured:
    """As `run`, in a process of its own."""
    command = [sys.executable, "-m", "load_tests.generator", json.dumps(asdict(load))]
    seconds = load.warm_up_s + load.seconds + load.drain_s + START_S
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=seconds)
    return Measured(**json.loads(done.stdout))


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, with uvloop where it is installed."""
    new_loop = uvloop.new_event_loop if "uvloop" in globals() else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def main() -> None:
    table = json.loads(sys.argv[1])
    load = Load(**{**table, "request": Request(**table["request"])})
    json.dump(asdict(run(load)), sys.stdout)


if __name__ == "__main__":
    main()
