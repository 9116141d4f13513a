"""The load generator, against small servers whose delays and faults are known."""

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from load_tests.generator import FIRST_SEED, Load, Measured, Request, Run, arrivals, percentile

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = Request("/sample?seed={seed}", "application/x-npy")
Answer = Callable[[bytes], Awaitable[bytes | None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """A port where a request (without a body) gets what `answer` gives for it; None: the connection breaks off."""
    clients: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                data = await answer(head)
                if data is None:
                    writer.transport.abort()
                    return
                writer.write(data)
                if b"Connection: close" in data:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for client in clients:
            client.close()


async def measure(answer: Answer, **settings: object) -> Measured:
    async with server(answer) as port:
        load = {"connections": 4, "seconds": 0.5, "warm_up_s": 0.1, **settings}
        return await Run(Load(port=port, request=REQUEST, **load)).measure()  # type: ignore[arg-type]


def stalling(stall_at_s: float, stall_s: float) -> Answer:
    """Answers at once, but for one pause of everything, `stall_at_s` after the first request."""
    first: list[float] = []

    async def answer(_: bytes) -> bytes:
        now = asyncio.get_running_loop().time()
        first.append(now)
        end = first[0] + stall_at_s + stall_s
        if first[0] + stall_at_s <= now < end:
            await asyncio.sleep(end - now)
        return OK

    return answer


async def at_once(_: bytes) -> bytes:
    return OK


async def test_the_closed_loop_counts_requests_bytes_and_latency() -> None:
    async def answer(_: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return OK

    measured = await measure(answer)
    assert measured.failed == {}
    # 4 connections, 20 ms each: at most 4 x 25 in half a second.
    assert 60 <= measured.ok <= 100
    assert measured.body_bytes == 5 * measured.ok
    assert measured.rps == measured.ok / 0.5
    assert measured.p50_ms is not None
    assert 19 <= measured.p50_ms <= 30


async def test_an_open_loop_sees_the_queue_behind_a_stall() -> None:
    measured = await measure(
        stalling(0.5, 0.2), mode="open", rate=200.0, seconds=1.5, arrivals="uniform", connections=2
    )
    # 40 of 300 arrive within the 200 ms and wait for its end: a seventh of all, from 200 ms down to 0.
    assert measured.failed == {}
    assert measured.sent == 300
    assert measured.p50_ms is not None
    assert measured.p50_ms < 20
    assert measured.p90_ms is not None
    assert measured.p90_ms > 30
    assert measured.p99_ms is not None
    assert 150 < measured.p99_ms < 260


async def test_a_closed_loop_does_not() -> None:
    measured = await measure(stalling(0.5, 0.2), seconds=1.5, connections=2)
    # Only the two requests that were out, of some thousands: the users of a closed loop wait with the server.
    assert measured.p99_ms is not None
    assert measured.p99_ms < 50
    assert measured.max_ms is not None
    assert 150 < measured.max_ms < 260


async def test_a_slow_server_that_keeps_up_is_not_behind() -> None:
    async def answer(_: bytes) -> bytes:
        await asyncio.sleep(0.1)
        return OK

    settings = {"mode": "open", "rate": 100.0, "arrivals": "uniform", "connections": 32, "warm_up_s": 0.3}
    measured = await measure(answer, **settings)
    # As many come in as go out, though a fifth of the half second's requests are answered after its end.
    assert measured.offered == pytest.approx(100, abs=2)
    assert measured.rps == pytest.approx(100, abs=6)
    assert measured.ok == measured.sent


async def test_an_overloaded_server_is_behind_what_is_offered() -> None:
    one_at_a_time = asyncio.Lock()

    async def answer(_: bytes) -> bytes:
        async with one_at_a_time:
            await asyncio.sleep(0.01)
        return OK

    measured = await measure(answer, mode="open", rate=200.0, seconds=1.0, arrivals="uniform")
    assert measured.offered == pytest.approx(200, abs=2)
    assert 60 <= measured.rps <= 105
    assert measured.p99_ms is not None
    assert measured.p99_ms > 400


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", "503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", "size"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "malformed"),
        (b"hello\r\n\r\n", "malformed"),
        (None, "reset"),
    ],
)
async def test_each_kind_of_failure_is_counted(answer: bytes | None, fault: str) -> None:
    asked = 0

    async def every_fourth(_: bytes) -> bytes | None:
        nonlocal asked
        asked += 1
        return OK if asked % 4 else answer

    measured = await measure(every_fourth, body_bytes=5, seconds=1.0)
    assert list(measured.failed) == [fault]
    assert measured.failures == pytest.approx(measured.sent / 4, abs=2)
    assert measured.ok == measured.sent - measured.failures


async def test_a_server_that_does_not_answer_or_is_not_there() -> None:
    async def never(_: bytes) -> bytes:
        await asyncio.sleep(10)
        return OK

    measured = await measure(never, mode="open", rate=50.0, arrivals="uniform", drain_s=0.1)
    assert measured.failed == {"unanswered": 25}
    assert (measured.ok, measured.p99_ms) == (0, None)
    async with server(at_once) as port:
        pass
    load = Load(port=port, request=REQUEST, connections=2, seconds=0.2, warm_up_s=0.0)
    assert list((await Run(load).measure()).failed) == ["refused"]


async def test_chunked_answers_are_read_whatever_pieces_they_come_in() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head + b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
    asked = 0

    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while (await reader.read(1000)).endswith(b"\r\n\r\n"):
            cut = asked % len(whole)
            asked += 1
            writer.write(whole[:cut])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(whole[cut:])
        writer.close()

    listening = await asyncio.start_server(in_pieces, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        load = Load(port=port, request=REQUEST, connections=1, seconds=0.5, warm_up_s=0.0, body_bytes=5)
        measured = await Run(load).measure()
    assert measured.failed == {}
    assert asked > len(whole)


async def test_a_connection_that_the_server_closes_is_opened_again() -> None:
    async def answer(_: bytes) -> bytes:
        return OK.replace(b"Content", b"Connection: close\r\nContent")

    measured = await measure(answer)
    assert measured.failed == {}
    assert measured.ok > 50


async def test_requests_carry_different_seeds_the_same_ones_each_time() -> None:
    async def seeds_of(seed: int) -> list[str]:
        heads: list[bytes] = []

        async def answer(head: bytes) -> bytes:
            heads.append(head)
            return OK

        await measure(answer, connections=1, seconds=0.1, warm_up_s=0.0, seed=seed)
        assert all(b"POST /sample?seed=" in head and b"Accept: application/x-npy" in head for head in heads)
        return [head.split(b"seed=")[1].split(b" ")[0].decode() for head in heads[:20]]

    first = await seeds_of(1)
    assert len(set(first)) == len(first) == 20
    assert {len(seed) for seed in first} == {7}
    assert await seeds_of(1) == first
    assert await seeds_of(2) != first


def test_a_body_is_told_by_its_length() -> None:
    request = Request("/p", "image/png", body='{"n": 1, "seed": {seed}}', content_type="application/json")
    whole = str(FIRST_SEED).encode().join(request.parts("h:1"))
    head, body = whole.split(b"\r\n\r\n")
    assert body == b'{"n": 1, "seed": 1000000}'
    assert b"Content-Length: 25\r\n" in head + b"\r\n"
    assert b"Content-Type: application/json" in head


def test_arrivals_have_their_rate() -> None:
    load = Load(port=1, request=REQUEST, mode="open", rate=1000.0)
    poisson = list(arrivals(load, 10.0, 20.0))
    assert 9_500 < len(poisson) < 10_500
    gaps = [b - a for a, b in itertools.pairwise(poisson)]
    # Exponential gaps: 1 - 1/e of them are shorter than their mean.
    assert sum(gap < 0.001 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.02)
    assert poisson == list(arrivals(load, 10.0, 20.0))


def test_percentiles_are_values_that_were_measured() -> None:
    hundred = [float(i) for i in range(1, 101)]
    assert [percentile(hundred, q) for q in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.99) is None


@pytest.mark.parametrize(
    "wrong", [{"mode": "open"}, {"rate": 5.0}, {"connections": 0}, {"seconds": 0.0}], ids=str
)
def test_a_load_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"rate goes with|must be positive"):
        Load(port=1, request=REQUEST, **wrong)  # type: ignore[arg-type]


async def test_in_a_process_of_its_own_it_tells_its_cpu() -> None:
    async with server(at_once) as port:
        load = {"port": port, "request": vars(REQUEST), "connections": 2, "seconds": 0.3, "warm_up_s": 0.1}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "load_tests.generator", json.dumps(load), stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    measured = Measured(**json.loads(out))
    assert measured.ok > 20
    assert measured.failed == {}
    assert 0.01 < measured.cpu <= 1.05
