"""What becomes of requests beyond saturation, and what it costs to turn one away."""

import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from load_tests.chaos.answers import port_of
from load_tests.chaos.promises import Promise
from load_tests.generator import Load, run
from load_tests.overload import IMAGES, REQUEST, Overloaded, overload
from service.admission import KEPT_S
from service.settings import load_settings
from tests.service.server import ROOT, running

TIMES, SECONDS = 5.0, 60.0
GOODPUT, RETURNED, HEALTH_MS = 0.9, 0.95, 200.0
WORKERS = 2
QUEUED = load_settings().max_queued_images + 2 * IMAGES
"""What may stand before a request in a worker, in images, beside those with a place: what waits, and two runs."""
REST_S = 2.0
LOOPS, LOOP_S, WARM_UP_S = 12, 5.0, 0.5
"""As long as the load itself: a machine that comes from less work may be faster for a while (320 requests a second, and
296 in the course of a minute, of the same loop)."""
ROUNDS = 3
"""Of loops and a load beyond saturation: within a minute a machine's speed wanders by more than GOODPUT leaves."""


@dataclass(frozen=True)
class Beyond:
    """Rates in requests a second, CPU of all processes of the service.

    `loops_rps`: of closed loops before each of the loads in `rounds`, and after the last.
    """

    loops_rps: tuple[tuple[float, ...], ...]
    rounds: tuple[Overloaded, ...]
    cpu_ms_per_answer_below: float
    cpu_ms_per_answer_beyond: float
    cpu_us_per_refusal: float

    @property
    def capacities_rps(self) -> list[float]:
        """At each load: the mean of the loops on both its sides, as the speed that the machine may have had then."""
        return [statistics.mean((*before, *after)) for before, after in pairwise(self.loops_rps)]

    @property
    def goodput(self) -> float:
        """Of all loads together, as a part of what the service can do."""
        return sum(told.goodput_rps for told in self.rounds) / sum(self.capacities_rps)

    def promises(self) -> list[Promise]:
        waits = [
            (told.p50_ms, told.p99_ms, _bound_ms(capacity_rps))
            for told, capacity_rps in zip(self.rounds, self.capacities_rps, strict=True)
        ]
        others: Counter[str] = Counter()
        for told in self.rounds:
            others.update(told.other)
        refused, without_time, returned, accepted, asked, failed = (
            sum(getattr(told, name) for told in self.rounds)
            for name in (
                "refused",
                "refused_without_time",
                "returned",
                "returned_accepted",
                "health_asked",
                "health_failed",
            )
        )
        health_ms = [told.health_p99_ms for told in self.rounds]
        return [
            Promise(
                f"beyond saturation at least {GOODPUT:.0%} of what is answered below it",
                f"{_each(told.offered_rps for told in self.rounds)} requests a second came, "
                f"{_each(told.goodput_rps for told in self.rounds)} were answered in time, {self.goodput:.0%} of what "
                f"closed loops had before, between and after the loads "
                f"({', '.join(_each(loops) for loops in self.loops_rps)}); CPU of an answer "
                f"{self.cpu_ms_per_answer_below:.1f} ms below, {self.cpu_ms_per_answer_beyond:.1f} ms beyond, with the "
                "refusals",
                self.goodput >= GOODPUT,
            ),
            Promise(
                "who is accepted waits no longer than what may stand before takes",
                "; ".join(
                    f"p50 {_each([p50_ms])} ms, p99 {_each([p99_ms])} ms, {bound_ms:.0f} allowed"
                    for p50_ms, p99_ms, bound_ms in waits
                ),
                all(p99_ms is not None and p99_ms <= bound_ms for _, p99_ms, bound_ms in waits),
            ),
            Promise(
                "all others are told when to come, and find room then",
                f"{refused} refused, at {self.cpu_us_per_refusal:.0f} us of CPU each, {without_time} without a time; "
                f"other faults: {dict(others) or 'none'}; {accepted} of {returned} who came when told were accepted",
                without_time == 0 and not others and accepted >= RETURNED * returned > 0,
            ),
            Promise(
                "/livez and /readyz answer 200 all the while",
                f"{failed} of {asked} failed, p99 {_each(health_ms)} ms; {HEALTH_MS:.0f} allowed",
                failed == 0 and all(p99_ms is not None and p99_ms < HEALTH_MS for p99_ms in health_ms),
            ),
        ]


def _bound_ms(capacity_rps: float) -> float:
    """Of who is accepted: until what may stand before is done, as fast as the goodput has to be."""
    return 1000 * (KEPT_S + QUEUED / (IMAGES * GOODPUT * capacity_rps / WORKERS))


def _each(values: Iterable[float | None]) -> str:
    return " ".join("–" if value is None else f"{value:.0f}" for value in values)


def beyond(python: Path, scratch: Path) -> Beyond:
    with running(ROOT / "models", scratch, python=python, workers=WORKERS) as service:
        port, process = port_of(service.url), psutil.Process(service.process.pid)
        loops, rounds = [_loops(port, process)], []
        beyond_s = 0.0
        for _ in range(ROUNDS):
            begin_s = _cpu_s(process)
            rounds.append(overload(port, TIMES * statistics.mean(loops[-1].rps), SECONDS))
            beyond_s += _cpu_s(process) - begin_s
            time.sleep(REST_S)
            loops.append(_loops(port, process))
    with running(ROOT / "models", scratch, python=python, workers=WORKERS, max_queued_images=0) as service:
        refusal_us = _refusal_us(port_of(service.url), psutil.Process(service.process.pid))
    return Beyond(
        loops_rps=tuple(each.rps for each in loops),
        rounds=tuple(rounds),
        cpu_ms_per_answer_below=1000
        * sum(each.cpu_s for each in loops)
        / sum(each.answers for each in loops),
        cpu_ms_per_answer_beyond=1000 * beyond_s / max(sum(told.accepted for told in rounds), 1),
        cpu_us_per_refusal=refusal_us,
    )


class _Loops(NamedTuple):
    """Requests a second of each, and of all the CPU and the answers; all without the warm-ups."""

    rps: tuple[float, ...]
    cpu_s: float
    answers: int


def _loops(port: int, process: psutil.Process) -> _Loops:
    begin_s = _cpu_s(process)
    found = [
        run(Load(port, REQUEST, connections=8, seconds=LOOP_S, warm_up_s=WARM_UP_S)) for _ in range(LOOPS)
    ]
    return _Loops(
        tuple(measured.rps for measured in found),
        (_cpu_s(process) - begin_s) * LOOP_S / (LOOP_S + WARM_UP_S),
        sum(measured.ok for measured in found),
    )


def _refusal_us(port: int, process: psutil.Process) -> float:
    """Of a service that refuses everything: microseconds of CPU a request."""
    before_s = _cpu_s(process)
    measured = run(Load(port, REQUEST, connections=16, seconds=3.0, warm_up_s=0.0))
    if set(measured.failed) != {"429"}:
        raise RuntimeError(f"not everything was refused: {measured}")
    return 1e6 * (_cpu_s(process) - before_s) / measured.failures


def _cpu_s(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))
