"""What becomes of requests beyond saturation, and what it costs to turn one away."""

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from load_tests.chaos.answers import port_of
from load_tests.chaos.below import REST_S, Below, below
from load_tests.chaos.promises import Promise
from load_tests.generator import Load, run
from load_tests.overload import IMAGES, REQUEST, Overloaded, overload
from load_tests.processes import cpu_s
from service.admission import KEPT_S
from service.settings import load_settings
from tests.service.server import ROOT, running

TIMES, SECONDS = 5.0, 60.0
GOODPUT, RETURNED, HEALTH_MS = 0.9, 0.95, 200.0
WORKERS = 2
QUEUED = load_settings().max_queued_images + 2 * IMAGES
"""What may stand before a request in a worker, in images, beside those with a place: what waits, and two runs."""
ROUNDS = 3
"""Of loads below and beyond saturation: within a minute a machine's speed wanders by more than GOODPUT leaves."""


@dataclass(frozen=True)
class Beyond:
    """`below`: before each of the loads in `rounds`, and after the last. CPU of all processes of the service."""

    below: tuple[Below, ...]
    rounds: tuple[Overloaded, ...]
    cpu_ms_per_answer_beyond: float
    cpu_us_per_refusal: float

    @property
    def capacities_rps(self) -> list[float]:
        """At each load: the mean of the loops on both its sides, as the speed that the machine may have had then."""
        return [
            statistics.mean((*before.loops_rps, *after.loops_rps)) for before, after in pairwise(self.below)
        ]

    @property
    def goodput_of_loops(self) -> float:
        """Of all loads together, as a part of what closed loops have."""
        return sum(told.goodput_rps for told in self.rounds) / sum(self.capacities_rps)

    @property
    def bests_rps(self) -> list[float]:
        """At each load: the best goodput below saturation on either side of it; infinite where there was none."""
        return [
            max((*before.kept_up, *after.kept_up), default=math.inf) for before, after in pairwise(self.below)
        ]

    @property
    def goodputs(self) -> list[float]:
        """Of each load, as a part of the best below saturation."""
        return [told.goodput_rps / best for told, best in zip(self.rounds, self.bests_rps, strict=True)]

    @property
    def cpu_ms_per_answer_below(self) -> float:
        return 1000 * sum(each.cpu_s for each in self.below) / sum(each.answers for each in self.below)

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
                f"of {TIMES:g} times as many at least {GOODPUT:.0%} of the best goodput below saturation",
                f"{_each(told.offered_rps for told in self.rounds)} requests a second came, "
                f"{_each(told.goodput_rps for told in self.rounds)} were answered in time, "
                f"{', '.join(f'{part:.1%}' for part in self.goodputs)} of the best before or after "
                f"({_each(self.bests_rps)}) at which nobody was refused: of "
                + "; ".join(", ".join(map(_arrival, each.arrivals)) for each in self.below),
                all(part >= GOODPUT for part in self.goodputs),
            ),
            Promise(
                f"and at least {GOODPUT:.0%} of what closed loops have, which never wait for a request to arrive",
                f"{self.goodput_of_loops:.1%} of those before, between and after the loads "
                f"({', '.join(_each(each.loops_rps) for each in self.below)}); CPU of an answer "
                f"{self.cpu_ms_per_answer_below:.1f} ms below, {self.cpu_ms_per_answer_beyond:.1f} ms beyond, with the "
                "refusals",
                self.goodput_of_loops >= GOODPUT,
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


def _arrival(told: Overloaded) -> str:
    refused = f" ({told.refused} refused)" if told.refused else ""
    return f"{told.goodput_rps:.0f} of {told.offered_rps:.0f}{refused}"


def _each(values: Iterable[float | None]) -> str:
    return " ".join("–" if value is None else f"{value:.0f}" for value in values)


def beyond(python: Path, scratch: Path) -> Beyond:
    with running(ROOT / "models", scratch, python=python, workers=WORKERS) as service:
        port, pid = port_of(service.url), service.process.pid
        belows, rounds = [below(port, pid)], []
        beyond_s = 0.0
        for _ in range(ROUNDS):
            begin_s = cpu_s(pid)
            offered_rps = TIMES * statistics.mean(belows[-1].loops_rps)
            rounds.append(overload(port, offered_rps, SECONDS))
            beyond_s += cpu_s(pid) - begin_s
            time.sleep(REST_S)
            belows.append(below(port, pid))
    with running(ROOT / "models", scratch, python=python, workers=WORKERS, max_queued_images=0) as service:
        refusal_us = _refusal_us(port_of(service.url), service.process.pid)
    return Beyond(
        below=tuple(belows),
        rounds=tuple(rounds),
        cpu_ms_per_answer_beyond=1000 * beyond_s / max(sum(told.accepted for told in rounds), 1),
        cpu_us_per_refusal=refusal_us,
    )


def _refusal_us(port: int, pid: int) -> float:
    """Of a service that refuses everything: microseconds of CPU a request."""
    before_s = cpu_s(pid)
    measured = run(Load(port, REQUEST, connections=16, seconds=3.0, warm_up_s=0.0))
    if set(measured.failed) != {"429"}:
        raise RuntimeError(f"not everything was refused: {measured}")
    return 1e6 * (cpu_s(pid) - before_s) / measured.failures
