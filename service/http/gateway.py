"""What every request passes first, and every answer last.

Request ids, the deadline, one log line and one count a request, and problem+json (under /v2
that protocol's own form) in place of whatever form BentoML or Starlette would give an error.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry
from service.admission import Refusal
from service.errors import (
    BadRequest,
    DeadlineExceeded,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
    is_v2,
    media_type,
    to_body,
)
from service.http import head
from service.settings import Settings
from service.v2 import endpoints as v2
from service.wire import REQUEST_ID, Answer, Asked, lines

OPERATIONS = ("sample", "reconstruct", "encode", "decode", "interpolate", "score")
PATHS = (
    *(f"/{name}" for name in OPERATIONS),
    "/models",
    "/livez",
    "/readyz",
    "/metrics",
    "/docs.json",
    "/v2",
)
_SUBTREES = ("/models/", "/static_content/", "/v2/", "/admin/")
# An answer is what it says it is, also where a caller's own words are in it.
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_EXACTLY = frozenset(("/", *PATHS))

# nginx's number for a client that left before it was answered; it is logged, never sent.
CLIENT_GONE = 499
# Of longer ones nothing is told: see `ServiceError.problem`.
_TOLD_OF_A_PATH = 201
_NOT_COUNTED = ("/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
_log = logging.getLogger(__name__)


class Gateway:
    """ASGI middleware; see the head of this file."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        reply = Reply(scope, send, request_id)
        if scope["path"] in _NOT_COUNTED:
            await self._answer(scope, receive, reply)
            return
        with telemetry.Record(operation(scope["path"]), request_id) as record:
            scope[telemetry.RECORD] = record
            await self._answer(scope, receive, reply)
            record.status = reply.status or CLIENT_GONE

    def turn_away(self, refusal: Callable[[Asked], Refusal | None], asked: Asked) -> Answer | None:
        """The answer to a request that is refused at once: as this application would answer it. See `Wire`."""
        if (refused := refusal(asked)) is None:
            return None
        request_id = _request_id(asked.request_id)
        record = telemetry.Record(operation(asked.path), request_id).begin()
        record.status = Overloaded.status
        record.end()
        head, body = _overloaded(refused, asked.path[:_TOLD_OF_A_PATH])
        return Answer(Overloaded.status, head + lines(own_headers(request_id)), body)

    def check(self, scope: Scope) -> None:
        """Raises ServiceError where a request's head cannot be taken."""
        head.check(scope, self._settings.max_header_bytes)
        if not _is_served(scope["path"]):
            raise _no_such_path(scope["path"])

    def fault(self, error: Exception) -> ServiceError:
        """What is answered where that was raised. To be called where it is handled: it may be logged."""
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, TimeoutError):
            return DeadlineExceeded(f"not answered within {self._settings.request_timeout_s:g} seconds")
        _log.error("unexpected error", exc_info=error)
        return InternalError()

    async def _answer(self, scope: Scope, receive: Receive, reply: "Reply") -> None:
        try:
            self.check(scope)
            await self._app(scope, receive, reply.send)
        except Exception as error:
            await reply.fail(self.fault(error))


class Reply:
    """Sends an answer, with our headers; an error in another form than ours is replaced."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._replaced = False
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            status, headers = message["status"], message["headers"]
            if status >= 400 and not _is_ours(headers, self._scope["path"]):
                self._replaced = True
                await self._problem(_translate(status, Headers(raw=headers), self._scope))
                return
            self.status = status
            message["headers"] = [*headers, *own_headers(self._request_id)]
        await self._send(message)

    async def fail(self, error: ServiceError) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status is None:
            self._replaced = True
            await self._problem(error)

    async def _problem(self, error: ServiceError) -> None:
        self.status = error.status
        headers, body = _headers_and_body(error, self._scope["path"])
        headers += own_headers(self._request_id)
        await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def own_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    """What the Gateway adds to an answer."""
    return [(REQUEST_ID, request_id.encode()), _NOSNIFF]


def answer_to(error: ServiceError, path: str, request_id: str) -> Answer:
    """For those who send without a Response."""
    headers, body = _headers_and_body(error, path)
    return Answer(error.status, lines([*headers, *own_headers(request_id)]), body)


def _headers_and_body(error: ServiceError, path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = to_body(error, path)
    headers = [(b"content-type", media_type(path).encode()), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    return headers, body


@lru_cache(maxsize=512)
def _overloaded(refused: Refusal, path: str) -> tuple[bytes, bytes]:
    """Head and body, which thousands are told when there is no time to spare."""
    error = Overloaded(refused.detail, retry_after_s=refused.retry_after_s)
    headers, body = _headers_and_body(error, path)
    return lines(headers), body


def request_id_of(scope: Scope) -> str:
    """The caller's, or a new one."""
    return _request_id(dict(scope["headers"]).get(REQUEST_ID))


def _request_id(own: bytes | None) -> str:
    return telemetry.request_id(None if own is None else own.decode("latin-1"))


def _is_ours(headers: list[tuple[bytes, bytes]], path: str) -> bool:
    return Headers(raw=headers).get("content-type") == media_type(path)


def _translate(status: int, headers: Headers, scope: Scope) -> ServiceError:
    """An error that BentoML or Starlette made, as one of ours."""
    match status:
        case 404:
            return _no_such_path(scope["path"])
        case 405:
            return MethodNotAllowed(scope["method"], sorted(headers.get("allow", "").split(", ")))
        case 503:
            return Unavailable("the service is starting or stopping")
        case _ if status >= 500:
            return InternalError()
        case _:
            return BadRequest(f"the request was refused: {HTTPStatus(status).phrase}")


def _is_served(path: str) -> bool:
    """Not served are BentoML's /schema.json and /healthz, and its redirects from paths that end in "/"."""
    return path in _EXACTLY or (path.startswith(_SUBTREES) and not path.endswith("/"))


def _no_such_path(path: str) -> NotFound:
    return NotFound(f"no such path: {path[:200]}; there are {', '.join(v2.PATHS if is_v2(path) else PATHS)}")


def operation(path: str) -> str:
    """A label of metrics and logs: one of few, whatever a client asks for."""
    name = path[1:]
    if name in OPERATIONS:
        return name
    if v2.is_inference(path):
        return "infer"
    name = name.partition("/")[0]
    return name if f"/{name}" in _EXACTLY else "other"
