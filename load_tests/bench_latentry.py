"""What the benchmark asks of Latentry alone: how it answers at a steady load, and beside a very long request."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from load_tests.generator import Load, Measured, run_apart
from load_tests.peers.sampler import NPY
from load_tests.running import Running, ServerError

STEADY_AT = 0.7
"""What it is asked to keep up, as a part of what it can do."""
STEADY_CONNECTIONS = 64
LONG_IMAGES = 10_000
BESIDE_CONNECTIONS = (4, 16)
WARM_UP_S = 0.3


def steady(run: Running, *, seed: int, capacity_s: float, seconds: float) -> dict[str, Any]:
    """Its latency at a part of its capacity, which is measured right before: it changes within minutes."""
    capacity_rps = run_apart(_closed(run, STEADY_CONNECTIONS, capacity_s, seed)).rps
    rate = STEADY_AT * capacity_rps
    load = Load(
        run.port,
        run.server.request(1, NPY),
        "open",
        STEADY_CONNECTIONS,
        seconds,
        rate,
        warm_up_s=WARM_UP_S,
        seed=seed,
        body_bytes=run.lengths[1, NPY],
    )
    return {"capacity_rps": capacity_rps, "rate": rate, **asdict(run_apart(load))}


def beside_long(run: Running, connections: int, *, seed: int, seconds: float) -> dict[str, Any]:
    """The latency of single images in a closed loop, alone and beside a client who asks for very many again.

    Raises:
        ServerError: the long requests failed.
    """
    load = _closed(run, connections, seconds, seed)
    alone = run_apart(load)
    with _long(run, seconds + 2 * WARM_UP_S):
        beside = run_apart(load)
    return {"connections": connections, "alone": asdict(alone), "beside": asdict(beside)}


@contextmanager
def _long(run: Running, seconds: float) -> Iterator[None]:
    request = run.server.request(LONG_IMAGES, NPY)
    load = Load(run.port, request, connections=1, seconds=seconds, warm_up_s=0.0, drain_s=0.1)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(run_apart, load)
        yield
        _refuse_faults(asking.result())


def _refuse_faults(measured: Measured) -> None:
    """Of the long request. "unanswered" is the one that was on its way at the end."""
    if faults := {fault: n for fault, n in measured.failed.items() if fault != "unanswered"}:
        raise ServerError(f"requests of {LONG_IMAGES:,} images failed: {faults}")


def _closed(run: Running, connections: int, seconds: float, seed: int) -> Load:
    return Load(
        run.port,
        run.server.request(1, NPY),
        connections=connections,
        seconds=seconds,
        warm_up_s=WARM_UP_S,
        seed=seed,
        body_bytes=run.lengths[1, NPY],
    )
