"""The client side of HTTP/1.1, reduced to what a load generator needs to know of an answer."""

import asyncio
from collections.abc import Callable
from typing import cast

PAUSE_S = 0.01
"""Before the next attempt where a connection was refused."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way.

    `answered` is called for each request, with what was wrong (None: nothing) and the length of the body: a status
    other than 200, "refused", "reset" or "malformed". `started` is the caller's, for the time of the request.
    """

    def __init__(self, host: str, port: int, answered: "Answered") -> None:
        self._host, self._port = host, port
        self._answered = answered
        self._connecting: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._next: bytes | None = None
        self.started = 0.0
        self.port = 0  # of this side, once it is open
        self.retry_after_s = 0  # of the last answer with 429; 0 where it did not tell
        self.busy = False
        # Of the answer that is coming in; `_reset` sets them back.
        self._rest = b""
        self._status = self._size = self._length = self._skip = 0
        self._chunked = self._close = self._last = False

    def send(self, request: bytes) -> None:
        """Send on the open connection, or open one first."""
        self.busy = True
        if self._transport is None:
            self._connect(request)
        elif self._transport.is_closing():
            self._next = request  # for `connection_lost`
        else:
            self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _connect(self, request: bytes) -> None:
        self._connecting = asyncio.ensure_future(self._connect_and_send(request))

    async def _connect_and_send(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, self._host, self._port)
        except OSError:
            await asyncio.sleep(PAUSE_S)
            self._finish("refused")
        else:
            if self._transport is not None:  # or lost again, and counted
                self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        if self._next is not None:
            request, self._next = self._next, None
            self._connect(request)
        elif self.busy:
            self._finish("reset")

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            return
        try:
            if self._status == 0:
                data = self._read_head(data)
                if self._status == 0:
                    return
            if self._chunked:
                done = self._read_chunks(data)
            else:
                self._size += len(data)
                done = self._size >= self._length
        except ValueError:
            self.close()
            self._finish("malformed")
            return
        if done:
            if self._close:
                self.close()
            self._finish(None if self._status == 200 else str(self._status))

    def _read_head(self, data: bytes) -> bytes:
        """Sets the status once the head is whole; gives what follows the head.

        Raises:
            ValueError: it is no answer, or its length is not told.
        """
        data = self._rest + data if self._rest else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return b""
        head = data[:end].lower()
        if not head.startswith(b"http/1.1 "):
            raise ValueError("not HTTP/1.1")
        self._rest = b""
        self._status = int(head[9:12])
        self._close = b"\r\nconnection: close" in head
        if self._status == 429:
            at = head.find(b"\r\nretry-after:")
            self.retry_after_s = int(head[at + 14 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if (at := head.find(b"\r\ncontent-length:")) >= 0:
            self._length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        elif b"\r\ntransfer-encoding: chunked" in head:
            self._chunked = True
        else:
            raise ValueError("no length")
        return data[end + 4 :]

    def _read_chunks(self, data: bytes) -> bool:
        """Whether the last chunk (of an answer without trailers) is in.

        Raises:
            ValueError: the length of a chunk is no number.
        """
        data, at = self._rest + data if self._rest else data, 0
        self._rest = b""
        while True:
            skipped = min(self._skip, len(data) - at)
            at += skipped
            self._skip -= skipped
            if self._skip or self._last:
                return self._skip == 0
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                return False
            size = int(data[at:end].split(b";")[0], 16)
            self._size += size
            self._last = size == 0
            self._skip = size + 2
            at = end + 2

    def _finish(self, fault: str | None) -> None:
        size = self._size
        self.busy = False
        self._reset()
        self._answered(self, fault, size)

    def _reset(self) -> None:
        self._rest = b""
        self._status = self._size = self._length = self._skip = 0
        self._chunked = self._close = self._last = False


Answered = Callable[[Connection, str | None, int], None]
