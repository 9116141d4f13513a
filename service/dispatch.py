"""Runs the endpoints: a request's bytes in, the answer out, the work between in a thread.

BentoML knows the endpoints and lists them in the Bento, but requests do not go its way, which leads through its
middlewares, its router and a look-up of dependencies: two cores answered 830 requests a second of one image by it, and
answer 1,076 by this one (means of three runs in turns).
"""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.calls import RawRequest
from service.errors import TooLarge
from service.settings import Settings
from service.telemetry import RECORD

Handler = Callable[[RawRequest], Response]
# By method and path; None where the request is not for a handler.
Resolver = Callable[[str, str], Handler | None]


class Dispatch:
    """ASGI middleware; what is neither a POST to the path of one of `handlers` nor known to `resolve` passes.

    At most `settings.concurrency` handlers run at a time; the others wait in order of arrival.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[str, Handler],
        settings: Settings,
        resolve: Resolver = lambda _method, _path: None,
    ) -> None:
        self._app = app
        self._handlers = handlers
        self._resolve = resolve
        self._max_body_bytes = settings.max_body_bytes
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="latentry")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ServiceError, and what else the handler raises: the Gateway answers."""
        handler = self._handler(scope) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = await _read_body(headers, receive, self._max_body_bytes)
        if body is None:
            return
        raw = RawRequest(
            query=scope["query_string"].decode("latin-1"),
            content_type=headers.get("content-type"),
            accept=headers.get("accept"),
            body=body,
            record=scope[RECORD],
            headers=headers,
        )
        # In the request's context, which log lines are told apart by.
        run = contextvars.copy_context().run
        response = await asyncio.get_running_loop().run_in_executor(self._threads, run, handler, raw)
        await response(scope, receive, send)

    def _handler(self, scope: Scope) -> Handler | None:
        method, path = scope["method"], scope["path"]
        if method == "POST" and path in self._handlers:
            return self._handlers[path]
        return self._resolve(method, path)


async def _read_body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where the client left. Counts what arrives, whatever Content-Length says."""
    error = TooLarge.at("body", f"may have {limit:,} bytes (a setting of this server)")
    if int(headers.get("content-length", "0")) > limit:
        raise error
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise error
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
