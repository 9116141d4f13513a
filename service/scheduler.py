"""Computes the requests of a worker on its event loop, a run of rows at a time.

Between two runs the loop takes in what has arrived and sends what is done. Requests that want rows of the same graph
share a run: so small ones cost less together than alone. A large one is computed in pieces half as large as the small
ones are: one, whenever all the small ones that waited at its last have had their turn. So it gets half as much as each
of them, and none of them waits for more than a piece. (With as much as each, more was half done of what was asked for
by clients who left.) Large ones are done one after the other: of those whose clients leave, few are half done. No row
can tell, as no row depends on those beside it (export and the registry prove it of each graph). A run that fails is
repeated for each of its requests alone: only the one at fault hears of it. What takes long and has no rows is done
aside, in a thread.

There is no thread for the runs: handing each request over and back took 100 us of 650, and as much CPU as it took was
not there for others. A run is short (`run_images` rows), so the loop is never away for long.
"""

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.admission import Admission
from service.errors import Overloaded
from service.job import Job
from service.steps import Run
from service.wire import wire

PIECE_ROWS = 8
"""The least, of a request that has more rows than fit in a run: 2 ms of mnist-gan's, for which all others wait. With 16
the p99 of four clients beside a request of 10,000 images was three times what it is alone, with these twice as much.
With fewer an image costs more."""

LET_IN_S = 0.005
"""Between two runs, for what comes in."""
ASIDE_IMAGES = 64
"""What a request counts for while it is aside: as much as a run."""

_log = logging.getLogger(__name__)


class Scheduler:
    """See the head of this file. All its methods are called on one event loop.

    Args:
        batch_rows: most rows of a run that several jobs share; 1: they share none.
        admission: is told what waits.
    """

    def __init__(self, batch_rows: int, admission: Admission) -> None:
        self._batch_rows = batch_rows
        self._admission = admission
        self.waiting = 0
        """Jobs that wait for their turn, or are computed."""
        self._seen = 0  # of the arrivals, at the last turn
        self._since_s = 0.0  # the last run, or the first job after a rest
        # Each for a run: those that fit in one, and the others.
        self._short: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._until_long = 0  # short ones that have their turn before it
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._turns = False

    def submit(self, job: Job) -> None:
        """Begin a job, or go on with one whose part was sent."""
        wire.arrivals += 1
        if not self._turns:
            self._since_s = time.perf_counter()
        job.on_left = self._left
        self._advance(job)
        self._turn_soon(job.loop)

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turns:
            self._turns = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turns = False
        try:
            seen, self._seen = self._seen, wire.arrivals
            # While something still comes, let it in first: who waits may get company. (uvloop accepts one connection a
            # turn: with a run between any two of them, clients would wait for seconds before anybody knew of them.)
            is_quiet = seen == wire.arrivals or time.perf_counter() - self._since_s > LET_IN_S
            if is_quiet and (batch := self._next()):
                self._compute(batch)
                self._since_s = time.perf_counter()
        except Exception:  # a fault of ours; without the next turn nothing would be answered any more
            _log.exception("in the scheduler")
        if self._short or self._long:
            self._turn_soon(loop)

    def _advance(self, job: Job, value: Any = None, error: BaseException | None = None) -> None:
        self._count(job, 0)
        if not job.is_wanted:
            job.drop()
            return
        wanted = job.advance(value, error)
        if isinstance(wanted, Run):
            job.is_long = job.rows > wanted.rows.run_images
            if not job.is_begun:
                if not job.is_long:
                    self._admission.asked_for(job.rows)
                elif refusal := self._refusal(job):
                    self._advance(job, None, refusal)
                    return
            self._count(job, job.rows)
            (self._long if job.is_long else self._short).append(job)
        elif wanted is not None and self._is_waited_for(job):
            job.is_long = False
            self._count(job, ASIDE_IMAGES)
            future = job.loop.run_in_executor(self._pool, job.aside, wanted)
            future.add_done_callback(partial(self._return, job))

    def _refusal(self, job: Job) -> Overloaded | None:
        """Of a long request: that it is long is seen only now."""
        try:
            self._admission.ask(job.who, job.rows)
        except Overloaded as error:
            return error
        return None

    def _count(self, job: Job, images: int) -> None:
        """So many of a job wait now."""
        self._admission.count(images - job.waiting_images, is_long=job.is_long)
        self.waiting += (images > 0) - (job.waiting_images > 0)
        job.waiting_images = images

    def _left(self, job: Job) -> None:
        """Nobody waits for it any more: its room is free before its turn comes."""
        if job.run is not None:
            self._count(job, 0)

    def _return(self, job: Job, future: "asyncio.Future[Any]") -> None:
        """From aside."""
        error = future.exception()
        self._advance(job, None if error else future.result(), error)
        if self._short or self._long:
            self._turn_soon(job.loop)

    def _next(self) -> list[tuple[Job, Run, int]]:
        """Jobs for the next run, and how many rows of each: the first of a queue, and what fits beside it."""
        queues = [self._short, self._long]
        if self._long and (self._until_long <= 0 or not self._short):
            queues, self._until_long = [self._long, self._short], len(self._short)
        batch: list[tuple[Job, Run, int]] = []
        room, has_long = 0, False
        piece = max(PIECE_ROWS, round(self._admission.request_images / 2))
        for queue in queues:
            later: list[Job] = []
            passed = seen = 0  # of those that have their turn before a long one
            while queue and (queue is self._long or not batch or room > 0):
                job = queue.popleft()
                seen += 1
                run = job.run
                # Of all long ones who has left is seen here: the room that they take is wanted.
                if run is None or not (job.is_waited_for() if job.is_long else job.is_wanted):
                    self._count(job, 0)
                    job.drop()
                    passed += seen <= self._until_long
                    continue
                most = run.rows.run_images
                n = min(job.rows - job.done, min(piece, most) if job.is_long else most)
                if not batch:
                    room = min(self._batch_rows, most)
                elif room <= 0 or run.rows is not batch[0][1].rows or (job.is_long and (has_long or later)):
                    later.append(job)
                    continue
                else:
                    n = min(n, room)
                batch.append((job, run, n))
                room -= n
                has_long |= job.is_long
                passed += seen <= self._until_long
            if queue is self._short:
                self._until_long -= passed
            queue.extendleft(reversed(later))
        return [entry for entry in batch if self._is_waited_for(entry[0])]

    def _is_waited_for(self, job: Job) -> bool:
        """Asked just before a run: who leaves within LOOK_AFTER_S is not told of otherwise."""
        if not job.is_waited_for():
            self._count(job, 0)
            job.drop()
        return job.is_wanted

    def _compute(self, batch: list[tuple[Job, Run, int]]) -> None:
        started_s = time.perf_counter()
        for job, _, _ in batch:
            if not job.is_begun:
                job.begin()
        try:
            outputs = batch[0][1].rows.compute(_feed(batch))
        except Exception as error:
            if len(batch) == 1:
                self._advance(batch[0][0], None, error)
            else:
                for one in batch:
                    self._compute([one])
            return
        seconds, at = time.perf_counter() - started_s, 0
        self._admission.computed(len(outputs[0]), seconds)
        for job, run, n in batch:
            job.record.inference_s += seconds
            try:
                job.take(run, tuple(output[at : at + n] for output in outputs))
            except MemoryError as error:
                self._advance(job, None, error)
            else:
                if job.done < job.rows:
                    self._count(job, job.rows - job.done)
                    (self._long if job.is_long else self._short).appendleft(job)
                else:
                    self._advance(job, job.outputs())
            at += n


def _feed(batch: list[tuple[Job, Run, int]]) -> dict[str, NDArray[Any]]:
    """The rows that are next of each job, one after the other."""
    pieces = [
        {name: array[job.done : job.done + n] for name, array in run.inputs.items()} for job, run, n in batch
    ]
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
