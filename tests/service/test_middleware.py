"""The Gateway around small applications: what it answers in their place."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Unavailable
from service.middleware import Gateway
from service.settings import Settings

SETTINGS = Settings(request_timeout_s=0.2, max_body_bytes=1024)


def client(app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Gateway(app, SETTINGS))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def sleeps(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(30)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("secret")


async def not_ready(scope: Scope, receive: Receive, send: Send) -> None:
    raise Unavailable("the models are loading", headers={"Retry-After": "1"})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body, which must come in one piece."""
    message = await receive()
    await JSONResponse([message["body"].decode(), message["more_body"]])(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "status", "says"),
    [
        (sleeps, 504, "within 0.2 seconds"),
        (raises, 500, "request id"),
        (not_ready, 503, "the models are loading"),
        (JSONResponse({"error": "secret"}, 500), 500, "unexpected"),
        (JSONResponse([{"error": "BentoML says"}], 418), 400, "I'm a Teapot"),
        (PlainTextResponse("Not Found", 404), 404, "no such path: /sample"),
        (PlainTextResponse("no", 405, {"Allow": "POST"}), 405, "POST is not allowed here; allowed: POST"),
    ],
)
async def test_every_failure_is_a_problem(app: ASGIApp, status: int, says: str) -> None:
    async with client(app) as http:
        answer = await http.post("/sample", content=b"x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert "secret" not in answer.text
    assert len(answer.headers["x-request-id"]) == 16


@pytest.mark.parametrize("path", ["/healthz", "/schema.json", "/sample/", "/models/", "/models/m/", "/nope"])
async def test_a_path_that_is_not_ours_does_not_reach_bentoml(path: str) -> None:
    async with client(JSONResponse("reached")) as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        for served in ("/", "/sample", "/livez", "/models/m", "/static_content/swagger-ui.css"):
            assert (await http.get(served)).json() == "reached"


async def test_a_pickle_does_not_reach_bentoml() -> None:
    """It would log a stack trace."""
    async with client(JSONResponse("reached")) as http:
        for kind in ("application/vnd.bentoml+pickle", "application/vnd.bentoml+pickle; v=1"):
            answer = await http.post("/sample", content=b"x", headers={"Content-Type": kind})
            assert answer.status_code == 415
            assert answer.json()["errors"][0]["location"] == "header.Content-Type"


async def test_headers_of_an_error_are_kept() -> None:
    async with client(not_ready) as http:
        assert (await http.get("/readyz")).headers["retry-after"] == "1"


async def test_limit_of_the_body_is_exact() -> None:
    async with client(echo) as http:
        for content in (b"x" * 1024, _chunks(1024)):
            answer = await http.post("/sample", content=content)
            assert answer.json() == ["x" * 1024, False]
        for content in (b"x" * 1025, _chunks(1025)):
            answer = await http.post("/sample", content=content)
            assert (answer.status_code, answer.json()["errors"][0]["location"]) == (413, "body")
            assert "1,024" in answer.json()["detail"]


async def test_an_answer_that_has_begun_is_not_replaced() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    sent = await _run(breaks, [{"type": "http.request", "body": b""}])
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_a_client_that_left_is_not_answered() -> None:
    half: list[Message] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert await _run(raises, half) == []


async def _run(app: ASGIApp, incoming: list[Message]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/sample", "headers": []}
    await Gateway(app, SETTINGS)(scope, receive, send)
    return sent


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b"x"
