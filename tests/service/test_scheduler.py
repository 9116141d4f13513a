"""Jobs of several requests: what shares a run, what waits, what is done aside, and what a fault touches."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service import manifest, telemetry
from service.admission import Admission
from service.job import LOOK_AFTER_S, ClientGoneError, Job, Part, Work
from service.runtime import Graph
from service.scheduler import Scheduler
from service.steps import aside, run
from service.telemetry.logs import request_of_context

Array = NDArray[Any]
ROWS = 8


class Doubling:
    """In place of an onnxruntime session: gives 2 x, and remembers the runs. Rows of 13 are its bad luck."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []

    def run(self, names: list[str], feed: Mapping[str, Array]) -> list[Array]:
        x = feed["x"]
        self.runs.append(x[:, 0].tolist())
        if 13 in x:
            raise RuntimeError("unlucky")
        return [2 * x]


def graph(session: Doubling) -> Graph:
    x, y = (manifest.Tensor(name=name, dtype="float32", shape=("N", 1)) for name in "xy")
    return Graph(session, manifest.Operation(graph="g.onnx", inputs=(x,), outputs=(y,)), run_images=ROWS)


def rows(*values: float) -> Array:
    return np.array(values, np.float32)[:, None]


def doubled(graph: Graph, x: Array) -> Work:
    (y,) = yield from run(graph, x=x)
    return y[:, 0].tolist()


def job(work: Work) -> Job:
    return Job(work, telemetry.Record("sample", "id"))


def scheduling(batch_rows: int, limit: int = 10**6) -> Scheduler:
    return Scheduler(batch_rows, Admission(limit))


def submit(scheduler: Scheduler, one: Job, seconds: float = 10.0) -> "asyncio.Future[Any]":
    """What the job tells next."""
    promise = one.promise(one.loop.time() + seconds)
    scheduler.submit(one)
    return promise


async def done_together(scheduler: Scheduler, works: list[Work]) -> list[Any]:
    """The results of jobs that arrive in one turn of the loop."""
    promises = [submit(scheduler, job(work)) for work in works]
    return await asyncio.gather(*promises, return_exceptions=True)


async def test_requests_of_one_graph_share_a_run() -> None:
    session = Doubling()
    g = graph(session)
    works = [doubled(g, rows(*x)) for x in ([1], [2, 3], [4])]
    assert await done_together(scheduling(ROWS), works) == [[2], [4, 6], [8]]
    assert session.runs == [[1, 2, 3, 4]]


async def test_no_run_is_longer_than_the_limit() -> None:
    session = Doubling()
    g = graph(session)
    works = [doubled(g, rows(i, i + 100)) for i in range(1, 5)]
    assert await done_together(scheduling(3), works) == [[2 * i, 2 * i + 200] for i in range(1, 5)]
    assert all(len(found) <= 3 for found in session.runs)
    assert session.runs[0] == [1, 101, 2]  # a request's rows may lie in two runs


async def test_with_a_limit_of_one_no_run_is_shared_and_none_is_cut() -> None:
    session = Doubling()
    g = graph(session)
    assert await done_together(scheduling(1), [doubled(g, rows(1, 2)), doubled(g, rows(3))]) == [
        [2, 4],
        [6],
    ]
    assert session.runs == [[1, 2], [3]]


async def test_two_graphs_do_not_share() -> None:
    one, other = Doubling(), Doubling()
    works = [doubled(graph(one), rows(1)), doubled(graph(other), rows(2))]
    assert await done_together(scheduling(ROWS), works) == [[2], [4]]
    assert (one.runs, other.runs) == ([[1]], [[2]])


async def test_a_long_request_lets_short_ones_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.scheduler.PIECE_ROWS", 4)
    session, order = Doubling(), []
    g, other = graph(session), graph(session)

    def told(name: str, work: Work) -> Work:
        done = yield from work
        order.append(name)
        return done

    long = range(20, 40)
    works = [told("long", doubled(g, rows(*long)))]
    works += [told("short", doubled(g, rows(1))), told("other", doubled(other, rows(2)))]
    assert await done_together(scheduling(ROWS), works) == [[2 * i for i in long], [2], [4]]
    assert order == ["short", "other", "long"]
    # A short one finds room beside a piece of the long one; another graph has its turn after it.
    assert [len(found) for found in session.runs] == [5, 1, 4, 4, 4, 4]
    assert session.runs[0] == [20, 21, 22, 23, 1]


async def test_a_piece_of_a_long_request_is_half_as_large_as_short_ones_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.scheduler.PIECE_ROWS", 2)
    session, admission = Doubling(), Admission(10**6)
    scheduler = Scheduler(ROWS, admission)
    for images in [1] * 100 + [6] * 100 + [ROWS + 1] * 100:
        await done_together(scheduler, [doubled(graph(Doubling()), rows(*[1] * images))])
    assert admission.request_images == pytest.approx(6, abs=0.1)  # long ones do not count
    await done_together(scheduler, [doubled(graph(session), rows(*range(20, 40)))])
    assert [len(found) for found in session.runs] == [3, 3, 3, 3, 3, 3, 2]


async def test_long_requests_are_done_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.scheduler.PIECE_ROWS", 4)
    session, others = Doubling(), Doubling()
    g, other = graph(session), graph(others)
    longs = [range(start, start + 10) for start in (100, 200, 300)]
    shorts = [doubled(other, rows(i, *range(20, 20 + ROWS - 1))) for i in range(3)]
    found = await done_together(scheduling(ROWS), [*(doubled(g, rows(*long)) for long in longs), *shorts])
    assert found[:3] == [[2 * i for i in long] for long in longs]
    assert [value for run in session.runs for value in run] == [i for long in longs for i in long]
    assert max(map(len, session.runs)) == 4


async def test_short_requests_wait_for_a_piece_of_one_long_request_whatever_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.scheduler.PIECE_ROWS", 4)
    session = Doubling()
    g, other = graph(session), graph(session)
    longs = [doubled(g, rows(*range(100, 120))) for _ in range(5)]
    shorts = [doubled(other, rows(i)) for i in range(3)]  # all three fit in a run
    await done_together(scheduling(ROWS), [*longs, *shorts])
    assert session.runs.index([0, 1, 2]) <= 1


async def test_who_comes_while_others_come_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.scheduler.LET_IN_S", 10.0)
    session = Doubling()
    g, scheduler = graph(session), scheduling(ROWS)
    jobs = [job(doubled(g, rows(i))) for i in range(6)]

    promises = []
    for one in jobs:
        promises.append(submit(scheduler, one))
        await asyncio.sleep(0)  # each in another turn of the loop
    assert await asyncio.gather(*promises) == [[2 * i] for i in range(6)]
    assert session.runs == [[0, 1, 2, 3, 4, 5]]


async def test_a_full_run_waits_for_nobody() -> None:
    session = Doubling()
    g = graph(session)
    await done_together(scheduling(2), [doubled(g, rows(i)) for i in range(5)])
    assert session.runs == [[0, 1], [2, 3], [4]]


async def test_what_takes_long_is_done_in_a_thread_and_holds_nobody_up() -> None:
    g, scheduler, release, threads = graph(Doubling()), scheduling(ROWS), threading.Event(), []

    def slow() -> int:
        threads.append((threading.current_thread(), request_of_context.get()))
        release.wait(5)
        return 7

    def work() -> Work:
        got = yield from aside(True, slow)
        (y,) = yield from run(g, x=rows(got))
        return y[0, 0]

    long = job(work())
    promise = submit(scheduler, long)
    assert await done_together(scheduler, [doubled(g, rows(1))]) == [[2]]
    release.set()
    assert await promise == 14
    assert threads[0][0] is not threading.current_thread()
    assert threads[0][1] is long.record


async def test_what_is_raised_aside_is_the_works_own() -> None:
    def work() -> Work:
        try:
            yield from aside(True, lambda: 1 / 0)
        except ZeroDivisionError:
            return "mended"

    one = job(work())
    assert await submit(scheduling(ROWS), one) == "mended"


async def test_past_the_deadline_nothing_more_is_computed() -> None:
    session, closed = Doubling(), []
    g, scheduler = graph(session), scheduling(ROWS)

    def work() -> Work:
        try:
            for value in range(100):
                yield from run(g, x=rows(value))
                yield from aside(True, time.sleep, 0.01)
        finally:
            closed.append(True)

    late = job(work())
    with pytest.raises(TimeoutError):
        await submit(scheduler, late, 0.1)
    computed = len(session.runs)
    assert 0 < computed < 50
    await asyncio.sleep(0.05)
    assert (len(session.runs), closed) == (computed, [True])


async def test_only_the_one_at_fault_hears_of_it() -> None:
    session = Doubling()
    g = graph(session)
    good, bad, also_good = await done_together(
        scheduling(ROWS), [doubled(g, rows(1)), doubled(g, rows(13)), doubled(g, rows(2, 3))]
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
    assert await done_together(scheduling(ROWS), [doubled(g, rows(1)), doubled(g, rows(2))]) == [
        [2],
        [4],
    ]
    assert session.runs == [[1], [2]]


async def test_the_scheduler_outlives_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    g, scheduler = graph(Doubling()), scheduling(ROWS)

    def stubborn() -> Work:
        try:
            yield Part(b"")
            yield from run(g, x=rows(1))
        finally:
            raise ZeroDivisionError

    left = job(stubborn())
    assert await submit(scheduler, left) == Part(b"")
    left.is_wanted = False
    scheduler.submit(left)
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "_next", lambda self: 1 / 0)
        lost = job(doubled(g, rows(2)))
        scheduler.submit(lost)
        await asyncio.sleep(0.05)
    after = job(doubled(g, rows(3)))
    assert await submit(scheduler, after) == [6]


async def test_an_operation_can_mend_what_a_graph_raises() -> None:
    g = graph(Doubling())

    def careful() -> Work:
        try:
            yield from run(g, x=rows(13))
        except RuntimeError:
            return (yield from doubled(g, rows(1)))

    one = job(careful())
    assert await submit(scheduling(ROWS), one) == [2]


async def test_wrong_inputs_are_the_operations_fault() -> None:
    one = job(run(graph(Doubling()), x=np.zeros((1, 2), np.float32)))
    with pytest.raises(ValueError, match="x must be float32"):
        await submit(scheduling(ROWS), one)


async def test_nobody_waits_nobody_computes() -> None:
    session = Doubling()
    g, scheduler = graph(session), scheduling(ROWS)
    busy = [job(doubled(graph(Doubling()), rows(i))) for i in range(5)]  # a run each
    *computed, waiting = [submit(scheduler, one) for one in (*busy, job(doubled(g, rows(7))))]
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.gather(*computed)
    assert await done_together(scheduler, [doubled(g, rows(9))]) == [[18]]
    assert session.runs == [[9]]


async def test_what_is_computed_is_counted_and_what_nobody_waits_for() -> None:
    g = graph(Doubling())

    def work() -> Work:
        (y,) = yield from run(g, x=rows(1, 2))
        yield Part(b"")  # these two were waited for
        (y,) = yield from run(g, x=rows(3, 4, 5))
        yield from aside(True, time.sleep, 0.1)
        return y

    scheduler, one = scheduling(ROWS), job(work())
    assert await submit(scheduler, one) == Part(b"")
    assert (one.record.computed_images, one.record.wasted_images) == (2, 0)
    with pytest.raises(TimeoutError):
        await submit(scheduler, one, 0.05)
    assert (one.record.computed_images, one.record.wasted_images) == (5, 3)


async def test_a_run_that_is_repeated_is_counted_once() -> None:
    g = graph(Doubling())
    good, bad = job(doubled(g, rows(1, 2))), job(doubled(g, rows(13)))
    scheduler = scheduling(ROWS)
    await asyncio.gather(submit(scheduler, good), submit(scheduler, bad), return_exceptions=True)
    assert (good.record.computed_images, bad.record.computed_images) == (2, 0)


async def test_who_has_left_is_seen_before_each_run_where_it_can_be() -> None:
    session = Doubling()
    g, scheduler, gone = graph(session), scheduling(ROWS), threading.Event()
    busy = job(doubled(graph(Doubling()), rows(*range(20, 60))))
    left = Job(doubled(g, rows(7)), telemetry.Record("sample", "id"), None, gone.is_set)
    other = job(doubled(g, rows(9)))
    _, *promises = [submit(scheduler, one) for one in (busy, left, other)]
    gone.set()
    found = await asyncio.gather(*promises, return_exceptions=True)
    assert isinstance(found[0], ClientGoneError)
    assert (found[1], session.runs) == ([18], [[9]])
    assert left.record.wasted_images == 0


async def test_what_is_told_to_nobody_is_wasted() -> None:
    gone = threading.Event()

    class Leaving(Doubling):
        def run(self, names: list[str], feed: Mapping[str, Array]) -> list[Array]:
            gone.set()
            return super().run(names, feed)

    one = Job(doubled(graph(Leaving()), rows(1, 2)), telemetry.Record("sample", "id"), None, gone.is_set)
    await submit(scheduling(ROWS), one)
    assert (one.record.computed_images, one.record.wasted_images) == (2, 2)


async def test_parts_come_one_by_one() -> None:
    g = graph(Doubling())

    def work() -> Work:
        for value in (1, 2):
            (y,) = yield from run(g, x=rows(value))
            yield Part(b"%d" % y[0, 0])
        return None

    scheduler, one = scheduling(ROWS), job(work())
    for expected in (Part(b"2"), Part(b"4"), None):
        assert await submit(scheduler, one) == expected


async def test_inference_is_timed_for_each_request() -> None:
    class Slow(Doubling):
        def run(self, names: list[str], feed: Mapping[str, Array]) -> list[Array]:
            time.sleep(0.05)
            return super().run(names, feed)

    one = job(doubled(graph(Slow()), rows(1)))
    started_s = time.perf_counter()
    await submit(scheduling(ROWS), one)
    assert 0.05 <= one.record.inference_s <= time.perf_counter() - started_s


async def test_a_request_that_took_a_while_leaves_nothing_for_the_garbage_collector() -> None:
    def work() -> Work:
        return (yield from aside(True, time.sleep, 2 * LOOK_AFTER_S))

    async def gone() -> None:
        await asyncio.Event().wait()

    gc.disable()
    try:
        one = job(work())
        promise = one.promise(one.loop.time() + 10, gone)
        scheduling(ROWS).submit(one)
        await promise
        left = weakref.ref(one)
        del one, promise
        await asyncio.sleep(LOOK_AFTER_S)  # for the thread, and the task that looked for the client's leaving
        assert left() is None
    finally:
        gc.enable()


async def test_whoever_is_told_cannot_break_the_others() -> None:
    g, scheduler = graph(Doubling()), scheduling(ROWS)
    bad, good = job(doubled(g, rows(1))), job(doubled(g, rows(2)))
    bad.tell(lambda _value, _error: 1 / 0, bad.loop.time() + 10)
    scheduler.submit(bad)
    assert await submit(scheduler, good) == [4]


async def test_a_long_request_of_another_graph_does_not_overtake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.scheduler.PIECE_ROWS", 4)
    session = Doubling()
    g, other = graph(session), graph(session)
    longs = [doubled(g, rows(*range(100, 120))), doubled(other, rows(*range(200, 220)))]
    await done_together(scheduling(ROWS), [*longs, *(doubled(other, rows(i)) for i in range(3))])
    computed = [value for run in session.runs for value in run]
    assert computed.index(119) < computed.index(200)


async def test_short_requests_of_many_graphs_wait_for_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.scheduler.PIECE_ROWS", 4)
    session = Doubling()
    graphs = [graph(session) for _ in range(6)]
    scheduler = scheduling(ROWS)
    shorts = [doubled(one, rows(i)) for i, one in enumerate(graphs)]
    company = [doubled(graphs[0], rows(i)) for i in range(6, 9)]
    await done_together(scheduler, [doubled(graph(session), rows(*range(100, 140))), *shorts, *company])
    of_long = [run[0] >= 100 for run in session.runs]
    last_short = max(i for i, is_long in enumerate(of_long) if not is_long)
    assert sum(of_long[:last_short]) == 1


async def test_a_long_request_gives_its_room_back_as_soon_as_its_client_has_left() -> None:
    session, admission, gone = Doubling(), Admission(10**6), threading.Event()
    g, scheduler = graph(session), Scheduler(ROWS, admission)
    busy = submit(scheduler, job(doubled(g, rows(*range(100, 400)))))
    left = Job(doubled(g, rows(*range(20, 60))), telemetry.Record("sample", "id"), None, gone.is_set)
    waiting = submit(scheduler, left)
    gone.set()
    with pytest.raises(ClientGoneError):
        await waiting
    assert not busy.done()
    assert admission.images < 300
    await busy
    assert admission.images == 0


async def test_so_does_a_short_one_before_its_turn() -> None:
    admission = Admission(10**6)
    scheduler, g = Scheduler(ROWS, admission), graph(Doubling())
    first, second, third = (submit(scheduler, job(doubled(g, rows(*[float(i)] * ROWS)))) for i in range(3))
    assert admission.images == 3 * ROWS
    third.cancel()
    await asyncio.sleep(0)  # for the news of it
    assert admission.images <= 2 * ROWS
    assert await first == [0.0] * ROWS
    assert await second == [2.0] * ROWS
    assert admission.images == 0


async def test_nothing_is_done_aside_for_a_client_that_has_left() -> None:
    done: list[int] = []
    gone = threading.Event()

    def work() -> Work:
        yield from aside(True, done.append, 1)

    gone.set()
    left = Job(work(), telemetry.Record("sample", "id"), None, gone.is_set)
    with pytest.raises(ClientGoneError):
        await submit(scheduling(ROWS), left)
    assert done == []
