"""Models of a process that was forked, and looks by itself from then on; and those that it is done with."""

import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from service.loader import IDLE_S, TRIM_EVERY_S, Models
from service.settings import Settings
from service.watcher import Watcher
from service.wire import wire
from tests.service import bundles

ROOT = Path(__file__).resolve().parents[2]
# The parent loads; its child, which has the parent's models at once, looks for new ones. The parent does not.
SCRIPT = """
import os, sys, threading, time
from pathlib import Path
from service import telemetry
from service.loader import Models
from service.settings import Settings
from service.watcher import Watcher
from tests.service import bundles

root = Path(sys.argv[1])
settings = Settings(models_dir=root, reload_interval_s=0.05)
models = Models(settings)
watcher = Watcher(models, settings)
models.start()
loaded = models.registry().get("tiny-gan")
while threading.active_count() > 1:  # of whom a fork would lose something
    time.sleep(0.01)
bundles.write_gan(root, version=2, seed=77)
if (child := os.fork()) == 0:
    models.start()
    assert models.registry().get("tiny-gan", 1) is loaded
    models.check_ready()
    with telemetry.Record("sample", "id"):  # metrics of a fork begin at 0
        pass
    print("latentry_ready 1.0" in telemetry.render()[0].decode().splitlines())
    watcher.start()
    for version in (2, 3):
        deadline = time.monotonic() + 20
        while models.registry().get("tiny-gan").version != version and time.monotonic() < deadline:
            time.sleep(0.01)
        print("child", models.registry().get("tiny-gan").version, flush=True)
        bundles.write_gan(root, version=version + 1, seed=77 + version)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent", models.registry().get("tiny-gan").version, threading.active_count())
"""


def test_a_fork_takes_the_models_along_and_watches_them_itself(tmp_path: Path) -> None:
    root, metrics = tmp_path / "models", tmp_path / "metrics"
    metrics.mkdir()
    bundles.write_gan(root)
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = ["True", "child 2", "child 3", "parent 1 1"]
    assert (result.returncode, result.stdout.splitlines()) == (0, expected), result


@pytest.mark.parametrize("begin", [Models.load, Models.start])
def test_models_of_the_start_are_let_go_once_they_are_replaced(begin: Any, tmp_path: Path) -> None:
    bundles.write_gan(tmp_path)
    models = Models(Settings(models_dir=tmp_path))
    begin(models)
    first = weakref.ref(models.registry().get("tiny-gan"))
    bundles.write_gan(tmp_path, version=2, seed=77)
    shutil.rmtree(tmp_path / "tiny-gan" / "1")
    models.look(final=True)
    assert models.registry().get("tiny-gan").version == 2
    assert first() is None


@pytest.mark.parametrize("interval_s", [0.0, 3600.0])
def test_memory_is_seen_to_however_seldom_the_folder_is(
    models_dir: Path, interval_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(models_dir=models_dir, reload_interval_s=interval_s)
    models, calls, done = Models(settings), [], threading.Event()

    def clear_up() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            done.set()
            threading.Event().wait()  # for ever: the thread has no end

    models.start()
    models.registry()
    monkeypatch.setattr(models, "clear_up", clear_up)
    Watcher(models, settings).start()
    assert done.wait(10)
    assert calls[-1] - calls[0] < 6 * IDLE_S


def test_what_requests_took_is_given_back_once_there_are_none(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, trims, requests = [1000.0], [], [0]
    monkeypatch.setattr("service.loader.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("service.loader.memory.trim", lambda: trims.append(now_s[0]))
    monkeypatch.setattr("service.loader.telemetry.in_flight", lambda: requests[0])
    models = Models(Settings(models_dir=models_dir))
    models.start()
    models.registry()

    def after(seconds: float) -> int:
        now_s[0] += seconds
        models.clear_up()
        return len(trims)

    wire.arrivals += 1
    assert after(0.0) == after(IDLE_S / 2) == 0
    assert after(IDLE_S) == 1
    assert after(IDLE_S) == after(2 * TRIM_EVERY_S) == 1, "nothing was taken since"
    wire.arrivals += 1
    requests[0] = 1
    assert after(0.0) == 2, "amid requests every TRIM_EVERY_S"
    assert after(IDLE_S) == after(IDLE_S) == 2, "one is being answered"
    assert after(TRIM_EVERY_S) == 3
    requests[0] = 0
    assert after(IDLE_S) == 4
