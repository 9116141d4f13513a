"""The highest rate of arrivals that a server keeps up with: p99 within a bound, no failures, nothing left behind."""

from dataclasses import dataclass, field

from load_tests.generator import Measured

P99_MS = 50.0
BEHIND = 0.98
"""Answers that must come within the time of the load, as a part of the requests."""
FACTOR = 1.08
"""From one rate to the next: the answer is within 8 %."""
DOWN = 1.3
"""Where not even the first rate is kept."""
TRIES = 2
"""At a rate that was not kept: one bad second of the machine is not the server's limit."""
BEYOND = 1
"""Tries at the rate after it, for the same reason."""
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


@dataclass
class Climb:
    """The search of one server, a step at a time: between its steps others can take theirs, on the same machine.

    Upwards from the first rate by FACTOR, until one was not kept TRIES times and the next was not either.

    Args:
        rate: the next to be tried, requests a second.
    """

    rate: float
    steps: list[Step] = field(default_factory=list)
    is_over: bool = False
    _failed: int = 0

    def note(self, measured: Measured) -> None:
        """What came of the rate."""
        step = Step(self.rate, measured)
        self.steps.append(step)
        self._failed = 0 if step.kept else self._failed + 1
        if step.kept:
            self.rate *= FACTOR
        elif best(self.steps) is None:
            if self._failed == TRIES:
                self.rate, self._failed = self.rate / DOWN, 0
                self.is_over = self.rate < LOWEST_RPS
        elif self._failed == TRIES:
            self.rate *= FACTOR
        elif self._failed == TRIES + BEYOND:
            self.is_over = True


def best(steps: list[Step]) -> Step | None:
    """The highest rate that was kept; None where none was."""
    return max((step for step in steps if step.kept), key=lambda step: step.rate, default=None)
