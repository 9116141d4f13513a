"""A busy worker gives connections away; an idle one keeps them."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.http.balance import LOOK_S, QUICK_S, Board, Rebalance, Shown
from tests.service.server import running


class Slow:
    """An application, and how many requests wait in it."""

    def __init__(self) -> None:
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.waiting += 1
        await asyncio.sleep(0.05)
        self.waiting -= 1
        await PlainTextResponse("ok")(scope, receive, send)


def balanced(app: Slow, folder: Path, clock: Callable[[], float]) -> Rebalance:
    return Rebalance(app, lambda: app.waiting, folder, clock)


async def closed(folder: Path, at_a_time: int, others: list[int], seconds: list[float]) -> list[int]:
    """How many of `at_a_time` answers ask to connect again, at each time of the clock, beside busy `others`."""
    now = [0.0]
    processes = [subprocess.Popen(["sleep", "60"]) for _ in others]
    try:
        for process, waiting in zip(processes, others, strict=True):
            Board(folder, process.pid).show(Shown(waiting, 0))
        transport = httpx.ASGITransport(balanced(Slow(), folder, lambda: now[0]))
        found = []
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            for second in seconds:
                now[0] = second
                answers = await asyncio.gather(*(http.get("/") for _ in range(at_a_time)))
                found.append(sum(answer.headers.get("connection") == "close" for answer in answers))
        return found
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("at_a_time", "others", "expected"),
    [
        (6, [0], [1, 0, 1]),
        (6, [5, 3], [1, 0, 1]),
        (6, [4], [0, 0, 0]),
        (2, [0], [0, 0, 0]),
        (6, [], [0, 0, 0]),
    ],
)
async def test_a_worker_gives_one_connection_away_when_another_has_clearly_less_to_do(
    at_a_time: int, others: list[int], expected: list[int], tmp_path: Path
) -> None:
    assert await closed(tmp_path, at_a_time, others, [0.1, 0.12, 0.2]) == expected


@pytest.mark.parametrize(
    ("others", "moves"),
    [
        ([Shown(0, 3)], [True, False, True]),
        ([Shown(0, 4)], [False, False, False]),
        ([Shown(5, 3)], [False, False, False]),  # fewer connections, but more to do
        ([Shown(0, 5), Shown(1, 0)], [False, False, False]),  # the idlest counts
        ([], [False, False, False]),
    ],
)
def test_connections_even_out_by_their_number(others: list[Shown], moves: list[bool], tmp_path: Path) -> None:
    now, app = [0.0], Slow()
    rebalance = balanced(app, tmp_path, lambda: now[0])
    processes = [subprocess.Popen(["sleep", "60"]) for _ in others]
    try:
        for process, shown in zip(processes, others, strict=True):
            Board(tmp_path, process.pid).show(shown)
        app.waiting = 1
        for who in range(5):
            rebalance.answered(who, 200)
        assert not rebalance.answered("a", 504)  # that would be six
        now[0] = 0.05
        assert not rebalance.answered(0, 429)
        found = []
        for at in (0.1, 0.1 + QUICK_S / 2, 0.1 + 2 * QUICK_S):
            now[0] = at
            found.append(rebalance.answered(0, 200))
        assert found == moves
        rebalance.lost(0)
        now[0] += 2 * QUICK_S
        assert not rebalance.answered(1, 200)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_who_says_half_of_a_request_is_no_load(tmp_path: Path) -> None:
    app = Slow()
    rebalance = balanced(app, tmp_path, lambda: 0.1)
    process = subprocess.Popen(["sleep", "60"])
    try:
        Board(tmp_path, process.pid).show(Shown(0, 1))
        app.waiting = 1
        for _ in range(100):
            rebalance.begin()
        assert not rebalance.answered("a", 200)
    finally:
        process.kill()
        process.wait()


def test_a_connection_that_brings_nothing_more_is_not_counted(tmp_path: Path) -> None:
    now, app = [0.0], Slow()
    rebalance = balanced(app, tmp_path, lambda: now[0])
    process = subprocess.Popen(["sleep", "60"])
    try:
        Board(tmp_path, process.pid).show(Shown(0, 0))
        app.waiting = 1
        for who in range(5):
            rebalance.answered(who, 200)
        now[0] = LOOK_S
        assert rebalance.answered("a", 200)
        now[0] = 2.5 * LOOK_S  # the five have said nothing since
        assert not rebalance.answered("a", 200)
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_died_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    Board(tmp_path, process.pid).show(Shown(0, 0))
    board = Board(tmp_path, os.getpid())
    board.look()
    assert board.idlest_other() is None


def cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def load(url: str, clients: int) -> Iterator[None]:
    """Clients with a keep-alive connection each, that ask without pause."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url) as http:
            while not stop.is_set():
                http.post("/sample?model=tiny-vae&n=256").raise_for_status()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_connections_that_all_went_to_one_worker_spread(models_dir: Path, tmp_path: Path) -> None:
    with running(models_dir, tmp_path, workers=2) as service:
        stopped, other = service.workers()
        os.kill(stopped, signal.SIGSTOP)
        try:
            with load(service.url, clients=6):
                time.sleep(0.5)  # every client is connected, to the only worker that runs
                os.kill(stopped, signal.SIGCONT)
                time.sleep(3)
                before = cpu_s(stopped), cpu_s(other)
                time.sleep(2)
                used = cpu_s(stopped) - before[0], cpu_s(other) - before[1]
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert min(used) > 0.25 * max(used), f"CPU seconds of the two workers: {used}"
