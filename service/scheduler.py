"""Computes the requests of a worker on its event loop, a run of rows at a time.

Between two runs the loop takes in what has arrived and sends what is done. Requests that want rows of the same graph
share a run, and a request of many rows is computed in pieces that wait their turn: so small requests cost less together
than alone, and none waits for more than a run or two of a large one. No row can tell, as no row depends on those beside
it (export and the registry prove it of each graph). A run that fails is repeated for each of its requests alone: only
the one at fault hears of it. What takes long and has no rows is done aside, in a thread.

There is no thread for the runs: handing each request over and back took 100 us of 650, and as much CPU as it took was
not there for others. A run is short (`run_images` rows), so the loop is never away for long.
"""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.admission import Admission
from service.errors import Overloaded
from service.steps import Arrays, Aside, Run
from service.telemetry import Record
from service.wire import wire

PIECE_ROWS = 16
"""Of a request that has more rows than fit in a run: while one is computed (4 ms of mnist-gan's), all others wait."""

LOOK_AFTER_S = 0.05
"""A request that takes longer than that is watched for its client's leaving."""
LET_IN_S = 0.005
"""Between two runs, for what comes in."""
ASIDE_IMAGES = 64
"""What a request counts for while it is aside: as much as a run."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A piece of an answer, sent before the next is computed. The headers are those of the answer, with the first."""

    data: bytes
    headers: Mapping[str, str] | None = None


Work = Generator[Run | Aside | Part, Any, Any]


Gone = Callable[[], Coroutine[Any, Any, object]]
"""Returns when a client has left."""


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Job:
    """The work of a request: what it wants next, and where its results go.

    Args:
        who: asks for it; see `Admission`.
        is_gone: whether the client has left, where that can be seen at any time.
    """

    def __init__(
        self, work: Work, record: Record, who: object = None, is_gone: Callable[[], bool] | None = None
    ) -> None:
        self.record = record
        self.who = who
        self._is_gone = is_gone
        self.waiting_images, self.is_long, self.is_begun = 0, False, False  # the scheduler's accounts
        self._submitted_s = time.perf_counter()
        self._work = work
        self.context = contextvars.copy_context()  # log lines are told apart by it
        self.loop = asyncio.get_running_loop()
        self._result: asyncio.Future[Any] = self.loop.create_future()
        self.is_wanted = True
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.run: Run | None = None
        self.rows = self.done = 0  # of `run`: all, and those with outputs
        self._outputs: Arrays = ()
        self._untold_images = 0  # computed since the last that was told

    async def result(self, deadline_s: float, gone: Gone | None = None) -> Any:
        """The next Part, or at last what the work returns.

        Args:
            deadline_s: of the loop's clock.
            gone: what returns when the client has left. It is asked only where the work takes a while.

        Raises:
            TimeoutError: the deadline has passed; what is left of the work is not done.
            ClientGoneError: as little.
            What the work raises.
        """
        look_s = self.loop.time() + LOOK_AFTER_S if gone is not None else deadline_s
        # A tenth of what `asyncio.timeout` costs.
        self._timer = self.loop.call_at(min(look_s, deadline_s), self._look, deadline_s, gone)
        try:
            return await self._result
        except asyncio.CancelledError:
            self._leave_undone()
            raise
        finally:
            self._timer.cancel()
            if self._leaving is not None:
                self._leaving.cancel()
            self._result = self.loop.create_future()

    def _look(self, deadline_s: float, gone: Gone | None) -> None:
        """It takes a while."""
        if self.loop.time() >= deadline_s or gone is None:
            self._give_up(TimeoutError())
            return
        self._leaving = self.loop.create_task(self._leave(gone))
        self._timer = self.loop.call_at(deadline_s, self._give_up, TimeoutError())

    async def _leave(self, gone: Gone) -> None:
        await gone()
        self._give_up(ClientGoneError())

    def _give_up(self, error: Exception) -> None:
        self._leave_undone()
        self._tell(None, error)

    def _leave_undone(self) -> None:
        """Nobody waits any more."""
        self.is_wanted = False
        self.record.wasted_images += self._untold_images
        self._untold_images = 0

    # The rest is the scheduler's.

    def is_waited_for(self) -> bool:
        if self._is_gone is not None and self._is_gone():
            self._give_up(ClientGoneError())
        return self.is_wanted

    def advance(self, value: Any = None, error: BaseException | None = None) -> Run | Aside | None:
        """Work on until it is known what is to be computed; None where who asked has been told instead."""
        self.run = None
        try:
            step = partial(self._work.throw, error) if error else partial(self._work.send, value)
            wanted = self.context.run(step)
            if isinstance(wanted, Part):
                self._tell(wanted, None)
                return None
            if isinstance(wanted, Run):
                self.rows, self.done = wanted.rows.check(wanted.inputs), 0
                self.run = wanted
        except StopIteration as stop:
            self._tell(stop.value, None)
            return None
        except Exception as raised:  # whatever it is: the request is answered, and the others go on
            self._tell(None, raised)
            return None
        return wanted

    def begin(self) -> None:
        """Its first run begins."""
        self.is_begun = True
        self.record.wait_s = time.perf_counter() - self._submitted_s

    def take(self, run: Run, outputs: Arrays) -> None:
        """The outputs of the next rows of `run`. Raises MemoryError where there is no room for them all."""
        n = len(outputs[0])
        if n == self.rows:
            self._outputs = outputs
        else:
            self._outputs = self._outputs or run.rows.empty(self.rows)
            for whole, part in zip(self._outputs, outputs, strict=True):
                whole[self.done : self.done + n] = part
        self.done += n
        self.record.computed_images += n
        self._untold_images += n

    def outputs(self) -> Arrays:
        """All outputs of the run; they are the caller's alone from now on."""
        outputs, self._outputs = self._outputs, ()
        return outputs

    def aside(self, wanted: Aside) -> Any:
        """In the thread, which may have kept the job waiting: for nothing, where nobody waits for it any more."""
        return self.context.run(wanted.call) if self.is_wanted else None

    def drop(self) -> None:
        try:
            self._work.close()
        except Exception:  # nobody waits for it
            _log.exception("while giving up a request")

    def _tell(self, value: Any, error: Exception | None) -> None:
        if self._result.done():
            return  # who asked has left
        if self._is_gone is not None and self._is_gone():
            self._leave_undone()
        self._untold_images = 0
        if error is None:
            self._result.set_result(value)
        else:
            self._result.set_exception(error)


class Scheduler:
    """See the head of this file. All its methods are called on one event loop.

    Args:
        batch_rows: most rows of a run that several jobs share; 1: they share none.
        admission: is told what waits.
    """

    def __init__(self, batch_rows: int, admission: Admission) -> None:
        self._batch_rows = batch_rows
        self._admission = admission
        self._seen = 0  # of the arrivals, at the last turn
        self._since_s = 0.0  # the last run, or the first job after a rest
        self._waiting: deque[Job] = deque()  # each for a run
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._turns = False

    def submit(self, job: Job) -> None:
        """Begin a job, or go on with one whose part was sent."""
        wire.arrivals += 1
        if not self._turns:
            self._since_s = time.perf_counter()
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
        if self._waiting:
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
            self._waiting.append(job)
        elif wanted is not None:
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
        job.waiting_images = images

    def _return(self, job: Job, future: "asyncio.Future[Any]") -> None:
        """From aside."""
        error = future.exception()
        self._advance(job, None if error else future.result(), error)
        if self._waiting:
            self._turn_soon(job.loop)

    def _next(self) -> list[tuple[Job, Run, int]]:
        """Jobs for the next run, and how many rows of each: the first that waits, and what fits beside it."""
        batch: list[tuple[Job, Run, int]] = []
        later: deque[Job] = deque()
        room = 0
        for job in self._waiting:
            run = job.run
            if not job.is_wanted or run is None:
                self._count(job, 0)
                job.drop()
            elif not batch:
                most = run.rows.run_images
                n = min(job.rows - job.done, most if job.rows <= most else min(PIECE_ROWS, most))
                room = min(self._batch_rows, most)
                batch.append((job, run, n))
                room -= n
            elif room > 0 and run.rows is batch[0][1].rows:
                n = min(job.rows - job.done, room)
                batch.append((job, run, n))
                room -= n
            else:
                later.append(job)
        self._waiting = later
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
                    self._waiting.append(job)
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
