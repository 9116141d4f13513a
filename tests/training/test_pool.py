"""A command's other processes: their threads, and their end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.pool import process_pool

COMMAND = """
import time
from training.pool import process_pool
if __name__ == "__main__":
    with process_pool(2, threads=1) as pool:
        works = [pool.submit(time.sleep, 600) for _ in range(2)]
        while not all(work.running() for work in works):
            time.sleep(0.01)
        print(*pool._processes, flush=True)
"""


def test_each_process_has_so_many_threads() -> None:
    with process_pool(1, threads=1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(os.getpid).result() != os.getpid()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_a_command_that_is_killed(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        processes = [int(pid) for pid in command.stdout.readline().split()]
        command.send_signal(how)
        command.wait(60)
    assert len(processes) == 2
    until_s = time.monotonic() + 60
    while any(map(_is_alive, processes)):
        assert time.monotonic() < until_s, "an orphan is still at work"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
