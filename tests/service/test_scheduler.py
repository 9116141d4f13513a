"""Jobs of several requests on one thread: what shares a run, what waits, and what a fault touches."""

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service import manifest, telemetry
from service.runtime import Graph
from service.scheduler import Job, Part, Scheduler, Work
from service.steps import run

Array = NDArray[Any]
ROWS = 8


class Doubling:
    """In place of an onnxruntime session: gives 2 x, and remembers the runs. Rows of 13 are its bad luck."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, names: list[str], feed: Mapping[str, Array]) -> list[Array]:
        self.gate.wait(5)
        x = feed["x"]
        self.runs.append(x[:, 0].tolist())
        if 13 in x:
            raise RuntimeError("unlucky")
        return [2 * x]


def graph(session: Doubling) -> Graph:
    x, y = (manifest.Tensor(name=name, dtype="float32", shape=("N", 1)) for name in "xy")
    return Graph(session, manifest.Operation(graph="g.onnx", inputs=(x,), outputs=(y,)), ROWS)


def rows(*values: float) -> Array:
    return np.array(values, np.float32)[:, None]


def doubled(graph: Graph, x: Array) -> Work:
    (y,) = yield from run(graph, x=x)
    return y[:, 0].tolist()


def job(work: Work) -> Job:
    return Job(work, telemetry.Record("sample", "id"))


async def done_together(scheduler: Scheduler, session: Doubling, works: list[Work]) -> list[Any]:
    """The results of jobs that all arrive while the session is busy with another."""
    session.gate.clear()
    first = job(doubled(graph(session), rows(0)))
    scheduler.submit(first)
    jobs = [job(work) for work in works]
    for one in jobs:
        scheduler.submit(one)
    session.gate.set()
    await first.result()
    session.runs.pop(0)
    return await asyncio.gather(*(one.result() for one in jobs), return_exceptions=True)


async def test_requests_of_one_graph_share_a_run() -> None:
    session = Doubling()
    g = graph(session)
    works = [doubled(g, rows(*x)) for x in ([1], [2, 3], [4])]
    assert await done_together(Scheduler(ROWS), session, works) == [[2], [4, 6], [8]]
    assert session.runs == [[1, 2, 3, 4]]


async def test_no_run_is_longer_than_the_limit() -> None:
    session = Doubling()
    g = graph(session)
    works = [doubled(g, rows(i, i + 100)) for i in range(1, 5)]
    assert await done_together(Scheduler(3), session, works) == [[2 * i, 2 * i + 200] for i in range(1, 5)]
    assert all(len(found) <= 3 for found in session.runs)
    assert session.runs[0] == [1, 101, 2]  # a request's rows may lie in two runs


async def test_with_a_limit_of_one_no_run_is_shared_and_none_is_cut() -> None:
    session = Doubling()
    g = graph(session)
    assert await done_together(Scheduler(1), session, [doubled(g, rows(1, 2)), doubled(g, rows(3))]) == [
        [2, 4],
        [6],
    ]
    assert session.runs == [[1, 2], [3]]


async def test_two_graphs_do_not_share() -> None:
    one, other = Doubling(), Doubling()
    works = [doubled(graph(one), rows(1)), doubled(graph(other), rows(2))]
    assert await done_together(Scheduler(ROWS), one, works) == [[2], [4]]
    assert (one.runs, other.runs) == ([[1]], [[2]])


async def test_a_long_request_lets_short_ones_pass() -> None:
    session, order = Doubling(), []
    long, short = graph(session), graph(session)

    def told(name: str, work: Work) -> Work:
        result = yield from work
        order.append(name)
        return result

    works = [told("long", doubled(long, rows(*range(20, 45)))), told("short", doubled(short, rows(1)))]
    results = await done_together(Scheduler(ROWS), session, works)
    assert results == [[2 * i for i in range(20, 45)], [2]]
    assert order == ["short", "long"]
    assert [len(found) for found in session.runs] == [8, 1, 8, 8, 1]


async def test_only_the_one_at_fault_hears_of_it() -> None:
    session = Doubling()
    g = graph(session)
    good, bad, also_good = await done_together(
        Scheduler(ROWS), session, [doubled(g, rows(1)), doubled(g, rows(13)), doubled(g, rows(2, 3))]
    )
    assert (good, also_good) == ([2], [4, 6])
    assert isinstance(bad, RuntimeError)
    assert session.runs == [[1, 13, 2, 3], [1], [13], [2, 3]]


async def test_where_memory_does_not_suffice_for_all_each_is_computed_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def concatenate(arrays: object) -> Array:
        raise MemoryError

    monkeypatch.setattr("service.scheduler.np.concatenate", concatenate)
    session = Doubling()
    g = graph(session)
    assert await done_together(Scheduler(ROWS), session, [doubled(g, rows(1)), doubled(g, rows(2))]) == [
        [2],
        [4],
    ]
    assert session.runs == [[1], [2]]


async def test_the_thread_outlives_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    g, scheduler = graph(Doubling()), Scheduler(ROWS)

    def stubborn() -> Work:
        try:
            yield Part(b"")
            yield from run(g, x=rows(1))
        finally:
            raise ZeroDivisionError

    left = job(stubborn())
    scheduler.submit(left)
    assert await left.result() == Part(b"")
    left.is_wanted = False
    scheduler.submit(left)
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "_next", lambda self: 1 / 0)
        lost = job(doubled(g, rows(2)))
        scheduler.submit(lost)
        await asyncio.sleep(0.05)
    after = job(doubled(g, rows(3)))
    scheduler.submit(after)
    assert await after.result() == [6]


async def test_an_operation_can_mend_what_a_graph_raises() -> None:
    g = graph(Doubling())

    def careful() -> Work:
        try:
            yield from run(g, x=rows(13))
        except RuntimeError:
            return (yield from doubled(g, rows(1)))

    one = job(careful())
    Scheduler(ROWS).submit(one)
    assert await one.result() == [2]


async def test_wrong_inputs_are_the_operations_fault() -> None:
    one = job(run(graph(Doubling()), x=np.zeros((1, 2), np.float32)))
    Scheduler(ROWS).submit(one)
    with pytest.raises(ValueError, match="x must be float32"):
        await one.result()


async def test_nobody_waits_nobody_computes() -> None:
    session, closed = Doubling(), []
    g = graph(session)

    def work() -> Work:
        try:
            yield from run(g, x=rows(7))
            yield from run(g, x=rows(8))
        finally:
            closed.append(True)

    scheduler = Scheduler(ROWS)
    session.gate.clear()
    busy, left = job(doubled(graph(session), rows(0))), job(work())
    scheduler.submit(busy)
    scheduler.submit(left)
    waiting = asyncio.create_task(left.result())
    await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    session.gate.set()
    await busy.result()
    last = job(doubled(g, rows(9)))
    scheduler.submit(last)
    assert await last.result() == [18]
    assert session.runs == [[0], [9]]
    assert closed in ([], [True])  # closed where it had begun


async def test_parts_come_one_by_one() -> None:
    g = graph(Doubling())

    def work() -> Work:
        for value in (1, 2):
            (y,) = yield from run(g, x=rows(value))
            yield Part(b"%d" % y[0, 0])
        return None

    scheduler, one = Scheduler(ROWS), job(work())
    for expected in (Part(b"2"), Part(b"4"), None):
        scheduler.submit(one)
        assert await one.result() == expected


async def test_inference_is_timed_for_each_request() -> None:
    session = Doubling()
    one = job(doubled(graph(session), rows(1)))
    session.gate.clear()
    started = time.perf_counter()
    Scheduler(ROWS).submit(one)
    threading.Timer(0.05, session.gate.set).start()
    await one.result()
    assert 0.03 < one.record.inference_s <= time.perf_counter() - started
