"""What the service does below saturation: in closed loops, and when requests arrive nearly as fast as it answers."""

import statistics
import time
from dataclasses import dataclass

from load_tests.generator import Load, run
from load_tests.overload import REQUEST, Overloaded, overload
from load_tests.processes import cpu_s

LOOPS, LOOP_S, WARM_UP_S = 12, 5.0, 0.5
"""As long as the load beyond saturation: a machine that comes from less work may be faster for a while (320 requests a
second, and 296 in the course of a minute, of the same loop)."""
PARTS, ARRIVALS_S = (0.85, 0.9, 0.95, 1.0), 10.0
"""Of what the loops had: the rates at which requests arrive, by the same generator as beyond saturation."""
REST_S = 2.0


@dataclass(frozen=True)
class Below:
    """Rates in requests a second; `cpu_s` of all processes of the service, for the `answers` of the loops."""

    loops_rps: tuple[float, ...]
    cpu_s: float
    answers: int
    arrivals: tuple[Overloaded, ...]

    @property
    def kept_up(self) -> list[float]:
        """The goodput at each rate at which nobody was refused: these are below saturation."""
        return [told.goodput_rps for told in self.arrivals if not told.refused and not told.other]


def below(port: int, pid: int, loops: int = LOOPS, arrivals_s: float = ARRIVALS_S) -> Below:
    begin_s = cpu_s(pid)
    looped = [
        run(Load(port, REQUEST, connections=8, seconds=LOOP_S, warm_up_s=WARM_UP_S)) for _ in range(loops)
    ]
    without_warm_up = LOOP_S / (LOOP_S + WARM_UP_S)
    used_s = (cpu_s(pid) - begin_s) * without_warm_up
    mean_rps = statistics.mean(loop.rps for loop in looped)
    arrivals = []
    for part in PARTS:
        arrivals.append(overload(port, part * mean_rps, arrivals_s))
        time.sleep(REST_S)
    return Below(tuple(loop.rps for loop in looped), used_s, sum(loop.ok for loop in looped), tuple(arrivals))
