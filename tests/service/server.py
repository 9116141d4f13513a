"""A real service for tests: `bentoml serve` in processes of its own, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 15.0


@contextmanager
def serve(
    models_dir: Path | None,
    scratch: Path,
    *,
    python: Path = Path(sys.executable),
    target: str = "service.app:Latentry",
    cwd: Path = ROOT,
    wait_for: str = "/readyz",
    **settings: object,
) -> Iterator[str]:
    """Serve `models_dir`; gives the URL, and leaves no process behind.

    Args:
        models_dir: None: the models that lie beside the code.
        scratch: a folder for BentoML's home and the log.
        python: the interpreter of the environment to serve from.
        target: what BentoML serves, from `cwd`: the service, or the tag of a Bento in `scratch`.
        wait_for: the path that answers 200 once the service is up.
        settings: of the service, as in `Settings`: `workers=1`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "bentoml", "serve", target]
    environment = {
        **os.environ,
        "BENTOML_HOME": str(scratch),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        **({} if models_dir is None else {"LATENTRY_MODELS_DIR": str(models_dir)}),
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
            yield url
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
