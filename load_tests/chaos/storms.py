"""Many who do not wait for long, beside a load that the service can well do: clients that leave, and deadlines."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from load_tests.chaos.answers import goodput, metric, port_of
from load_tests.chaos.promises import Promise
from load_tests.generator import FIRST_SEED, Answer, Load, Request, Run
from service.telemetry.record import FLUSH_S

NORMAL = 0.5
"""The load that is there all the time, as a part of what the service can do."""
IN_TIME_S = 0.5
"""What comes later is no good answer, for its goodput."""
CONNECTIONS = 64
RESTORED, RESTORED_WINDOW = 0.95, 0.9
"""Of the goodput before: after the storm, and in each window of that time."""
BACK_S = 2.0
WINDOW_S = 0.5
WASTED = 0.05
COUNTED_S = 6 * FLUSH_S

FATES = {"200", "429", "504", "left"}

Others = Callable[[float], Awaitable[Counter[str]]]
"""Ask until a time (of perf_counter); what became of their requests: a status, "left" or what else went wrong."""


@dataclass(frozen=True)
class Storm:
    """Goodput of the normal load in requests a second, `others`: what became of the requests of the storm.

    `back_s`: from the end of the storm to the last request that arrived in a window with too little of it. Computed
    and wasted images are those of all from the beginning of the storm to BACK_S after its end.
    """

    what: ClassVar[str]

    offered_rps: float
    before_rps: float
    during_rps: float
    after_rps: float
    back_s: float
    others: dict[str, int]
    computed_images: float
    wasted_images: float

    @property
    def wasted(self) -> float:
        return self.wasted_images / self.computed_images if self.computed_images else 0.0

    def promises(self) -> list[Promise]:
        others = ", ".join(f"{fate}: {count:,}" for fate, count in self.others.items())
        return [
            Promise(
                f"in {self.what} whoever stays is answered, or told why not",
                others,
                self.others.keys() <= FATES,
            ),
            Promise(
                f"{BACK_S:g} s after {self.what} the goodput is what it was",
                f"{self.after_rps:.0f} requests/s in time of {self.offered_rps:.0f} ({self.before_rps:.0f} before, "
                f"{self.during_rps:.0f} during it), from {self.back_s:.1f} s on",
                self.back_s <= BACK_S and self.after_rps >= RESTORED * self.before_rps,
            ),
            Promise(
                f"less than {WASTED:.0%} of the work is done for nobody",
                f"{self.wasted_images:,.0f} of {self.computed_images:,.0f} images ({self.wasted:.1%})",
                self.wasted < WASTED,
            ),
        ]


S = TypeVar("S", bound=Storm)


class Wave(Storm):
    what = "a wave of clients that leave"


class Timeouts(Storm):
    what = "a storm of requests with hardly any time"


async def wave(
    url: str,
    request: Request,
    normal_rps: float,
    *,
    long: Request,
    clients: int = 300,
    patience_s: tuple[float, float] = (0.1, 0.5),
    seconds: float = 4.0,
    around_s: float = 4.0,
) -> Wave:
    """`clients` connect, ask (every fourth for `long`), leave after a while, and come again, for `seconds`."""
    port, dice = port_of(url), random.Random(0)

    async def come(until_s: float, number: int, count: Counter[str]) -> None:
        asked = long if number % 4 == 0 else request
        await asyncio.sleep(dice.uniform(0, patience_s[1]))  # not all in one instant
        while time.perf_counter() < until_s:
            count[await _ask(port, asked, dice.randrange(1_000_000), dice.uniform(*patience_s))] += 1

    async def others(until_s: float) -> Counter[str]:
        count: Counter[str] = Counter()
        await asyncio.gather(*(come(until_s, number, count) for number in range(clients)))
        return count

    return await _around(Wave, url, request, normal_rps, others, seconds, around_s)


async def timeouts(
    url: str,
    request: Request,
    normal_rps: float,
    *,
    timeout_ms: int = 30,
    times: float = 3.0,
    seconds: float = 4.0,
    around_s: float = 4.0,
) -> Timeouts:
    """`times` what the service can do arrives, with `timeout_ms` of time each: most of it passes in the queue."""
    hurried = replace(request, headers={**request.headers, "X-Request-Timeout-Ms": str(timeout_ms)})

    async def others(until_s: float) -> Counter[str]:
        rate_rps = times * normal_rps / NORMAL
        load = Load(port_of(url), hurried, "open", 300, until_s - time.perf_counter(), rate_rps, warm_up_s=0)
        measured = await Run(load).measure()
        return Counter({"200": measured.ok, **measured.failed})

    return await _around(Timeouts, url, request, normal_rps, others, seconds, around_s)


async def _around(
    kind: type[S],
    url: str,
    request: Request,
    normal_rps: float,
    others: Others,
    seconds: float,
    around_s: float,
) -> S:
    """The normal load alone for `around_s`, then with the others, then alone again."""
    answers: list[Answer] = []
    load = Load(
        port_of(url), request, "open", CONNECTIONS, seconds + 2 * around_s + 2 * BACK_S, normal_rps, "uniform"
    )
    measuring = asyncio.ensure_future(Run(load, answers.append).measure())
    await asyncio.sleep(load.warm_up_s + around_s)
    counts = [await _work(url)]
    begin_s = time.perf_counter()
    fates = await others(begin_s + seconds)
    end_s = time.perf_counter()
    await asyncio.sleep(BACK_S)
    counts.append(await _work(url))
    until_s = end_s + BACK_S + around_s
    await asyncio.sleep(until_s - time.perf_counter())
    await measuring
    before_rps = goodput(answers, begin_s - around_s, begin_s, IN_TIME_S)
    return kind(
        offered_rps=normal_rps,
        before_rps=before_rps,
        during_rps=goodput(answers, begin_s, end_s, IN_TIME_S),
        after_rps=goodput(answers, end_s + BACK_S, until_s, IN_TIME_S),
        back_s=_back_s(answers, end_s, until_s, RESTORED_WINDOW * before_rps),
        others=dict(fates.most_common()),
        computed_images=counts[1][0] - counts[0][0],
        wasted_images=counts[1][1] - counts[0][1],
    )


def _back_s(answers: list[Answer], from_s: float, until_s: float, least_rps: float) -> float:
    """The end of the last window that had less, seconds after `from_s`."""
    end_s, last_s = from_s + WINDOW_S, from_s
    while end_s <= until_s:
        if goodput(answers, end_s - WINDOW_S, end_s, IN_TIME_S) < least_rps:
            last_s = end_s
        end_s += WINDOW_S
    return last_s - from_s


async def _work(url: str) -> tuple[float, float]:
    """Images computed and wasted until now."""

    def ask() -> tuple[float, float]:
        time.sleep(COUNTED_S)
        return metric(url, "latentry_computed_images_total"), metric(url, "latentry_wasted_images_total")

    return await asyncio.to_thread(ask)


async def _ask(port: int, request: Request, seed: int, patience_s: float) -> str:
    """Ask over a connection of its own, and wait no longer than that for the whole answer: its status, or "left"."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((b"%d" % (FIRST_SEED + seed)).join(request.parts(f"127.0.0.1:{port}")))
            answer = await reader.readuntil(b"\r\n")
            await reader.readexactly(_length(await reader.readuntil(b"\r\n\r\n")))
            status = answer.split()[1].decode()
        if status != "200":  # it has been told to come later
            await asyncio.sleep(patience_s)
    except TimeoutError:
        return "left"
    except (OSError, asyncio.IncompleteReadError):
        return "lost"
    else:
        return status
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
