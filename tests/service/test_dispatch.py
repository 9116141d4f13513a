"""From an ASGI request to a handler and back, behind the Gateway as in the service."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BadRequest
from service.http.calls import RawRequest
from service.http.dispatch import Dispatch, Handler
from service.http.gateway import Gateway
from service.job import Part, Work
from service.settings import Settings
from service.steps import aside
from service.telemetry.logs import request_of_context

SETTINGS = Settings(request_timeout_s=0.5, max_body_bytes=1024)
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/sample",
    "query_string": b"",
    "headers": [],
    "client": ("here", 1),
}
bentoml = JSONResponse("from BentoML")


def stack(handler: Handler) -> ASGIApp:
    return Gateway(Dispatch(bentoml, {"/sample": handler}, SETTINGS), SETTINGS)


def client(handler: Handler) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(stack(handler)), base_url="http://test")


def echo(raw: RawRequest) -> Work:
    yield from ()
    return JSONResponse([raw.query, raw.content_type, raw.accept, raw.body.decode(), raw.record.operation])


async def test_a_handler_gets_the_request_as_it_came() -> None:
    async with client(echo) as http:
        answer = await http.post(
            "/sample?n=%31", content=b"\x00x", headers={"Content-Type": "a/b", "Accept": "c/d"}
        )
    assert answer.json() == ["n=%31", "a/b", "c/d", "\x00x", "sample"]


async def test_all_else_goes_to_bentoml() -> None:
    async with client(echo) as http:
        assert (await http.get("/sample")).json() == "from BentoML"
        assert (await http.post("/models")).json() == "from BentoML"


async def test_a_resolver_finds_handlers_by_method_and_path() -> None:
    def put(path: str, raw: RawRequest) -> Work:
        yield from ()
        return JSONResponse([path, raw.headers["x-mine"]])

    def resolve(method: str, path: str) -> Handler | None:
        return partial(put, path) if method == "PUT" else None

    app = Gateway(Dispatch(bentoml, {"/sample": echo}, SETTINGS, resolve=resolve), SETTINGS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        answer = await http.put("/v2/a/b", headers={"X-Mine": "yes"})
        assert answer.json() == ["/v2/a/b", "yes"]
        assert (await http.put("/sample", headers={"X-Mine": "yes"})).json() == ["/sample", "yes"]
        assert (await http.post("/sample")).json()[4] == "sample"
        assert (await http.post("/v2/a/b")).json() == "from BentoML"


async def test_limit_of_the_body_is_exact() -> None:
    async with client(echo) as http:
        for content in (b"x" * 1024, _chunks(1024)):
            answer = await http.post("/sample", content=content)
            assert answer.json()[3] == "x" * 1024
        for content in (b"x" * 1025, _chunks(1025)):
            answer = await http.post("/sample", content=content)
            assert (answer.status_code, answer.json()["errors"][0]["location"]) == (413, "body")
            assert "1,024" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status"), [(BadRequest.at("n", "is too much"), 400), (ZeroDivisionError("secret"), 500)]
)
async def test_what_a_handler_raises_is_answered(error: Exception, status: int) -> None:
    def raises(raw: RawRequest) -> Work:
        yield from ()
        raise error

    async with client(raises) as http:
        answer = await http.post("/sample")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert "secret" not in answer.text


async def test_a_handler_runs_within_the_request() -> None:
    seen = []

    def handler(raw: RawRequest) -> Work:
        yield from ()
        seen.append(request_of_context.get())
        return Response()

    async with client(handler) as http:
        await http.post("/sample", headers={"X-Request-Id": "abc"})
    [record] = seen
    assert record is not None
    assert record.request_id == "abc"


async def test_a_request_that_timed_out_while_it_waited_is_not_computed() -> None:
    begun = []
    release = threading.Event()

    def busy(body: bytes) -> None:
        begun.append(body)
        release.wait(10)

    def handler(raw: RawRequest) -> Work:
        yield from aside(True, busy, raw.body)
        return Response()

    async with client(handler) as http:
        answers = await asyncio.gather(*(http.post("/sample", content=b"%d" % i) for i in range(3)))
        release.set()
        assert [answer.status_code for answer in answers] == [504, 504, 504]
        assert (await http.post("/sample", content=b"last")).status_code == 200
    assert begun == [b"0", b"last"]


async def test_parts_are_sent_one_by_one_and_computed_no_sooner() -> None:
    made, sent = [], []

    def handler(raw: RawRequest) -> Work:
        for i in range(3):
            made.append(i)
            yield Part(b"%d" % i, {"Content-Type": "text/plain", "X-N": "3"} if i == 0 else None)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(0.02)  # a slow client
            sent.append((message["body"], message["more_body"], list(made)))
        else:
            sent.append(dict(message["headers"])[b"x-n"])

    await stack(handler)(SCOPE, _receive_once(), send)
    assert sent == [
        b"3",
        (b"0", True, [0]),
        (b"1", True, [0, 1]),
        (b"2", True, [0, 1, 2]),
        (b"", False, [0, 1, 2]),
    ]


async def test_a_stream_ends_with_its_client() -> None:
    made: list[int] = []

    def handler(raw: RawRequest) -> Work:
        for i in range(1000):
            made.append(i)
            yield Part(b"x", {} if i == 0 else None)

    gone = asyncio.Event()

    async def receive() -> Message:
        if not received:
            received.append(1)
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if len(made) == 5:
            gone.set()
        await asyncio.sleep(0)

    received: list[int] = []
    await stack(handler)(SCOPE, receive, send)
    assert len(made) < 10


async def test_a_client_that_left_is_not_answered() -> None:
    incoming: list[Message] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await stack(echo)({**SCOPE, "headers": [(b"content-length", b"2")]}, receive, send)
    assert sent == []


async def test_a_body_that_stops_coming_is_given_up() -> None:
    async def halves() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)

    started_s = time.perf_counter()
    async with client(echo) as http:
        answer = await http.post("/sample", content=halves())
    assert (answer.status_code, answer.json()["detail"]) == (504, "not answered within 0.5 seconds")
    assert time.perf_counter() - started_s < 2


async def test_what_is_not_ours_has_a_deadline_too() -> None:
    async def sleeps(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(5)

    app = Gateway(Dispatch(sleeps, {}, SETTINGS), SETTINGS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        assert (await http.get("/models")).status_code == 504


def _receive_once() -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    return receive


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b"x"
