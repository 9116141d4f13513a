"""Runs the endpoints: a request's bytes in, the answer out, the work between in the scheduler's hands.

BentoML knows the endpoints and lists them in the Bento, but requests do not go its way, which leads through its
middlewares, its router and a look-up of dependencies: two cores answered 830 requests a second of one image by it, and
1,076 by this one (means of three runs in turns, before requests shared runs).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service import telemetry
from service.admission import Admission, Refusal
from service.errors import BadRequest, DeadlineExceeded, ServiceError
from service.http.bodies import Bodies
from service.http.calls import RawRequest
from service.job import ClientGoneError, Job, Part, Told, Work
from service.scheduler import Scheduler
from service.settings import Settings
from service.telemetry import RECORD
from service.wire import IS_GONE, Asked

_ADMITTED = "latentry.admitted"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"

Handler = Callable[[RawRequest], Work]
"""Returns a starlette Response, unless it yielded Parts: these are the answer."""
Resolver = Callable[[str, str], Handler | None]
"""By method and path; None where the request is not for a handler."""


class Dispatch:
    """ASGI middleware; what is neither a POST to the path of one of `handlers` nor known to `resolve` passes.

    Args:
        wait: what to await before a handler may begin; None: it may.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[str, Handler],
        settings: Settings,
        wait: Callable[[], Awaitable[object] | None] = lambda: None,
        resolve: Resolver = lambda _method, _path: None,
    ) -> None:
        self._app = app
        self._handlers = handlers
        self._wait = wait
        self._resolve = resolve
        self._bodies = Bodies(settings.max_body_bytes, settings.max_held_bytes)
        self._timeout_s = settings.request_timeout_s
        self._admission = Admission(settings.max_queued_images)
        self._scheduler = Scheduler(settings.batch_images, self._admission)
        telemetry.watch_queue(lambda: self._admission.images)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the Gateway answers: ServiceError, TimeoutError past the deadline, what else a handler raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        handler = self._handler(scope["method"], scope["path"])
        if handler is None:
            async with asyncio.timeout(self._timeout_s):
                await self._app(scope, receive, send)
            return
        self._admit(scope)
        headers = _headers(scope)
        patience_s = timeout_s(headers, self._timeout_s)
        body = b""
        try:
            deadline_s = asyncio.get_running_loop().time() + patience_s
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                async with asyncio.timeout_at(deadline_s):
                    body = await self._bodies.read(headers, receive)
            if (loaded := self._wait()) is not None:
                async with asyncio.timeout_at(deadline_s):
                    await loaded
            job = _job(handler, headers, body, scope)
            answer = job.promise(deadline_s, partial(_disconnected, receive))
            self._scheduler.submit(job)
            await self.send(job, await answer, deadline_s, scope, receive, send)
        except TimeoutError as error:
            raise _too_late(patience_s) from error
        except ClientGoneError:
            return
        finally:
            self._bodies.release(len(body))

    def take(self, handler: Handler, scope: Scope, body: bytes, told: Told) -> tuple[Job, float]:
        """Answer a request that is there whole.

        Args:
            told: is called as by `Job.tell`, maybe before this returns. What is told is a Part: its body is held until
                it is released.

        Returns:
            The work, and its deadline by the loop's clock.

        Raises:
            ServiceError: it is refused, and nothing is told.
        """
        self._admit(scope)
        headers = _headers(scope)
        patience_s = timeout_s(headers, self._timeout_s)
        job = _job(handler, headers, body, scope)
        deadline_s = job.loop.time() + patience_s
        self._bodies.hold(len(body))

        def tell(value: Any, error: Exception | None) -> None:
            if not isinstance(value, Part):
                self.release(body)
            told(value, _too_late(patience_s) if isinstance(error, TimeoutError) else error)

        job.tell(tell, deadline_s)
        self._scheduler.submit(job)
        return job, deadline_s

    def release(self, body: bytes) -> None:
        """Of an answer in parts the last is sent."""
        self._bodies.release(len(body))

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn, or are computed."""
        return self._scheduler.waiting

    def lost(self, who: object) -> None:
        """A connection has ended."""
        self._admission.leave(who)

    def refusal(self, asked: Asked) -> Refusal | None:
        """Whether a request is to be turned away, before it is called with it. It is asked once only."""
        if not self._admission.is_full or self._handler_or_none(asked.method, asked.path) is None:
            return None
        refusal = self._admission.refusal(asked.client)
        asked.state[_ADMITTED] = refusal is None
        return refusal

    def _admit(self, scope: Scope) -> None:
        """Before anything is read: a refusal is to cost little."""
        if not scope.get("state", {}).get(_ADMITTED):
            self._admission.ask(scope["client"])

    async def send(
        self, job: Job, answer: Any, deadline_s: float, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """What a job told, and where that is a Part all that follows."""
        if isinstance(answer, Part):
            async with asyncio.timeout_at(deadline_s):
                await self._stream(job, answer, deadline_s, receive, send)
        else:
            await answer(scope, receive, send)

    async def _stream(self, job: Job, first: Part, deadline_s: float, receive: Receive, send: Send) -> None:
        """Each part is computed when the one before it is on its way: a slow client holds up its own work alone."""
        headers = [
            (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in (first.headers or {}).items()
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            part: Any = first
            while isinstance(part, Part):
                await send({"type": "http.response.body", "body": part.data, "more_body": True})
                if leaving.done():
                    job.is_wanted = False
                    return
                following = job.promise(deadline_s)
                self._scheduler.submit(job)
                part = await following
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving

    def handler_or_none(self, scope: Scope) -> Handler | None:
        """What answers a request; None: BentoML, or a refusal of its method or path."""
        return self._handler_or_none(scope["method"], scope["path"])

    def _handler_or_none(self, method: str, path: str) -> Handler | None:
        try:
            return self._handler(method, path)
        except ServiceError:
            return None

    def _handler(self, method: str, path: str) -> Handler | None:
        """What answers a request; None: BentoML. Raises ServiceError where nothing may."""
        if method == "POST" and path in self._handlers:
            return self._handlers[path]
        return self._resolve(method, path)


def timeout_s(headers: Mapping[str, str], most_s: float) -> float:
    """How long a client wants to wait (`X-Request-Timeout-Ms`), `most_s` at the most; `most_s` where it does not say.

    Raises:
        BadRequest: it is no whole number of milliseconds from 1 on.
    """
    text = headers.get(TIMEOUT_HEADER.lower())
    if text is None:
        return most_s
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise BadRequest.at(
            f"header.{TIMEOUT_HEADER}",
            f"must be a whole number of milliseconds, 1 or more, got {text[:60]!r}",
        )
    return min(int(text) / 1000, most_s)


def _too_late(patience_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"not answered within {patience_s:g} seconds")


def _headers(scope: Scope) -> dict[str, str]:
    """The first of a name counts, as elsewhere."""
    return {k.decode("latin-1"): v.decode("latin-1") for k, v in reversed(scope["headers"])}


def _job(handler: Handler, headers: Mapping[str, str], body: bytes, scope: Scope) -> Job:
    raw = RawRequest(
        query=scope["query_string"].decode("latin-1"),
        content_type=headers.get("content-type"),
        accept=headers.get("accept"),
        body=body,
        record=scope[RECORD],
        headers=headers,
    )
    return Job(handler(raw), raw.record, scope["client"], scope.get("state", {}).get(IS_GONE))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
