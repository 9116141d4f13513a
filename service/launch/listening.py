"""The socket that all workers accept connections from."""

import ctypes
import socket
import struct
import sys
from contextlib import suppress

BACKLOG = 2048
"""Connections that may wait to be accepted."""

_SO_ATTACH_FILTER = 26
# Classic BPF on the TCP header: the code of the instruction, where to go on if true and if false, its operand.
_NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # SYN and ACK of them
    (0x15, 0, 1, 0x02),  # SYN alone:
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
)


def bind(host: str, port: int, unread_s: float) -> socket.socket:
    """Listen on `host`:`port`. Who connects from now on is answered once there are workers.

    Args:
        unread_s: seconds after which a client is given up that takes nothing of what was sent to it. A connection is
            closed only when all was taken: without an end, one that never reads keeps it, and what it holds, for ever.
            On other systems than Linux there is none.

    Raises:
        OSError: the address is in use, not this machine's, not allowed or unknown.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    if sys.platform == "linux":  # connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * unread_s))
    return listener


def url(listener: socket.socket) -> str:
    """Where it listens, with the port that the system chose if 0 was asked for."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_new(listener: socket.socket) -> None:
    """Begin no connection any more, for any process; those that wait to be accepted still do.

    To close a socket resets the connections that wait. With this first, none is there when it is closed: whoever tries
    meanwhile tries again a second later, and is refused. On other systems than Linux nothing is done.
    """
    if sys.platform == "linux":
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _NO_NEW_CONNECTIONS)
        buffer = ctypes.create_string_buffer(code)
        program = struct.pack("@HP", len(_NO_NEW_CONNECTIONS), ctypes.addressof(buffer))
        with suppress(OSError):  # a sandbox may not know it; then a few may be reset
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
