"""Puts our middleware before BentoML's own, which by themselves stand outermost."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class Front:
    """ASGI middleware that takes requests from where BentoML's whole stack begins.

    BentoML puts tracing and a timer, which is never cancelled, before any middleware of a service; of both we have our
    own. When the server starts (the "lifespan" scope), this one steps to the head of the stack: requests go through
    `wrap(app)` alone, where `app` is what BentoML has behind it.
    """

    def __init__(self, app: ASGIApp, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
        self._app = wrap(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["app"].middleware_stack = self._app
        await self._app(scope, receive, send)
