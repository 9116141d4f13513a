"""No framework: an ASGI function. `granian --interface asgi --workers 2 load_tests.peers.granian_asgi:app`."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from load_tests.peers.sampler import NPY, Sampler

sampler = Sampler()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    query = parse_qs(scope["query_string"].decode())
    accept = dict(scope["headers"]).get(b"accept", NPY.encode())
    body = sampler.answer(int(query["n"][0]), int(query["seed"][0]), accept.decode())
    headers = [(b"content-type", accept), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
