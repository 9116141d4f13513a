"""What a connection leaves behind."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Scope
from uvicorn.server import ServerState

from service.launch.protocol import Protocol, with_patience
from service.wire import Answer, Caller, wire

REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
HALF = REQUEST[:-1]


def _turn_away(_asked: object) -> Answer:
    return Answer(200, b"content-length: 2\r\n", b"ok")


def _take(scope: Scope, _body: bytes, caller: Caller) -> bool:
    caller.answer(_turn_away(scope))
    return True


@pytest.mark.parametrize(
    "said", [REQUEST, HALF, REQUEST * 3, b""], ids=["whole", "half", "pipelined", "nothing"]
)
@pytest.mark.parametrize("how", [None, _turn_away, _take], ids=["application", "turned away", "taken"])
async def test_a_connection_that_has_ended_is_not_left_to_the_garbage_collector(
    said: bytes, how: Callable[..., Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how is not None:
        monkeypatch.setattr(wire, how.__name__.removeprefix("_"), how)
    config = uvicorn.Config(PlainTextResponse("ok"), http=with_patience(5.0, 1000), log_config=None)
    config.load()
    state, made = ServerState(), []

    def protocol() -> Protocol:
        connection = cast(Any, config.http_protocol_class)(config=config, server_state=state, app_state={})
        assert isinstance(connection, Protocol)
        made.append(weakref.ref(connection))
        return connection

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            if said.endswith(b"{}"):
                await reader.readuntil(b"ok")
            else:
                await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.1)
        assert len(made) == 3
        assert [connection() for connection in made] == [None] * 3
    finally:
        gc.enable()
        server.close()
        await server.wait_closed()
