"""What becomes of requests and processes when a worker, or their parent, is told to end or is killed."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from service.telemetry.record import FLUSH_S
from tests.service import bundles
from tests.service.server import ROOT, Service, running

CLIENTS = 6
LONG = 100_000
SAMPLE = "/sample?model=tiny-gan&n=64&seed=1"
NPY = {"Accept": "application/x-npy"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    bundles.write_gan(folder)
    return folder


class Load:
    """Clients that ask without pause, half of them over one connection as long as it is kept."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._over = threading.Event()
        self.answers: list[str] = []
        """Of each, its Connection header."""
        self.lost: list[Exception] = []
        """Of each request that was sent, or could have been, and was not answered."""
        self._threads = [threading.Thread(target=self._ask, args=(i % 2 == 0,)) for i in range(CLIENTS)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            while len(self.answers) < 10 * CLIENTS and not self.lost:
                time.sleep(0.01)
            yield
        finally:
            self._over.set()
            self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), "a request hangs"

    def _ask(self, keeps: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._over.is_set():
            if connection is None:
                connection = http.client.HTTPConnection(self._address, timeout=15)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return  # nobody listens any more
            try:
                connection.request("POST", SAMPLE, headers=NPY)
                answer = connection.getresponse()
                assert answer.status == 200
                answer.read()
                self.answers.append(answer.getheader("Connection", "keep-alive"))
            except Exception as error:
                self.lost.append(error)
                connection.close()
                connection = None
                continue
            if not keeps or answer.will_close:
                connection.close()
                connection = None


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
        load = Load(service.url)
        with load.running():
            answered = len(load.answers)
            service.process.terminate()
            load.join()
        assert service.process.wait(10) == 0
        assert load.lost == []
        assert len(load.answers) > answered + 2 * CLIENTS
        assert set(load.answers[-CLIENTS:]) == {"close"}  # the first may have been given before it was told
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
        load = Load(service.url)
        with load.running():
            killed, survivor = service.workers()
            os.kill(killed, signal.SIGSTOP)
            time.sleep(0.2)  # whoever is connected to it waits for an answer now
            held = psutil.Process(killed).net_connections(kind="tcp")
            in_flight = sum(connection.status == psutil.CONN_ESTABLISHED for connection in held)
            os.kill(killed, signal.SIGKILL)
            start = time.monotonic()
            while killed in service.workers() or len(service.workers()) < 2:
                assert time.monotonic() - start < 5
                time.sleep(0.01)
            os.kill(survivor, signal.SIGSTOP)  # so that it is the new one that answers
            try:
                assert httpx.get(f"{service.url}/readyz", timeout=5).status_code == 200
            finally:
                os.kill(survivor, signal.SIGCONT)
            assert time.monotonic() - start < 5
        assert len(load.lost) <= in_flight
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
