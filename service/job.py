"""The work of a request, between whoever waits for its answer and the scheduler that computes it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.steps import Arrays, Aside, Run
from service.telemetry import Record

LOOK_AFTER_S = 0.05
"""A request that takes longer than that is watched for its client's leaving."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A piece of an answer, sent before the next is computed. The headers are those of the answer, with the first."""

    data: bytes
    headers: Mapping[str, str] | None = None


Work = Generator[Run | Aside | Part, Any, Any]

Gone = Callable[[], Coroutine[Any, Any, object]]
"""Returns when a client has left."""
Told = Callable[[Any, Exception | None], object]
"""Is called with a result, or with what was raised instead."""


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
        self.on_left: Callable[[Job], None] | None = None
        self._submitted_s = time.perf_counter()
        self._work = work
        self.context = record.context()  # log lines are told apart by it
        self.loop = asyncio.get_running_loop()
        self._told: Told | None = None
        self.is_wanted = True
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.run: Run | None = None
        self.rows = self.done = 0  # of `run`: all, and those with outputs
        self._outputs: Arrays = ()
        self._untold_images = 0  # computed since the last that was told

    def tell(self, told: Told, deadline_s: float, gone: Gone | None = None) -> None:
        """Have the next result told, once: a Part, or at last what the work returns, or what it raises.

        Told instead are a TimeoutError, once the deadline has passed, and a ClientGoneError; what is left of the work
        is then not done. To be called before the job is submitted.

        Args:
            deadline_s: of the loop's clock.
            gone: what returns when the client has left. It is asked only where the work takes a while.
        """
        self._told = told
        look_s = self.loop.time() + LOOK_AFTER_S if gone is not None else deadline_s
        # A tenth of what `asyncio.timeout` costs.
        self._timer = self.loop.call_at(min(look_s, deadline_s), self._look, deadline_s, gone)

    def promise(self, deadline_s: float, gone: Gone | None = None) -> "asyncio.Future[Any]":
        """As `tell`: what is to be awaited. Who no longer awaits it, by a cancellation, no longer wants the work."""
        future: asyncio.Future[Any] = self.loop.create_future()

        def told(value: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self.tell(told, deadline_s, gone)
        future.add_done_callback(self._stop_if_cancelled)
        return future

    def _stop_if_cancelled(self, future: "asyncio.Future[Any]") -> None:
        if future.cancelled():
            self._stop_watching()
            self._leave_undone()

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

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None  # the frames of its CancelledError lead back here: a cycle

    def _leave_undone(self) -> None:
        """Nobody waits any more."""
        self.is_wanted = False
        self.record.wasted_images += self._untold_images
        self._untold_images = 0
        if self.on_left is not None:
            self.on_left(self)

    # The rest is the scheduler's.

    def is_waited_for(self) -> bool:
        if self._has_left():
            self._give_up(ClientGoneError())
        return self.is_wanted

    def _has_left(self) -> bool:
        """Whether the client has, where that can be seen at any time."""
        return self._is_gone is not None and self._is_gone()

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
        return self.context.run(wanted.call) if self.is_wanted and not self._has_left() else None

    def drop(self) -> None:
        try:
            self._work.close()
        except Exception:  # nobody waits for it
            _log.exception("while giving up a request")

    def _tell(self, value: Any, error: Exception | None) -> None:
        told, self._told = self._told, None
        if told is None:
            return  # who asked has left
        self._stop_watching()
        if self._has_left():
            self._leave_undone()
        self._untold_images = 0
        try:
            told(value, error)
        except Exception:  # a fault of ours; those who share the run are to hear all the same
            _log.exception("while a result was told")
