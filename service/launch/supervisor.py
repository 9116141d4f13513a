"""The parent of the workers: forks them, replaces one that ends, ends them all. It serves nothing itself."""

import ctypes
import logging
import math
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

SOON_S = 5.0
"""A worker that lives shorter may have died of what the next one will die of, too: the pauses grow."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0

LAST_THREAD_S = 1.0
"""A thread that has ended for Python may still have some way to go in the kernel."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duty:
    """What is supervised.

    `work`: what a worker does until it gets SIGTERM. It calls what it is given once it serves, and returns its exit
    status. The others are called in the parent. `up`: all workers serve for the first time. `stopping`: the workers
    are about to be told to end. `gone`: a worker, with this process id, has ended.
    """

    work: Callable[[Callable[[], object]], int]
    up: Callable[[], object]
    stopping: Callable[[], object]
    gone: Callable[[int], object]


@dataclass
class _Worker:
    started_s: float
    ready: int | None  # the end of a pipe, on which it tells that it serves; None once it did
    serves: bool = False


class Supervisor:
    """Make it before anything slow: from then on SIGTERM and SIGINT are noted, and end nothing halfway.

    Args:
        stop_s: seconds that the workers have to end, once told to; then they are killed.
    """

    def __init__(self, stop_s: float) -> None:
        self._stop_s = stop_s
        self._workers: dict[int, _Worker] = {}  # by process id
        self._due_s: list[float] = []  # when a worker is to be started
        self._pause_s = 0.0
        self._is_up = False
        self._kill_s: float | None = None  # when the workers are killed; None: they are not told to end
        self._status = 0
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in _SIGNALS:
            signal.signal(number, _note)

    def run(self, workers: int, duty: Duty) -> int:
        """Keep that many processes at work until SIGTERM or SIGINT; a second signal kills them.

        Returns:
            The exit status: 1 where a worker ended before all were up, or did not end well at the end; else 0.

        Raises:
            RuntimeError: this process has threads, and cannot be forked safely.
        """
        self._due_s = [time.monotonic()] * workers
        self._listen(duty, timeout_s=0)
        while self._workers or self._due_s:
            self._start_due(duty)
            wakes_s = [*self._due_s, *([] if self._kill_s is None else [self._kill_s])]
            now = time.monotonic()
            self._listen(duty, min((max(0.0, at - now) for at in wakes_s if at < math.inf), default=None))
            self._reap(duty)
            if self._workers and self._kill_s is not None and time.monotonic() >= self._kill_s:
                _log.error("not ended within %g seconds: killed", self._stop_s)
                self._kill()
        return self._status

    def _listen(self, duty: Duty, timeout_s: float | None) -> None:
        """Wait for a signal, or for a worker that serves."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is not None:
                self._hear(key.data, duty)
                continue
            for number in self._woken.recv(4096):
                if number != signal.SIGCHLD:
                    self._stop(signal.Signals(number).name, duty)

    def _hear(self, pid: int, duty: Duty) -> None:
        worker = self._workers[pid]
        if worker.ready is not None:
            worker.serves = bool(os.read(worker.ready, 1))  # nothing: it ended, and will be reaped
            self._forget_pipe(worker)
        if self._is_up:
            if worker.serves:
                _log.info("worker %d serves", pid)
        elif all(other.serves for other in self._workers.values()):
            self._is_up = True
            duty.up()

    def _forget_pipe(self, worker: _Worker) -> None:
        if worker.ready is not None:
            self._selector.unregister(worker.ready)
            os.close(worker.ready)
            worker.ready = None

    def _start_due(self, duty: Duty) -> None:
        now = time.monotonic()
        due = [at for at in self._due_s if at <= now]
        self._due_s = [at for at in self._due_s if at > now]
        for _ in due:
            self._fork(duty)

    def _fork(self, duty: Duty) -> None:
        _check_alone()
        parent = os.getpid()
        ready, tell = os.pipe()
        # A signal to a child that still had the parent's handlers would be told to the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._be_worker(parent, duty, partial(os.write, tell, b"."))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(tell)
        self._workers[pid] = _Worker(time.monotonic(), ready)
        self._selector.register(ready, selectors.EVENT_READ, pid)

    def _be_worker(self, parent: int, duty: Duty, ready: Callable[[], object]) -> NoReturn:
        status = 1
        try:
            _die_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; what to do the parent says
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._selector.close()
            self._woken.close()
            self._wake.close()
            status = duty.work(ready)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            _log.exception("worker %d", os.getpid())
        finally:
            os._exit(status)  # never on through the parent's frames, which lie below on this stack

    def _reap(self, duty: Duty) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                pid, status = ended[0], os.waitstatus_to_exitcode(ended[1])
                worker = self._workers.pop(pid, None)
                if worker is not None:  # else an orphan, which process 1 of a container is given
                    self._forget_pipe(worker)
                    duty.gone(pid)
                    if self._kill_s is None:
                        self._replace(pid, worker, status)
                    elif status not in (0, -signal.SIGTERM) and self._kill_s < math.inf:
                        _log.error("worker %d ended (%s) while it was to finish", pid, _how(status))
                        self._status = 1

    def _replace(self, pid: int, worker: _Worker, status: int) -> None:
        if not self._is_up:
            _log.error("worker %d ended before it served (%s): given up", pid, _how(status))
            self._kill()
            return
        now = time.monotonic()
        if now - worker.started_s > SOON_S:
            self._pause_s = 0.0
        _log.error("worker %d ended (%s); replaced %s", pid, _how(status), _after(self._pause_s))
        self._due_s.append(now + self._pause_s)
        self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))

    def _stop(self, why: str, duty: Duty) -> None:
        if self._kill_s is not None:
            _log.error("%s again: killed", why)
            self._kill()
            return
        _log.info("stopping (%s)", why)
        self._kill_s = time.monotonic() + self._stop_s
        self._due_s = []
        duty.stopping()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)

    def _kill(self) -> None:
        self._status = 1
        self._kill_s = math.inf
        self._due_s = []
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)


def _note(_number: int, _frame: object) -> None:
    """Signals are read from the file descriptor that Python writes them to; without a handler it would not."""


def _how(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _after(pause_s: float) -> str:
    return f"after {pause_s:g} s" if pause_s else "at once"


def _check_alone() -> None:
    """A lock that another thread holds at a fork is held for ever in the child. Libraries' own threads count, too."""
    deadline_s = time.monotonic() + LAST_THREAD_S
    while (count := _threads()) != 1 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    if count != 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        raise RuntimeError(f"{count} threads run where one may, to fork workers; of Python: {names}")


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
