"""Servers of the benchmark: started, compared, counted, ended. Latentry alone: peers have other environments."""

import http.client
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from load_tests import environments, processes
from load_tests.generator import Load, Request, run
from load_tests.peers.sampler import NPY, Sampler
from load_tests.running import Running, ServerError, StartError, running
from load_tests.servers import SERVERS

LATENTRY = SERVERS[0]


def test_latentry_is_started_measured_and_ended(tmp_path: Path) -> None:
    with running(LATENTRY, Path(sys.executable), tmp_path, workers=1) as server:
        server.check(Sampler())
        # The header of NPY 1.0 and 28 x 28 bytes an image.
        assert server.lengths[1, NPY] == 128 + 784
        assert server.lengths[64, NPY] == 128 + 64 * 784
        assert 0.1 < server.start_s < 90
        memory = server.memory()
        assert len(memory) >= 2  # BentoML's own process and the worker
        assert all(0 < item.pss_bytes <= item.rss_bytes for item in memory)
        load = Load(server.port, LATENTRY.request(1, NPY), connections=2, seconds=0.5, body_bytes=912)
        measured = run(load)
        assert measured.ok > 0
        assert measured.failed == {}
        server.stop()
        with pytest.raises(TimeoutError):
            _ask_once(server, timeout_s=0.5)
        server.go_on()
        assert _ask_once(server, timeout_s=10) == 200
        pids = [process.pid for process in psutil.Process(server.process.pid).children(recursive=True)]
        with pytest.raises(ServerError, match="answers 400 to /sample"):
            _asked_for_nothing(server).check(Sampler())
        with pytest.raises(ServerError, match="gives other bytes for n = 1"):
            _asked_for_other_seeds(server).check(Sampler())
    assert server.process.poll() is not None
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def _ask_once(server: Running, timeout_s: float) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
    with closing(connection):
        connection.request("GET", "/livez")
        return connection.getresponse().status


def _asked_for_nothing(server: Running) -> Running:
    wrong = replace(
        LATENTRY, request=lambda n, media: Request("/sample?model=mnist-gan&seed={seed}&n=-1", media)
    )
    return replace(server, server=wrong)


def _asked_for_other_seeds(server: Running) -> Running:
    path = "/sample?model=mnist-gan&n=1&seed=1{seed}"
    return replace(server, server=replace(LATENTRY, request=lambda n, media: Request(path, media)))


def test_a_server_that_ends_says_its_last_words(tmp_path: Path) -> None:
    failing = replace(
        LATENTRY,
        command=lambda place: [str(place.python), "-c", "print('no such model'); raise SystemExit(3)"],
    )
    with (
        pytest.raises(StartError, match="did not start; its last line: no such model"),
        running(failing, Path(sys.executable), tmp_path),
    ):
        pass


def test_what_a_server_started_in_another_session_ends_with_it(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
    script = child + "start_new_session=True); import time; time.sleep(60)"
    with processes.started(
        [sys.executable, "-c", script], tmp_path / "log", cwd=tmp_path, environment={}
    ) as process:
        deadline = time.monotonic() + 10
        while not (children := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(children) == 1
    assert process.poll() is not None
    assert not children[0].is_running()


def test_an_environment_tells_its_versions_and_size(tmp_path: Path) -> None:
    found = environments.versions(Path(sys.executable), ["numpy"])
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"].count(".") == 2
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "a.py").write_bytes(b"x" * 100_000)
    (packages / "b.py").hardlink_to(packages / "a.py")
    assert 100_000 <= environments.size_bytes(tmp_path / "bin" / "python") < 130_000


def test_an_install_that_fails_says_why(tmp_path: Path) -> None:
    requirements = tmp_path / "peer.txt"
    requirements.write_text(f"{tmp_path}/no-such-package.whl\n")
    with pytest.raises(environments.NotInstalledError, match="no-such-package"):
        environments.install(Path(sys.executable), requirements)


def test_the_requirements_hold_the_versions_of_the_serving_environment() -> None:
    serve = (environments.ROOT / "requirements" / "serve.txt").read_text()
    for file in environments.REQUIREMENTS.glob("*.txt"):
        for package in ("onnxruntime", "pillow", *(() if file.stem == "pytriton" else ("numpy",))):
            pinned = next(line for line in file.read_text().splitlines() if line.startswith(f"{package}=="))
            assert f"{pinned} " in serve, f"{file.name}: {pinned}"
    names = {server.environment for server in SERVERS} - {None}
    assert names == {file.stem for file in environments.REQUIREMENTS.glob("*.txt")}
