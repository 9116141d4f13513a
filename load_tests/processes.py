"""A server's processes: started in a group of their own, counted, ended."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_S = 15.0
SIGTERM_STATUS = 128 + signal.SIGTERM
"""As shells tell it."""
COMMAND_CHARACTERS = 120
_FOLDER = re.compile(r"(^|=)/(?:[^/]*/)*")
"""Of a path that is a word, or an option's value: "/a/b" is "b", "--log=/a/b" is "--log=b"."""


@dataclass(frozen=True)
class Memory:
    """Of one process. `command`: its words, without folders.

    `uss` are the pages that no other process has; `pss` counts one that k processes share as 1 / k of it; `rss` counts
    it whole.
    """

    pid: int
    command: str
    uss_bytes: int
    pss_bytes: int
    rss_bytes: int


@dataclass(frozen=True)
class Held:
    """By a process, or by several together. `uss_bytes` as in `Memory`; `descriptors` are open files and sockets."""

    uss_bytes: int
    descriptors: int
    threads: int


@contextmanager
def started(
    command: Sequence[str], log: Path, *, cwd: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `command` until the block ends; then it and whatever it started are ended."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


@contextmanager
def sigterm_as_an_exit() -> Iterator[None]:
    """Who is told to end leaves the block, and with it what was started there, and exits with SIGTERM's status.

    Else this process would end where it stands, and what it started would stay for ever.
    """
    received = False

    def leave(*_: object) -> None:
        nonlocal received
        received = True
        sys.exit(SIGTERM_STATUS)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except BaseException:
        if received:  # an event loop that was left at any point makes another error of it
            raise SystemExit(SIGTERM_STATUS) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def memory(pid: int) -> list[Memory]:
    """Of a process and all below it, the largest first."""
    found = []
    for process in _tree(pid):
        with suppress(psutil.Error):
            info = process.memory_full_info()
            words = [_FOLDER.sub(r"\1", word) for word in process.cmdline()]
            command = " ".join(words)[:COMMAND_CHARACTERS] or process.name()
            found.append(Memory(process.pid, command, info.uss, info.pss, info.rss))
    return sorted(found, key=lambda item: -item.pss_bytes)


def stop(pid: int) -> None:
    """Where they stand: a process and all below it."""
    for process in _tree(pid):
        with suppress(psutil.Error):
            process.suspend()


def go_on(pid: int) -> None:
    """A process, and all below it, from where they were stopped."""
    for process in reversed(_tree(pid)):
        with suppress(psutil.Error):
            process.resume()


def each_held(pid: int) -> dict[int, Held]:
    """By a process, which comes first, and by each of those below it."""
    found = {}
    for process in _tree(pid):
        with suppress(psutil.Error):
            found[process.pid] = Held(
                process.memory_full_info().uss, process.num_fds(), process.num_threads()
            )
    return found


def held(pid: int) -> Held:
    """By a process and all below it."""
    return together(each_held(pid).values())


def together(each: Iterable[Held]) -> Held:
    return Held(
        *(
            sum(column)
            for column in zip(*((h.uss_bytes, h.descriptors, h.threads) for h in each), strict=True)
        )
    )


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and all that is now below it have had."""
    used = 0.0
    for process in _tree(pid):
        with suppress(psutil.Error):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def client_ports(pid: int) -> set[int]:
    """Of the other side of a process's open connections."""
    with suppress(psutil.NoSuchProcess):
        return {found.raddr.port for found in psutil.Process(pid).net_connections(kind="tcp") if found.raddr}
    return set()


def free_ports(count: int) -> int:
    """The first of `count` ports of 127.0.0.1 in a row that nobody listens on."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            first: int = probe.getsockname()[1]
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except (OSError, OverflowError):
        return False


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the leader, then kill what is left of its group and of what it had started outside of the group."""
    members = _tree(process.pid)
    process.terminate()
    deadline = time.monotonic() + STOP_S
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    psutil.wait_procs(members, timeout=max(0.0, min(2.0, deadline - time.monotonic())))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in members:
        with suppress(
            psutil.NoSuchProcess
        ):  # psutil knows a process by its start, too: never another of its pid
            member.kill()
    psutil.wait_procs(members, timeout=5)
    process.wait()
