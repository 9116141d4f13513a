"""The bodies of requests: how long each may be, and how many bytes a worker holds at once."""

from collections.abc import Mapping

from starlette.types import Receive

from service.errors import Overloaded, TooLarge
from service.job import ClientGoneError


class Bodies:
    """Those of a worker that are coming in, or wait for an answer.

    Args:
        most_bytes: of one.
        most_held_bytes: of all together. One alone may always have `most_bytes`.
    """

    def __init__(self, most_bytes: int, most_held_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._most_held_bytes = most_held_bytes
        self._held_bytes = 0

    def hold(self, size: int) -> None:
        """Hold a body that is there, until it is released.

        Raises:
            TooLarge, Overloaded: as `read`.
        """
        if size > self._most_bytes:
            raise self._too_large()
        if self._held_bytes + size > max(self._most_held_bytes, size):
            raise self._no_room()
        self._held_bytes += size

    async def read(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """A whole body, which is held until it is released. Counts what arrives, whatever Content-Length says.

        Raises:
            ClientGoneError: before it was whole.
            TooLarge, Overloaded: it is too long, or there is no room for it beside the others.
        """
        if int(headers.get("content-length", "0")) > self._most_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                self._held_bytes += len(chunk)
                if size > self._most_bytes:
                    raise self._too_large()
                if self._held_bytes > max(self._most_held_bytes, size):
                    raise self._no_room()
                if not message.get("more_body", False):
                    return b"".join(chunks)
        except BaseException:
            self._held_bytes -= size
            raise

    def _too_large(self) -> TooLarge:
        return TooLarge.at("body", f"may have {self._most_bytes:,} bytes (a setting of this server)")

    def _no_room(self) -> Overloaded:
        return Overloaded(
            f"bodies of {self._most_held_bytes:,} bytes together are held here, and no more may be",
            retry_after_s=1,
        )

    def release(self, size: int) -> None:
        """A body of so many bytes has been answered."""
        self._held_bytes -= size
