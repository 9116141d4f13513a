"""What only the server's protocol sees of connections, and others want to know.

Our launcher's protocol tells it (service/launch/protocol.py); that of `bentoml serve` does not.
"""

from collections.abc import Callable

IS_GONE = "latentry.is_gone"
"""Where the `state` of an ASGI scope keeps what tells at any time whether the client has left."""


class Wire:
    """Of this process."""

    arrivals = 0
    """Connections and data that have come, and requests that have begun."""
    on_lost: Callable[[object], None] = staticmethod(lambda _client: None)
    """Is called with what ASGI calls the client, (host, port), when its connection has ended."""


wire = Wire()
