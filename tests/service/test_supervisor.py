"""Workers are started, replaced and ended, whatever they do. Each test is a process of its own, which forks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, signal, sys, threading, time
from service import telemetry
from service.launch.supervisor import Duty, Supervisor

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def serve(ready):
    say("worker", os.getpid())
    ready()
    signal.pause()

def serve_and_take_leave(ready):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(ready)

def serve_for_ever(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("worker", os.getpid())
    ready()
    while True:
        signal.pause()

def end_again_and_again(ready):
    ready()
    time.sleep(0.05)  # told before it ends
    return 3

def end_before_it_serves(ready):
    return 4

telemetry.configure_logging("INFO")
supervisor = Supervisor(float(sys.argv[2]))
duty = Duty(globals()[sys.argv[1]], lambda: say("up"), lambda: say("stopping"), lambda pid: say("gone", pid))
sys.exit(supervisor.run(2, duty))
"""


@contextmanager
def supervised(work: str, stop_s: float = 5) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, work, str(stop_s)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until_up(process: "subprocess.Popen[str]") -> list[int]:
    """Process ids of the workers."""
    assert process.stdout is not None
    said = [line.split() for line in iter(process.stdout.readline, "up\n")]
    return [int(pid) for word, pid in said if word == "worker"]


def messages(errors: str) -> list[str]:
    return [json.loads(line)["message"] for line in errors.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_are_told_to_end_and_waited_for(number: signal.Signals) -> None:
    with supervised("serve_and_take_leave") as process:
        pids = until_up(process)
        assert len(pids) == 2
        process.send_signal(number)
        out, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out.splitlines()[0] == "stopping"
    assert sorted(out.splitlines()[1:]) == sorted(f"gone {pid}" for pid in pids)
    assert messages(errors) == [f"stopping ({number.name})"]


def test_those_that_do_not_end_are_killed_after_a_while() -> None:
    with supervised("serve_for_ever", stop_s=0.3) as process:
        until_up(process)
        start = time.monotonic()
        process.terminate()
        assert process.wait(10) == 1
        assert 0.3 <= time.monotonic() - start < 5


def test_a_second_signal_kills_them_at_once() -> None:
    with supervised("serve_for_ever", stop_s=60) as process:
        until_up(process)
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        process.terminate()
        assert process.wait(10) == 1


def test_the_pauses_grow_between_workers_that_end_at_once() -> None:
    with supervised("end_again_and_again") as process:
        until_up(process)
        time.sleep(1.5)
        process.terminate()
        _, errors = process.communicate(timeout=10)
    found = [re.search(r"ended \(status 3\); replaced (.+)", message) for message in messages(errors)]
    pauses = [match[1] for match in found if match]
    assert pauses[:4] == ["at once", "after 0.1 s", "after 0.2 s", "after 0.4 s"]


def test_gives_up_when_a_worker_never_served() -> None:
    with supervised("end_before_it_serves") as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert re.fullmatch(r"worker \d+ ended before it served \(status 4\): given up", messages(errors)[0])


def test_a_process_with_threads_is_not_forked() -> None:
    script = SCRIPT.replace(
        "supervisor =", "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nsupervisor ="
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "serve", "5"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "RuntimeError: 2 threads run where one may" in result.stderr
