"""The search for the goodput, on servers whose answer is a formula."""

from collections.abc import Callable

import pytest

from load_tests import goodput
from load_tests.generator import Measured


def measured(rate: float, p99_ms: float | None = 10.0, rps: float | None = None, **failed: int) -> Measured:
    return Measured(
        seconds=1.0,
        sent=round(rate),
        ok=round(rate),
        failed=failed,
        offered=rate,
        rps=rate if rps is None else rps,
        p50_ms=1.0,
        p90_ms=5.0,
        p99_ms=p99_ms,
        max_ms=p99_ms,
        body_bytes=0,
        cpu=0.1,
    )


def limited(limit: float) -> Callable[[float], Measured]:
    return lambda rate: measured(rate, p99_ms=10.0 if rate <= limit else 200.0)


def climbed(measure: Callable[[float], Measured], start: float) -> goodput.Climb:
    climb = goodput.Climb(start)
    while not climb.is_over:
        climb.note(measure(climb.rate))
    return climb


@pytest.mark.parametrize("start", [1.0, 100.0, 850.0, 5000.0])
def test_the_limit_is_found_from_below_and_from_above(start: float) -> None:
    found = goodput.best(climbed(limited(800.0), start).steps)
    assert found is not None
    assert 800 / goodput.FACTOR < found.rate <= 800


def test_each_condition_is_needed() -> None:
    def kept(m: Measured) -> bool:
        return goodput.Step(100.0, m).kept

    assert kept(measured(100.0, p99_ms=50.0, rps=98.0))
    assert not kept(measured(100.0, p99_ms=50.1))
    assert not kept(measured(100.0, rps=97.9))
    assert not kept(measured(100.0, reset=1))
    assert not kept(measured(100.0, p99_ms=None))


def test_one_bad_second_is_not_the_limit() -> None:
    tried: list[float] = []

    def with_hiccups(rate: float) -> Measured:
        tried.append(rate)
        return measured(rate, p99_ms=300.0) if len(tried) in (2, 5, 6) else limited(800.0)(rate)

    found = goodput.best(climbed(with_hiccups, 500.0).steps)
    assert tried[1] == tried[2]
    assert tried[4] == tried[5] < tried[6]
    assert found is not None
    assert found.rate > 800 / goodput.FACTOR


def test_a_climb_ends_soon_after_the_limit() -> None:
    rates = [step.rate for step in climbed(limited(800.0), 780.0).steps]
    assert rates == pytest.approx([780, 780 * 1.08, 780 * 1.08, 780 * 1.08**2])


def test_a_server_that_keeps_up_with_nothing_ends_the_search() -> None:
    climb = climbed(lambda rate: measured(rate, p99_ms=500.0), 10.0)
    assert goodput.best(climb.steps) is None
    assert min(step.rate for step in climb.steps) >= goodput.LOWEST_RPS
