"""One thread that computes the requests of a worker, a run of a graph at a time.

Between two runs it looks for new requests. Those that want the same graph share a run, and a request of many rows is
computed in pieces that wait their turn: so small requests cost less together than alone, and none waits for more than
a run or two of a large one. No row can tell, as no row depends on those beside it (export and the registry prove it of
each graph). A run that fails is repeated for each of its requests alone: only the one at fault hears of it.
"""

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.steps import Arrays, Run
from service.telemetry import Record

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A piece of an answer, sent before the next is computed. The first has the answer's headers."""

    data: bytes
    headers: Mapping[str, str] | None = None


Work = Generator[Run | Part, Any, Any]


class Job:
    """The work of a request: what it wants to run next, and where its results go. Made on the event loop."""

    def __init__(self, work: Work, record: Record) -> None:
        self.record = record
        self._work = work
        self._context = contextvars.copy_context()  # log lines are told apart by it
        self.loop = asyncio.get_running_loop()
        self._result: asyncio.Future[Any] = self.loop.create_future()
        self.is_wanted = True
        self.run: Run | None = None
        self.rows = self.done = 0  # of `run`: all, and those with outputs
        self._outputs: Arrays = ()

    async def result(self) -> Any:
        """The next Part, or at last what the work returns. Raises what it raises."""
        try:
            return await self._result
        except asyncio.CancelledError:
            self.is_wanted = False
            raise
        finally:
            self._result = self.loop.create_future()

    # The rest is the scheduler's, in its thread.

    def advance(self, error: Exception | None = None) -> Callable[[], None] | None:
        """Work on until the next run is known; else gives the call by which the event loop is to be told."""
        outputs, self._outputs, self.run = self._outputs or None, (), None
        try:
            step = partial(self._work.throw, error) if error else partial(self._work.send, outputs)
            wanted = self._context.run(step)
            if isinstance(wanted, Part):
                return partial(self._tell, wanted, None)
            self.rows, self.done = wanted.graph.check(wanted.inputs), 0
            self.run = wanted
        except StopIteration as stop:
            return partial(self._tell, stop.value, None)
        except Exception as raised:  # whatever it is: the request is answered, and the others go on
            return partial(self._tell, None, raised)
        return None

    def take(self, outputs: Arrays, run: Run) -> MemoryError | None:
        """The outputs of the next rows of `run`; gives what prevents it."""
        n = len(outputs[0])
        if n == self.rows:
            self._outputs = outputs
        else:
            try:
                self._outputs = self._outputs or run.graph.empty(self.rows)
            except MemoryError as error:
                return error
            for whole, part in zip(self._outputs, outputs, strict=True):
                whole[self.done : self.done + n] = part
        self.done += n
        return None

    def drop(self) -> None:
        try:
            self._work.close()
        except Exception:  # nobody waits for it
            _log.exception("while giving up a request")

    def _tell(self, value: Any, error: Exception | None) -> None:
        if self._result.done():
            return  # who asked has left
        if error is None:
            self._result.set_result(value)
        else:
            self._result.set_exception(error)


class Scheduler:
    """See the head of this file.

    Args:
        batch_rows: most rows of a run that several jobs share; 1: they share none.
    """

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._arrived: SimpleQueue[Job] = SimpleQueue()
        self._waiting: deque[Job] = deque()  # each for a run
        self._told: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []
        threading.Thread(target=self._loop, name="latentry-scheduler", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Begin a job, or go on with one whose part was sent."""
        self._arrived.put(job)

    def _loop(self) -> None:
        while True:
            try:
                self._admit(wait=not self._waiting)
                if batch := self._next():
                    self._compute(batch)
            except Exception:  # a fault of ours; without this thread nothing would be answered any more
                _log.exception("in the scheduler")
            self._tell()

    def _admit(self, *, wait: bool) -> None:
        try:
            while True:
                self._advance(self._arrived.get(block=wait))
                wait = False
        except Empty:
            return

    def _advance(self, job: Job, error: Exception | None = None) -> None:
        if not job.is_wanted:
            job.drop()
        elif told := job.advance(error):
            self._told.append((job.loop, told))
        else:
            self._waiting.append(job)

    def _next(self) -> list[tuple[Job, Run, int]]:
        """Jobs for the next run, and how many rows of each: the first that waits, and what fits beside it."""
        batch: list[tuple[Job, Run, int]] = []
        later: deque[Job] = deque()
        room = 0
        for job in self._waiting:
            run = job.run
            if not job.is_wanted or run is None:
                job.drop()
            elif not batch:
                n = min(job.rows - job.done, run.graph.run_images)
                batch.append((job, run, n))
                room = self._batch_rows - n
            elif room > 0 and run.graph is batch[0][1].graph:
                n = min(job.rows - job.done, room)
                batch.append((job, run, n))
                room -= n
            else:
                later.append(job)
        self._waiting = later
        return batch

    def _compute(self, batch: list[tuple[Job, Run, int]]) -> None:
        started_s = time.perf_counter()
        try:
            outputs = batch[0][1].graph.compute(_feed(batch))
        except Exception as error:
            if len(batch) == 1:
                self._advance(batch[0][0], error)
            else:
                for one in batch:
                    self._compute([one])
            return
        seconds, at = time.perf_counter() - started_s, 0
        for job, run, n in batch:
            job.record.inference_s += seconds
            fault = job.take(tuple(output[at : at + n] for output in outputs), run)
            at += n
            if fault is None and job.done < job.rows:
                self._waiting.append(job)
            else:
                self._advance(job, fault)

    def _tell(self) -> None:
        """One call for all: each wakes the event loop, which costs more than what it is told."""
        if self._told:
            told, self._told = self._told, []
            told[0][0].call_soon_threadsafe(_call_all, [call for _, call in told])


def _feed(batch: list[tuple[Job, Run, int]]) -> dict[str, NDArray[Any]]:
    """The rows that are next of each job, one after the other."""
    pieces = [
        {name: array[job.done : job.done + n] for name, array in run.inputs.items()} for job, run, n in batch
    ]
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
