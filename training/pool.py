"""Processes that share the work of a command, and end when it does, however that may be."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

import torch


def process_pool(processes: int, threads: int) -> ProcessPoolExecutor:
    """`processes` that know nothing of this one, each with so many CPU threads of torch.

    A command that is killed cannot end them: they look after that themselves.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(threads,))


def _begin(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
