"""Who may call, where the operator has given out keys (`LATENTRY_KEYS_FILE`); without them it is not there at all."""

import logging
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Forbidden, Unauthorized
from service.keys import Keys

OPEN = frozenset(("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"))
"""For whoever watches over the service, and knows no key."""
ADMIN = "/admin/"
KEY_HEADER = "X-Api-Key"

_HOW = f"`Authorization: Bearer KEY` or `{KEY_HEADER}: KEY`"
_log = logging.getLogger(__name__)


class Access:
    """ASGI middleware: a request without a key that will do goes no further, and its body is not read."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the Gateway answers: Unauthorized, Forbidden."""
        if scope["type"] == "http":
            self.check(scope)
        await self._app(scope, receive, send)

    def check(self, scope: Scope) -> None:
        """Raises Unauthorized, Forbidden."""
        if scope["path"] in OPEN:
            return
        text = _text(scope["headers"])
        if text is None:
            raise Unauthorized(f"this server answers those who send a key, as {_HOW}")
        key = self._keys.find(text)
        if key is None:
            raise Unauthorized(f"the key that was sent is none of this server's; send one as {_HOW}")
        if scope["path"].startswith(ADMIN):
            _log.info("asked for %s by the %s key %s", scope["path"], key.scope, key.name)
        if needs_admin(scope["path"]) and key.scope != "admin":
            raise Forbidden(f"{scope['path']} needs a key of the scope admin; this one's is {key.scope}")


def needs_admin(path: str) -> bool:
    # All that begins so: a route may take a path in more than one spelling, such as "/admin/reload%0A".
    return path.startswith((ADMIN, "/metrics"))


def _text(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """The key that was sent. The first header of a name counts, as elsewhere; another scheme is a proxy's business."""
    given = dict(reversed(headers))
    scheme, _, text = given.get(b"authorization", b"").partition(b" ")
    return text.strip() if scheme.lower() == b"bearer" else given.get(KEY_HEADER.lower().encode())
