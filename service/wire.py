"""What only the server's protocol sees of connections, and others want to know.

Our launcher's protocol tells it (service/launch/protocol.py); that of `bentoml serve` does not.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from starlette.types import ASGIApp, Scope

IS_GONE = "latentry.is_gone"
"""Where the `state` of an ASGI scope keeps what tells at any time whether the client has left."""


class Answer(NamedTuple):
    """What a request is answered with, where no application is asked."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    closes: bool = False
    """The connection, after it."""


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
    turn_away: Callable[[Scope], Answer | None] = staticmethod(lambda _scope: None)
    """Is asked of a request before there is a task for it; an answer turns it away.

    Beyond saturation most of what comes is refused, and what that costs is lost to those who are answered: this way
    a fifth less (CPU of the event loop, two pairs of runs in turns)."""
    take: Callable[[Scope, bytes, Caller], bool] = staticmethod(lambda _scope, _body, _caller: False)
    """Is given a request that is there whole, body and all. True: the caller will be answered; False: by the ASGI
    application, as any other."""


wire = Wire()
