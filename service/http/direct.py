"""Requests that are there whole, answered without a task of their own.

Most requests are: head and body in one read. The server's protocol hands them over at once, and the scheduler their
results; between the two there is nothing to await. Without a task, and the chain of coroutines that ASGI applications
are, one image took 0.57 ms of CPU instead of 0.89, the graph's share included (one worker, 64 connections). What is
done is the same as there: see Gateway, Access, Rebalance and Dispatch.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from service import telemetry
from service.errors import InternalError, ServiceError
from service.http.balance import Rebalance
from service.http.dispatch import Dispatch, Handler
from service.http.gateway import CLIENT_GONE, Gateway, Reply, answer_to, operation, own_headers, request_id_of
from service.job import ClientGoneError, Part
from service.wire import Answer, Caller, lines

_log = logging.getLogger(__name__)


class Direct:
    """See the head of this file.

    Args:
        checks: raise ServiceError for a request that goes no further.
        is_loaded: whether handlers may begin, with nothing to await.
        is_stopping: whether the server is about to end: connections are then closed, each after its answer.
    """

    def __init__(
        self,
        gateway: Gateway,
        rebalance: Rebalance,
        dispatch: Dispatch,
        checks: Sequence[Callable[[Scope], None]],
        is_loaded: Callable[[], bool],
        is_stopping: Callable[[], bool],
    ) -> None:
        self.gateway = gateway
        self.rebalance = rebalance
        self.dispatch = dispatch
        self.checks = (gateway.check, *checks)
        self.is_stopping = is_stopping
        self._is_loaded = is_loaded

    def take(self, scope: Scope, body: bytes, caller: Caller) -> bool:
        """Answer a request; False: it has to go the other way. See `Wire`."""
        handler = self.dispatch.handler_or_none(scope)
        if handler is None or not self._is_loaded():
            return False
        _Exchange(self, scope, body, caller).start(handler)
        return True


class _Exchange:
    """A request and its answer."""

    def __init__(self, direct: Direct, scope: Scope, body: bytes, caller: Caller) -> None:
        self._direct = direct
        self._scope = scope
        self._body = body
        self._caller = caller
        self._id = request_id_of(scope)
        self._record = scope[telemetry.RECORD] = telemetry.Record(operation(scope["path"]), self._id).begin()
        self._is_over = False
        direct.rebalance.begin()

    def start(self, handler: Handler) -> None:
        try:
            for check in self._direct.checks:
                check(self._scope)
            self._job, self._deadline_s = self._direct.dispatch.take(
                handler, self._scope, self._body, self._told
            )
        except Exception as error:
            self._told(None, error)

    def _told(self, value: Any, error: Exception | None) -> None:
        """The answer, or the first part of it; maybe within `start`."""
        try:
            self._answer(value, error)
        except Exception:  # a fault of ours; whoever waits is not to wait for ever
            _log.exception("while answering")
            if not self._is_over:
                self._end(InternalError.status)
            self._caller.drop()

    def _answer(self, value: Any, error: Exception | None) -> None:
        if isinstance(error, ClientGoneError):
            self._end(CLIENT_GONE)
            return
        if isinstance(value, Part):
            self._record.context().run(self._caller.run, partial(self._send_parts, value))
            return
        if error is None:
            head = lines([*value.raw_headers, *own_headers(self._id)])
            answer = Answer(value.status_code, head, value.body)
        else:
            answer = answer_to(self._fault(error), self._scope["path"], self._id)
        closes = self._closes(answer.status)
        self._end(answer.status)
        self._caller.answer(answer._replace(closes=True) if closes else answer)

    async def _send_parts(self, first: Part, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application: the one way to an answer whose parts wait for the client."""
        reply = Reply(scope, send, self._id)

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._closes(message["status"]):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await reply.send(message)

        try:
            await self._direct.dispatch.send(self._job, first, self._deadline_s, scope, receive, closing)
        except ClientGoneError:
            return
        except Exception as error:
            await reply.fail(self._fault(error))
        finally:
            self._direct.dispatch.release(self._body)
            self._end(reply.status or CLIENT_GONE)

    def _fault(self, error: Exception) -> ServiceError:
        return self._record.context().run(self._direct.gateway.fault, error)

    def _closes(self, status: int) -> bool:
        is_to_move = self._direct.rebalance.answered(self._scope["client"], status)
        return is_to_move or self._direct.is_stopping()

    def _end(self, status: int) -> None:
        self._is_over = True
        self._record.status = status
        self._record.end()
