"""What only the server's protocol sees of connections, and others want to know.

Our launcher's protocol tells it (service/launch/protocol.py); that of `bentoml serve` does not.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from starlette.types import ASGIApp, Scope

REQUEST_ID = b"x-request-id"
IS_GONE = "latentry.is_gone"
"""Where the `state` of an ASGI scope keeps what tells at any time whether the client has left."""


class Asked(NamedTuple):
    """What is known of a request as soon as it is there, as ASGI has it."""

    method: str
    path: str
    client: object
    state: dict[str, Any]
    request_id: bytes | None
    """The caller's own."""


class Answer(NamedTuple):
    """What a request is answered with, where no application is asked."""

    status: int
    head: bytes
    """A line for each header."""
    body: bytes
    closes: bool = False
    """The connection, after it."""


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class Caller(Protocol):
    """Who waits for the answer to a request."""

    def answer(self, answer: Answer) -> None:
        """Give the whole answer."""

    def run(self, app: ASGIApp) -> None:
        """Have an ASGI application answer instead, in a task; its `receive` gives an empty body."""

    def drop(self) -> None:
        """End the connection: there will be no answer."""


class Wire:
    """Of this process."""

    arrivals = 0
    """Connections and data that have come, and requests that have begun."""
    on_lost: Callable[[object], None] = staticmethod(lambda _client: None)
    """Is called with what ASGI calls the client, (host, port), when its connection has ended."""
    turn_away: Callable[[Asked], Answer | None] = staticmethod(lambda _asked: None)
    """Is asked of a request before anything is made for it; an answer turns it away.

    Beyond saturation most of what comes is refused, and what that costs is lost to those who are answered. Asked first,
    with nothing made that a refusal does not need, it took 19 us of CPU in place of 39 to 44 (16 connections, two pairs
    of runs in turns), and at five times what the service can do it lost 5 to 8 % of its goodput in place of 6 to 14."""
    take: Callable[[Scope, bytes, Caller], bool] = staticmethod(lambda _scope, _body, _caller: False)
    """Is given a request that is there whole, body and all. True: the caller will be answered; False: by the ASGI
    application, as any other."""


wire = Wire()
