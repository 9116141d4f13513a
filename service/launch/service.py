"""What the parent does: loads the app and the models, once, and has workers serve them."""

import gc
import logging
import os
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from service.launch import listening
from service.launch.supervisor import Duty, Supervisor
from service.settings import Settings

if TYPE_CHECKING:
    from service.launch.worker import Worker

_log = logging.getLogger(__name__)


def run(settings: Settings, listener: socket.socket, started_s: float) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Args:
        started_s: when the process started, by time.monotonic.
    """
    supervisor = Supervisor(settings.drain_s + settings.stop_timeout_s)
    with tempfile.TemporaryDirectory(prefix="latentry-") as shared:
        # Read when prometheus_client and numpy are imported. BLAS, of which nothing is used, would keep threads.
        os.environ |= {"PROMETHEUS_MULTIPROC_DIR": shared, "OPENBLAS_NUM_THREADS": "1"}
        worker = _load(settings, listener)
        if worker is None:
            return 1

        url = listening.url(listener)  # told to stop at once, it may be closed before all workers are up

        def up() -> None:
            took_s = time.monotonic() - started_s
            _log.info("serving %s: %d workers, started in %.2f s", url, settings.workers, took_s)

        status = supervisor.run(settings.workers, Duty(worker.run, up, listener.close, _forget))
        _log.info("stopped")
        return status


def _load(settings: Settings, listener: socket.socket) -> "Worker | None":
    """All that the workers will share; None where there is no model to serve."""
    from service import memory, telemetry  # noqa: PLC0415 - not before the environment is set
    from service.loader import process_models  # noqa: PLC0415

    telemetry.configure_logging(settings.log_level)
    logging.getLogger().handlers = logging.getLogger("service").handlers  # warnings of libraries
    models = process_models()
    with ThreadPoolExecutor(1) as pool:
        # onnxruntime works without the GIL, while this thread imports. With threads of its own, which would not live
        # on in a fork, it has to be each worker's.
        loading = pool.submit(models.load) if settings.threads == 1 else None

        from service.app import Latentry  # noqa: PLC0415
        from service.launch.worker import Worker  # noqa: PLC0415

        app = cast(Any, Latentry).to_asgi()  # mypy takes a decorated class for the class that it was
        worker = Worker(app, models, listener, settings)
    if loading is not None:
        loading.result()
        if not models.usable():
            return None
    _forget(os.getpid())  # its gauges are there from the import on
    gc.freeze()
    memory.trim()  # what is free would be shared, and become each worker's own when it is used again
    return worker


def _forget(pid: int) -> None:
    """Drop the gauges of a process that has ended, or answers nobody."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - it reads the environment

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
