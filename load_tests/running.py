"""A server of the benchmark, running: started, waited for, compared with Latentry's answers, ended."""

import http.client
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from load_tests import processes
from load_tests.generator import FIRST_SEED, Request
from load_tests.peers.sampler import NPY, PNG, Sampler
from load_tests.servers import Place, Server

ROOT = Path(__file__).resolve().parents[1]
START_S = 90.0
POLL_S = 0.02
CHECKED_SEEDS = 16
CHECKED_AT_ONCE = 8
PORTS = 3  # MLServer and PyTriton listen on three


class ServerError(Exception):
    """A server that does not answer as Latentry does, or ended; says how."""


class StartError(ServerError):
    """A server that did not start."""


@dataclass(frozen=True)
class Running:
    """A server that answers. `start_s`: from the start of its process to its first good answer."""

    server: Server
    port: int
    process: "subprocess.Popen[bytes]"
    start_s: float
    lengths: dict[tuple[int, str], int | None] = field(default_factory=dict)
    """Of the answers to `request(n, media_type)`, where all have one; filled by `check`."""

    def memory(self) -> list[processes.Memory]:
        return processes.memory(self.process.pid)

    def stop(self) -> None:
        """Where it stands: it takes no CPU until it goes on."""
        processes.stop(self.process.pid)

    def go_on(self) -> None:
        processes.go_on(self.process.pid)

    def check(self, sampler: Sampler) -> None:
        """Ask for many answers at a time, and compare each with what Latentry computes.

        Raises:
            ServerError: another status, or other bytes.
        """
        seeds = range(FIRST_SEED, FIRST_SEED + CHECKED_SEEDS)
        with ThreadPoolExecutor(CHECKED_AT_ONCE) as pool:
            for n in (1, 64):
                for media_type in (NPY, PNG):
                    request = self.server.request(n, media_type)
                    answers = list(pool.map(lambda seed, r=request: _ask(self.port, r, seed), seeds))
                    for seed, (status, headers, body) in zip(seeds, answers, strict=True):
                        if status != http.client.OK:
                            raise ServerError(f"answers {status} to {request.fill(seed)[0]}: {body[:200]!r}")
                        if self.server.unwrap(headers, body) != sampler.answer(n, seed, media_type):
                            raise ServerError(f"gives other bytes for n = {n}, seed = {seed}, {media_type}")
                    lengths = {len(body) for _, _, body in answers}
                    same = len(lengths) == 1 and media_type == NPY
                    self.lengths[n, media_type] = lengths.pop() if same else None


@contextmanager
def running(server: Server, python: Path, scratch: Path, *, workers: int = 2) -> Iterator[Running]:
    """Start a server and wait for its first good answer; no process is left behind.

    Raises:
        StartError: it ended, or did not answer within START_S.
    """
    place = Place(python, processes.free_ports(PORTS), scratch, workers)
    log = scratch / "server.log"
    environment = {"PYTHONPATH": str(ROOT), **server.variables(place)}
    start = time.perf_counter()
    with processes.started(server.command(place), log, cwd=ROOT, environment=environment) as process:
        _wait(server, place.port, process, log)
        yield Running(server, place.port, process, time.perf_counter() - start)


def _wait(server: Server, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    request = server.request(1, NPY)
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if _ask(port, request, FIRST_SEED)[0] == http.client.OK:
                return
        time.sleep(POLL_S)
    said = log.read_text(errors="replace").strip().splitlines()
    raise StartError(f"did not start; its last line: {said[-1] if said else '(none)'}")


def _ask(port: int, request: Request, seed: int) -> tuple[int, dict[str, str], bytes]:
    path, body = request.fill(seed)
    headers = {"Accept": request.accept}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()
