"""What becomes of requests beyond saturation, and what it costs to turn one away."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

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
LOOPS = 3


@dataclass(frozen=True)
class Beyond:
    """Rates in requests a second, CPU of all processes of the service.

    `below_rps`, `after_rps`: of closed loops before and after it. Their mean is the capacity: of a machine whose speed
    wanders, that is the speed it may have had meanwhile.
    """

    below_rps: tuple[float, ...]
    after_rps: tuple[float, ...]
    cpu_ms_per_answer_below: float
    cpu_ms_per_answer_beyond: float
    cpu_us_per_refusal: float
    overloaded: Overloaded

    @property
    def capacity_rps(self) -> float:
        return statistics.mean((*self.below_rps, *self.after_rps))

    def promises(self) -> list[Promise]:
        told = self.overloaded
        loops = [" ".join(f"{rps:.0f}" for rps in loops) for loops in (self.below_rps, self.after_rps)]
        least_rps = GOODPUT * self.capacity_rps
        bound_ms = 1000 * (KEPT_S + QUEUED / (IMAGES * least_rps / WORKERS))
        return [
            Promise(
                f"beyond saturation at least {GOODPUT:.0%} of what is answered below it",
                f"{told.offered_rps:.0f} requests a second came, {told.goodput_rps:.1f} were answered in time, "
                f"{told.goodput_rps / self.capacity_rps:.0%} of {self.capacity_rps:.1f} ({loops[0]} before, {loops[1]} "
                f"after it); CPU of an answer {self.cpu_ms_per_answer_below:.1f} ms below, "
                f"{self.cpu_ms_per_answer_beyond:.1f} ms beyond, with the refusals",
                told.goodput_rps >= least_rps,
            ),
            Promise(
                "who is accepted waits no longer than what may stand before takes",
                f"p50 {told.p50_ms:.0f} ms, p99 {told.p99_ms:.0f} ms; {bound_ms:.0f} allowed",
                told.p99_ms is not None and told.p99_ms <= bound_ms,
            ),
            Promise(
                "all others are told when to come, and find room then",
                f"{told.refused} refused, at {self.cpu_us_per_refusal:.0f} us of CPU each, "
                f"{told.refused_without_time} without a time; other faults: {told.other or 'none'}; "
                f"{told.returned_accepted} of {told.returned} who came when told were accepted",
                told.refused_without_time == 0 and not told.other and told.returned_ok >= RETURNED,
            ),
            Promise(
                "/livez and /readyz answer 200 all the while",
                f"{told.health_failed} of {told.health_asked} failed, p99 {told.health_p99_ms:.0f} ms; "
                f"{HEALTH_MS:.0f} allowed",
                told.health_failed == 0 and told.health_p99_ms is not None and told.health_p99_ms < HEALTH_MS,
            ),
        ]


def beyond(python: Path, scratch: Path) -> Beyond:
    with running(ROOT / "models", scratch, python=python, workers=WORKERS) as service:
        port, process = port_of(service.url), psutil.Process(service.process.pid)
        closed = Load(port, REQUEST, connections=8, seconds=5.0)
        begin_s = _cpu_s(process)
        below = [run(closed) for _ in range(LOOPS)]
        below_s = _cpu_s(process) - begin_s
        below_rps = tuple(measured.rps for measured in below)
        overloaded = overload(port, TIMES * statistics.mean(below_rps), SECONDS)
        beyond_s = _cpu_s(process) - begin_s - below_s
        time.sleep(REST_S)
        after_rps = tuple(run(closed).rps for _ in range(LOOPS))
    with running(ROOT / "models", scratch, python=python, workers=WORKERS, max_queued_images=0) as service:
        refusal_us = _refusal_us(port_of(service.url), psutil.Process(service.process.pid))
    return Beyond(
        below_rps=below_rps,
        after_rps=after_rps,
        cpu_ms_per_answer_below=1000 * below_s / sum(measured.ok for measured in below),
        cpu_ms_per_answer_beyond=1000 * beyond_s / max(overloaded.accepted, 1),
        cpu_us_per_refusal=refusal_us,
        overloaded=overloaded,
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
