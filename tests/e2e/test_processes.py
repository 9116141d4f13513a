"""What becomes of requests and processes when a worker, or their parent, is told to end or is killed."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from load_tests.chaos.answers import capacity_rps
from load_tests.chaos.kills import kills, stop
from load_tests.generator import Request, run_loop
from load_tests.processes import SIGTERM_STATUS
from service.launch.worker import MOST_SETTLE_S, SETTLE_S
from service.telemetry.record import FLUSH_S
from tests.service import bundles
from tests.service.server import ROOT, Service, running

CLIENTS = 6  # half of them over one connection as long as it is kept
CAPACITY_S = 0.7
LONG = 100_000
SAMPLE = "/sample?model=tiny-gan&n=64&seed=1"
NPY = {"Accept": "application/x-npy"}
REQUEST = Request(SAMPLE, NPY["Accept"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    bundles.write_gan(folder)
    return folder


def log_lines(service: Service) -> list[str]:
    return [json.loads(line)["message"] for line in service.log.read_text().splitlines()]


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert f"port {port} of 127.0.0.1: it is in use" in line


def test_an_option_that_cannot_be_is_named() -> None:
    result = run("--workers", "0", LATENTRY_PORT="http")
    assert result.returncode == 2
    workers, port = sorted(result.stderr.splitlines(), reverse=True)
    assert "--workers (LATENTRY_WORKERS)" in workers
    assert "not '0'" in workers
    assert "--port (LATENTRY_PORT)" in port


@pytest.mark.parametrize("threads", ["1", "2"])
def test_models_of_which_none_is_usable_are_named(tmp_path: Path, threads: str) -> None:
    folder = bundles.write_gan(tmp_path)
    (folder / "generate.onnx").write_bytes(b"not a graph")
    result = run("--models-dir", str(tmp_path), "--port", "0", "--workers", "1", "--threads", threads)
    assert result.returncode == 1
    messages = [json.loads(line)["message"] for line in result.stderr.splitlines()]
    assert re.search(r"tiny-gan/1 refused: .*generate\.onnx: ", messages[0])
    assert messages[1] == f"no usable model in {tmp_path}"
    assert threads == "2" or len(messages) == 2  # else a worker found it, and it is given up
    assert "Traceback" not in result.stderr


def test_with_several_threads_each_worker_loads_the_models_and_answers_the_same(
    models: Path, tmp_path: Path
) -> None:
    answers = []
    for threads in (1, 2):
        with running(models, tmp_path, workers=2, threads=threads) as service:
            answers.append(httpx.post(service.url + SAMPLE).raise_for_status().content)
    assert answers[0] == answers[1]


def test_sigterm_under_load_loses_nothing(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path, workers=2, drain_s=0.3) as service:
        stopped = run_loop(stop(service, REQUEST, connections=CLIENTS, before_s=0.5, after_s=2.5))
        assert (stopped.status, stopped.lost) == (0, {})
        assert stopped.answered > 2 * CLIENTS
        lines = log_lines(service)
        assert "stopping (SIGTERM)" in lines
        assert lines[-1] == "stopped"


def test_sigterm_turns_readiness_off_and_answers_who_comes_late(models: Path, tmp_path: Path) -> None:
    with (
        running(models, tmp_path, workers=2, drain_s=1) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        service.process.terminate()
        time.sleep(0.3)
        for path in ("/readyz", "/v2/health/ready"):
            assert http.get(path).status_code == 503
        assert "stopping" in http.get("/readyz").json()["detail"]
        assert http.get("/livez").status_code == 200
        answer = http.post(SAMPLE)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert service.process.wait(10) == 0


def test_a_connection_that_was_there_before_sigterm_may_take_its_time_to_ask(
    models: Path, tmp_path: Path
) -> None:
    with running(models, tmp_path, workers=2) as service:
        begun = [http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=5) for _ in range(4)]
        for connection in begun:
            connection.connect()
        service.process.terminate()
        time.sleep(4 * SETTLE_S)
        for connection in begun:
            with closing(connection):
                connection.request("POST", SAMPLE, headers=NPY)
                assert connection.getresponse().status == 200
        assert service.process.wait(10) == 0


def test_a_request_is_answered_that_a_worker_finds_when_it_is_about_to_close_the_connection(
    models: Path, tmp_path: Path
) -> None:
    with (
        running(models, tmp_path, workers=1) as service,
        closing(http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=5)) as connection,
    ):
        connection.request("POST", SAMPLE, headers=NPY)
        connection.getresponse().read()
        [worker] = service.workers()
        service.process.terminate()
        time.sleep(SETTLE_S / 2)
        os.kill(worker, signal.SIGSTOP)  # as on a machine that is very busy
        connection.request("POST", SAMPLE, headers=NPY)
        time.sleep(2 * SETTLE_S)
        os.kill(worker, signal.SIGCONT)
        assert connection.getresponse().status == 200
        assert service.process.wait(10) == 0


def test_a_connection_that_never_asks_does_not_hold_up_the_end(models: Path, tmp_path: Path) -> None:
    with (
        running(models, tmp_path, workers=1) as service,
        socket.create_connection((urlsplit(service.url).hostname, urlsplit(service.url).port)),
    ):
        service.process.terminate()
        assert service.process.wait(MOST_SETTLE_S + 2) == 0


@contextmanager
def a_long_answer(url: str) -> Iterator[http.client.HTTPResponse]:
    """More than sockets hold, of which nothing but the head is read yet: the service waits until more is."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        connection.request("POST", f"/sample?model=tiny-gan&n={LONG}&seed=1", headers=NPY)
        yield connection.getresponse()


def test_a_request_in_flight_ends_while_new_ones_are_refused(models: Path, tmp_path: Path) -> None:
    with (
        running(models, tmp_path, workers=2, max_streamed_images=LONG) as service,
        a_long_answer(service.url) as answer,
    ):
        service.process.terminate()
        time.sleep(1)
        with pytest.raises(httpx.ConnectError):
            httpx.get(service.url, timeout=2)
        assert service.process.poll() is None, service.log.read_text()
        assert len(answer.read()) == int(answer.headers["Content-Length"])
        assert service.process.wait(10) == 0


def test_a_request_that_never_ends_is_cut_off(models: Path, tmp_path: Path) -> None:
    with (
        running(models, tmp_path, workers=1, max_streamed_images=LONG, stop_timeout_s=1) as service,
        a_long_answer(service.url),
    ):
        service.process.terminate()
        assert service.process.wait(10) == 1
        assert "not ended within 1 seconds: killed" in log_lines(service)


@pytest.mark.parametrize("environment", [{}, {"BENTOML_CONTAINERIZED": "true"}])
def test_a_worker_that_is_killed_takes_its_own_requests_with_it_and_is_replaced(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with running(models, tmp_path, workers=2) as service:
        before = service.workers()
        before_rps = run_loop(capacity_rps(service.url, REQUEST, CAPACITY_S))
        [kill] = run_loop(kills(service, REQUEST, times=1, connections=CLIENTS, before_s=0.7, settle_s=2.5))
        assert kill.elsewhere == {}
        assert 0 < kill.failed <= kill.in_flight
        after_rps = run_loop(capacity_rps(service.url, REQUEST, CAPACITY_S))
        assert after_rps > 0.4 * before_rps  # others may want the cores
        [survivor, new] = sorted(service.workers(), key=lambda pid: pid not in before)
        assert survivor in before
        assert new not in before
        [killed] = set(before) - {survivor}
        os.kill(survivor, signal.SIGSTOP)  # so that it is the new one that answers
        try:
            assert httpx.get(f"{service.url}/readyz", timeout=5).status_code == 200
        finally:
            os.kill(survivor, signal.SIGCONT)
        time.sleep(6 * FLUSH_S)
        gauges = httpx.get(f"{service.url}/metrics").text
        assert re.search(r"^latentry_in_flight 0\.0$", gauges, re.MULTILINE)
        assert re.search(r"^latentry_ready 1\.0$", gauges, re.MULTILINE)
        assert f"worker {killed} ended (SIGKILL); replaced at once" in log_lines(service)


def test_no_worker_outlives_its_parent(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path, workers=2) as service:
        workers = [psutil.Process(pid) for pid in service.workers()]
        assert len(workers) == 2
        service.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=2)
        assert alive == []


TOOL = """
import asyncio, sys
from pathlib import Path
from load_tests.generator import run_loop
from load_tests.processes import sigterm_as_an_exit
from tests.service.server import running

with sigterm_as_an_exit(), running(Path(sys.argv[1]), Path(sys.argv[2]), workers=1) as service:
    print(service.process.pid, *service.workers(), flush=True)
    run_loop(asyncio.sleep(60))
"""


def test_no_service_outlives_a_tool_that_is_told_to_end(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOOL, str(models), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        service, worker = (psutil.Process(int(pid)) for pid in tool.stdout.readline().split())
        tool.terminate()
        assert tool.wait(10) == SIGTERM_STATUS
        _, alive = psutil.wait_procs([service, worker], timeout=2)
        assert alive == []
