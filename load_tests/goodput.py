"""The highest rate of arrivals that a server keeps up with: p99 within a bound, no failures, nothing left behind."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from load_tests.generator import Measured

P99_MS = 50.0
BEHIND = 0.98
"""Answers that must come within the time of the load, as a part of the requests."""
FACTOR = 1.3
HALVINGS = 3
"""Of the last step, on a logarithmic scale: the answer is within 1.3^(1/8) = 3.3 %."""
TRIES = 2
"""At a rate that was not kept: one bad second of the machine is not the server's limit."""
LOWEST_RPS = 1.0


@dataclass(frozen=True)
class Step:
    """A rate that was tried, requests a second."""

    rate: float
    measured: Measured

    @property
    def kept(self) -> bool:
        m = self.measured
        if m.failures or m.p99_ms is None or m.rps < BEHIND * m.offered:
            return False
        return m.p99_ms <= P99_MS


def search(measure: Callable[[float], Measured], start: float) -> list[Step]:
    """Try rates from `start`, up by FACTOR until one is not kept, or down until one is; then halve the gap.

    Returns:
        Every step. `best` gives the goodput.
    """
    steps: list[Step] = []

    def keeps(rate: float) -> bool:
        for _ in range(TRIES):
            steps.append(Step(rate, measure(rate)))
            if steps[-1].kept:
                return True
        return False

    good, bad = 0.0, math.inf
    rate = max(start, LOWEST_RPS)
    while not good or math.isinf(bad):
        if keeps(rate):
            good, rate = rate, rate * FACTOR
        else:
            bad, rate = rate, rate / FACTOR
            if rate < LOWEST_RPS and not good:
                return steps
    for _ in range(HALVINGS):
        rate = math.sqrt(good * bad)
        if keeps(rate):
            good = rate
        else:
            bad = rate
    return steps


def best(steps: list[Step]) -> Step | None:
    """The highest rate that was kept; None where none was."""
    return max((step for step in steps if step.kept), key=lambda step: step.rate, default=None)
