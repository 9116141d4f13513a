"""A real service for tests: `python -m service` in processes of its own, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 15.0


@dataclass(frozen=True)
class Service:
    """One that runs. `log`: what it wrote."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def workers(self) -> list[int]:
        """Process ids. (What `bentoml serve` starts has other children, too.)"""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], check=False, capture_output=True, text=True
        )
        return [int(pid) for pid in found.stdout.split()]


@contextmanager
def serve(models_dir: Path | None, scratch: Path, **how: Any) -> Iterator[str]:
    """As `running`; gives the URL alone."""
    with running(models_dir, scratch, **how) as service:
        yield service.url


@contextmanager
def running(
    models_dir: Path | None,
    scratch: Path,
    *,
    python: Path = Path(sys.executable),
    target: str | None = None,
    cwd: Path = ROOT,
    wait_for: str = "/readyz",
    **settings: object,
) -> Iterator[Service]:
    """Serve `models_dir`, and leave no process behind.

    Args:
        models_dir: None: the models that lie beside the code.
        scratch: a folder for the log, and for BentoML's home.
        python: the interpreter of the environment to serve from.
        target: None: `python -m service`; else what `bentoml serve` serves, from `cwd`: the service, or the tag of a
            Bento in `scratch`.
        wait_for: the path that answers 200 once the service is up.
        settings: of the service, as in `Settings`: `workers=1`. By default it stops without draining.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", *(["service"] if target is None else ["bentoml", "serve", target])]
    environment = {
        **os.environ,
        "BENTOML_HOME": str(scratch),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        **({} if models_dir is None else {"LATENTRY_MODELS_DIR": str(models_dir)}),
        "LATENTRY_DRAIN_S": "0",
        **{f"LATENTRY_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = scratch / "service.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=cwd,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url + wait_for, process, log)
            yield Service(url, process, log)
        finally:
            _stop(process)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not come up:\n{log.read_text()[-4000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """The process leads a group of its own, which the workers are in."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
