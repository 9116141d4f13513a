"""Requests of all kinds on a service for a long time, and what its processes hold meanwhile."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from load_tests import processes
from load_tests.chaos.answers import port_of
from load_tests.chaos.promises import MIB, Promise
from load_tests.chaos.reloads import Publish
from load_tests.connection import Connection
from load_tests.processes import Held
from load_tests.soak.kinds import OK, Kind, kinds
from service import manifest
from tests.service.server import Service

CONNECTIONS = 6
ANEW = 0.01
"""Of the answers: the part after which a connection is closed, and the next request comes over a new one."""
END_S = 30.0
GROWTH = 0.02
WARM_UP, MOST_WARM_UP_S = 0.25, 240.0
"""Of the time, which is looked at but not judged: every worker runs every graph, and the models that all shared give
way to its own."""
CHANGES = 20
"""Versions in all."""
REST_S = 1.5
"""Before each change nobody asks for so long: what the last requests took is given back by then."""
PARTS = 5
"""The first of the rest is compared with the last."""


@dataclass(frozen=True)
class Sample:
    """What each process held, by process id, the parent first."""

    at_s: float
    held: dict[int, Held]


@dataclass(frozen=True)
class Soak:
    """`asked`: requests by kind; `unexpected`: those with another answer than they should get, by kind and fault.

    `samples` were taken while requests were computed, `rests` when there were none.
    """

    seconds: float
    asked: dict[str, int]
    refused: int
    unexpected: dict[str, int]
    changes: int
    samples: tuple[Sample, ...]
    rests: tuple[Sample, ...]

    @property
    def warm_up_s(self) -> float:
        return min(WARM_UP * self.seconds, MOST_WARM_UP_S)

    def ends(self, samples: Sequence[Sample]) -> tuple[Held, Held]:
        """By all processes together, in the first and the last part of the time after the warm-up.

        Of memory and descriptors the median: a connection that gives way to another is seen twice, or not at all. Of
        threads the fewest: those of a pool come and go.
        """
        counted = [sample for sample in samples if sample.at_s >= self.warm_up_s]
        size = max(1, len(counted) // PARTS)
        return _held(counted[:size]), _held(counted[-size:])

    def promises(self) -> list[Promise]:
        first, last = self.ends(self.samples)
        asked, processes_ = sum(self.asked.values()), {pid for sample in self.samples for pid in sample.held}
        return [
            Promise(
                "every request gets the answer that it should get",
                f"{len(self.asked)} kinds, {asked:,} requests, {sum(self.unexpected.values())} with another "
                f"{self.unexpected or ''}({self.refused} of the long ones were told to come later)",
                not self.unexpected and asked > 0,
            ),
            _memory("amid requests", first, last),
            _memory(
                f"between them, after {self.changes} versions that came and went", *self.ends(self.rests)
            ),
            Promise(
                "descriptors and threads do not grow",
                f"{first.descriptors} descriptors, at the end {last.descriptors}; {first.threads} threads, at the end "
                f"{last.threads}",
                last.descriptors <= first.descriptors and last.threads <= first.threads,
            ),
            Promise(
                "no process ends",
                f"{len(processes_)} processes, {len(self.samples[-1].held)} at the end",
                len(processes_) == len(self.samples[-1].held),
            ),
        ]


def _memory(when: str, first: Held, last: Held) -> Promise:
    growth = last.uss_bytes / first.uss_bytes - 1
    return Promise(
        f"memory grows by less than {GROWTH:.0%}: {when}",
        f"{first.uss_bytes / MIB:.1f} MiB, at the end {last.uss_bytes / MIB:.1f} ({growth:+.1%})",
        growth < GROWTH,
    )


class Traffic:
    """A closed loop of some connections, each request of another kind."""

    def __init__(self, port: int, known: Sequence[Kind]) -> None:
        self._known, self._weights = known, [kind.weight for kind in known]
        self._dice = random.Random(0)
        self._connections = [Connection("127.0.0.1", port, self._answered) for _ in range(CONNECTIONS)]
        self._out: dict[Connection, Kind] = {}
        self._asks = False
        self.asked: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.refused = 0

    def start(self) -> None:
        self._asks = True
        for connection in self._connections:
            self._ask(connection)

    async def rest(self) -> None:
        """Until all are answered, or END_S are over; it is to be started again."""
        self._asks = False
        until_s = time.perf_counter() + END_S
        while self._out and time.perf_counter() < until_s:
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        """Once all are answered, or END_S later."""
        await self.rest()
        self.unexpected.update(f"{kind.name}: unanswered" for kind in self._out.values())
        for connection in self._connections:
            connection.close()

    def _ask(self, connection: Connection) -> None:
        if not self._asks or connection in self._out:
            return
        [kind] = self._dice.choices(self._known, self._weights)
        self._out[connection] = kind
        connection.send(self._dice.choice(kind.raw))

    def _answered(self, connection: Connection, fault: str | None, size: int) -> None:
        del size
        kind = self._out.pop(connection)
        status = fault or OK
        self.asked[kind.name] += 1
        self.refused += status == "429"
        if status not in kind.expects:
            self.unexpected[f"{kind.name}: {status}"] += 1
        if self._dice.random() < ANEW:
            connection.close()
        # Not from here: the one that answers may not be done with the connection.
        asyncio.get_running_loop().call_soon(self._ask, connection)


async def soak(
    service: Service,
    root: Path,
    model: str,
    publish: Publish,
    *,
    seconds: float,
    sample_every_s: float = 1.0,
    rest_s: float = REST_S,
    tell: Callable[[str], object] = print,
) -> Soak:
    """Send requests of all kinds for `seconds`, and now and then put a new version in the place of an old one.

    Args:
        service: with `admin`; it serves `root`, which holds the models of this repository.
        tell: is given a line of progress with every change.
    """
    traffic = Traffic(port_of(service.url), await asyncio.to_thread(kinds, service.url))
    samples: list[Sample] = []
    rests: list[Sample] = []
    changes, change_every_s = 0, seconds / CHANGES
    start_s = time.perf_counter()

    async def look() -> Sample:
        at_s = time.perf_counter() - start_s
        return Sample(at_s, await asyncio.to_thread(processes.each_held, service.process.pid))

    traffic.start()
    while (at_s := time.perf_counter() - start_s) < seconds:
        samples.append(await look())
        if at_s >= (changes + 1) * change_every_s:
            changes += 1
            await traffic.rest()
            await asyncio.sleep(rest_s)
            rests.append(await look())
            tell(_line(at_s, traffic, rests[-1]))
            traffic.start()
            await asyncio.to_thread(change, service, root / model, publish)
        await asyncio.sleep(sample_every_s)
    await traffic.end()
    return Soak(
        seconds,
        dict(traffic.asked),
        traffic.refused,
        dict(traffic.unexpected),
        changes,
        tuple(samples),
        tuple(rests),
    )


def change(service: Service, folder: Path, publish: Publish) -> None:
    """Publish the next version of a model, and remove the oldest; every worker has done it then."""
    versions = manifest.versions(folder)
    publish(folder.parent, versions[-1] + 1)
    httpx.post(f"{service.url}/admin/reload", timeout=60).raise_for_status()
    (folder / str(versions[0])).rename(folder.parent.parent / f"{folder.name}-{versions[0]}")
    httpx.post(f"{service.url}/admin/reload", timeout=60).raise_for_status()


def _line(at_s: float, traffic: Traffic, sample: Sample) -> str:
    all_ = processes.together(sample.held.values())
    return (
        f"{at_s:5.0f} s: {sum(traffic.asked.values()):,} requests, {sum(traffic.unexpected.values())} unexpected; "
        f"{all_.uss_bytes / MIB:.1f} MiB, {all_.descriptors} descriptors, {all_.threads} threads"
    )


def _held(samples: Sequence[Sample]) -> Held:
    found = [processes.together(sample.held.values()) for sample in samples]
    return Held(
        int(statistics.median(held.uss_bytes for held in found)),
        int(statistics.median(held.descriptors for held in found)),
        min(held.threads for held in found),
    )
