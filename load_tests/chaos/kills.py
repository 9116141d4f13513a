"""Workers that are killed, and a service that is told to stop, amid requests."""

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from load_tests import processes
from load_tests.chaos.answers import back_s, port_of, rate
from load_tests.chaos.promises import Promise
from load_tests.generator import Answer, Load, Request, Run, run
from tests.service.server import Service

BACK_S = 5.0
RESTORED = 0.9
"""Of the throughput before."""
WINDOW_S = 1.0
STOPPED_S = 0.2
"""A worker is stopped for so long before it is killed: so it is known who waits for it."""
END_S = 20.0


@dataclass(frozen=True)
class Kill:
    """Of one worker.

    `elsewhere`: requests that failed though they were not on their way to it, by fault; `back_s`: until there was again
    RESTORED of the throughput that was there just before.
    """

    in_flight: int
    failed: int
    elsewhere: dict[str, int]
    back_s: float


@dataclass(frozen=True)
class Kills:
    """Each kill, and right answers a second afterwards: of the service, and in turns with it of one just started."""

    kills: tuple[Kill, ...]
    after_rps: float
    fresh_rps: float

    def promises(self) -> list[Promise]:
        failed, in_flight = sum(k.failed for k in self.kills), sum(k.in_flight for k in self.kills)
        elsewhere = sum((Counter(k.elsewhere) for k in self.kills), Counter[str]())
        latest_s = max(k.back_s for k in self.kills)
        return [
            Promise(
                "a worker that is killed takes with it the requests that were on their way to it, and no other",
                f"{len(self.kills)} killed: of {in_flight} requests on their way {failed} failed; "
                f"of all others {sum(elsewhere.values())}",
                failed <= in_flight and not elsewhere,
            ),
            Promise(
                f"{RESTORED:.0%} of the throughput are back within {BACK_S:g} s",
                f"after {latest_s:.1f} s at the latest",
                latest_s <= BACK_S,
            ),
            Promise(
                f"afterwards it has at least {RESTORED:.0%} of the throughput of one just started",
                f"{self.after_rps:,.0f} requests/s of {self.fresh_rps:,.0f}",
                self.after_rps >= RESTORED * self.fresh_rps,
            ),
        ]


@dataclass(frozen=True)
class Stop:
    """`answered`: requests, from SIGTERM on; `lost`: by fault, those that were not, though a connection was there."""

    answered: int
    lost: dict[str, int]
    status: int | None
    seconds: float

    def promises(self) -> list[Promise]:
        return [
            Promise(
                "at SIGTERM no accepted request is lost, and the exit status is 0",
                f"{self.answered} answered from then on, {sum(self.lost.values())} lost; status {self.status}, "
                f"after {self.seconds:.1f} s",
                not self.lost and self.status == 0 and self.answered > 0,
            )
        ]


class _Loads:
    """Clients that ask without pause: half of them over one connection as long as it is kept, half over new ones."""

    def __init__(self, service: Service, request: Request, connections: int, seconds: float) -> None:
        load = Load(port_of(service.url), request, connections=connections // 2, seconds=seconds, warm_up_s=0)
        once = replace(request, headers={**request.headers, "Connection": "close"})
        self.answers: list[Answer] = []
        runs = [Run(one, self.answers.append) for one in (load, replace(load, request=once))]
        self._measuring = [asyncio.ensure_future(run.measure()) for run in runs]

    async def unanswered(self) -> int:
        """Once they have ended."""
        measured = await asyncio.gather(*self._measuring)
        return sum(one.failed.get("unanswered", 0) for one in measured)


async def kills(
    service: Service,
    request: Request,
    *,
    times: int = 5,
    connections: int = 16,
    before_s: float = 3.0,
    settle_s: float = 6.0,
) -> tuple[Kill, ...]:
    """Kill a worker of two, `times` times, `settle_s` apart, under a closed loop of load."""
    loads = _Loads(service, request, connections, 1 + before_s + times * (settle_s + STOPPED_S))
    await asyncio.sleep(1 + before_s)
    found = [await _kill(service, loads.answers, before_s, settle_s) for _ in range(times)]
    if unanswered := await loads.unanswered():
        found[-1].elsewhere["unanswered"] = unanswered
    return tuple(found)


def in_turns(
    services: Sequence[Service], request: Request, *, turns: int = 4, seconds: float = 3.0
) -> list[float]:
    """Right answers a second of each in a closed loop, seconds after the others: a machine's speed wanders."""
    pids, found = [service.process.pid for service in services], [0.0] * len(services)
    for pid in pids:
        processes.stop(pid)
    for _ in range(turns):
        for i, service in enumerate(services):
            processes.go_on(pids[i])
            found[i] += run(Load(port_of(service.url), request, connections=8, seconds=seconds)).rps / turns
            processes.stop(pids[i])
    for pid in pids:
        processes.go_on(pid)
    return found


async def _kill(service: Service, answers: list[Answer], before_s: float, settle_s: float) -> Kill:
    # That with the most to lose.
    pid = max(service.workers(), key=lambda worker: len(processes.client_ports(worker)))
    before_rps = rate(answers, time.perf_counter() - before_s, time.perf_counter())
    begin = len(answers)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    held = processes.client_ports(pid)
    os.kill(pid, signal.SIGKILL)
    killed_s = time.perf_counter()
    await asyncio.sleep(settle_s)
    faults = [answer for answer in answers[begin:] if answer.fault is not None]
    elsewhere = Counter(a.fault or "" for a in faults if a.fault != "reset" or a.port not in held)
    return Kill(
        in_flight=len(held),
        failed=len(faults) - sum(elsewhere.values()),
        elsewhere=dict(elsewhere),
        back_s=back_s(answers, killed_s, killed_s + settle_s, RESTORED * before_rps, WINDOW_S),
    )


async def stop(
    service: Service, request: Request, *, connections: int = 16, before_s: float = 2.0, after_s: float = 3.0
) -> Stop:
    """Tell the service to end, under the same load; `after_s`: how long clients go on asking."""
    loads = _Loads(service, request, connections, before_s + after_s)
    await asyncio.sleep(before_s)
    begin, begin_s = len(loads.answers), time.perf_counter()
    service.process.terminate()
    status: int | None = None
    with suppress(subprocess.TimeoutExpired):
        status = await asyncio.to_thread(service.process.wait, END_S)
    seconds = time.perf_counter() - begin_s
    lost = Counter({"unanswered": await loads.unanswered()})
    # Who is refused a connection has not been accepted, and knows it at once.
    lost.update(a.fault for a in loads.answers if a.fault not in (None, "refused"))
    answered = sum(answer.fault is None for answer in loads.answers[begin:])
    return Stop(answered, dict(+lost), status, seconds)
