"""Short forms of `make chaos`. Bounds are wide, as others may want the cores; `make chaos` says how much it is.

Workers that are killed are in test_processes.py, versions that come and go in tests/service/http/test_reload.py.
"""

from collections.abc import Iterator

import pytest

from load_tests.chaos.answers import capacity_rps
from load_tests.chaos.parts import LONG, LONGEST, REQUEST
from load_tests.chaos.slow import slow
from load_tests.chaos.storms import FATES, Storm, timeouts, wave
from load_tests.generator import run_loop
from tests.service.server import ROOT, Service, running

WASTED = 0.25


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    scratch = tmp_path_factory.mktemp("chaos")
    with running(ROOT / "models", scratch, workers=2, head_timeout_s=1, request_timeout_s=2) as service:
        yield service


@pytest.fixture(scope="module")
def normal_rps(service: Service) -> float:
    return 0.3 * run_loop(capacity_rps(service.url, REQUEST, 1.0))


def assert_weathered(storm: Storm) -> None:
    assert storm.others.keys() <= FATES
    assert storm.before_rps > 0.5 * storm.offered_rps
    assert storm.after_rps > 0.7 * storm.before_rps
    assert storm.computed_images > 0
    assert storm.wasted < WASTED


def test_clients_that_leave_are_not_computed_for(service: Service, normal_rps: float) -> None:
    found = run_loop(
        wave(service.url, REQUEST, normal_rps, long=LONG, clients=100, seconds=1.0, around_s=0.8)
    )
    assert_weathered(found)
    assert found.others["left"] > 20


def test_nor_are_requests_whose_time_is_over(service: Service, normal_rps: float) -> None:
    found = run_loop(timeouts(service.url, REQUEST, normal_rps, seconds=1.0, around_s=0.8))
    assert_weathered(found)
    assert found.others["504"] > 20


def test_slow_clients_are_in_nobodys_way_and_leave_nothing_behind(
    service: Service, normal_rps: float
) -> None:
    found = run_loop(
        slow(
            service,
            REQUEST,
            normal_rps,
            long=LONGEST,
            heads=100,
            bodies=100,
            readers=2,
            readers_rps=1.0,
            seconds=6.0,
            before_s=1.0,
            rest_s=1.5,
            rounds=1,
        )
    )
    assert found.failed == {}
    assert found.during_p99_ms < 10 * max(found.before_p99_ms, 50.0)
    assert (found.heads_ended, found.bodies_answered) == (100, 100)
    assert found.readers_ended == found.readers > 0
    assert found.during.descriptors > found.before.descriptors + 100
    assert found.after.descriptors <= found.before.descriptors
    assert found.growth < 0.5
