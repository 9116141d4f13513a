"""The Gateway around small applications: what it answers in their place."""

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Unavailable
from service.http.gateway import Gateway
from service.settings import Settings

SETTINGS = Settings(request_timeout_s=0.2, max_body_bytes=1024)


def client(app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Gateway(app, SETTINGS))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def is_late(scope: Scope, receive: Receive, send: Send) -> None:
    raise TimeoutError


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("secret")


async def not_ready(scope: Scope, receive: Receive, send: Send) -> None:
    raise Unavailable("the models are loading", headers={"Retry-After": "1"})


@pytest.mark.parametrize(
    ("app", "status", "says"),
    [
        (is_late, 504, "within 0.2 seconds"),
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


@pytest.mark.parametrize(
    ("app", "status", "says"),
    [
        (is_late, 504, "not answered within 0.2 seconds"),
        (raises, 500, "an unexpected error; it is in the server's log under the request id of this answer"),
        (not_ready, 503, "the models are loading"),
        (
            PlainTextResponse("no", 405, {"Allow": "GET"}),
            405,
            "method POST is not allowed here; allowed: GET",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v2", "/v2/models/m/infer"])
async def test_failures_under_v2_have_the_form_of_that_protocol(
    app: ASGIApp, status: int, says: str, path: str
) -> None:
    async with client(app) as http:
        answer = await http.post(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert answer.json() == {"error": says}
        elsewhere = await http.post("/sample")
    assert elsewhere.headers["content-type"] == "application/problem+json"


async def test_a_path_beside_v2_is_none_of_it() -> None:
    async with client(JSONResponse("reached")) as http:
        assert (await http.get("/v2/health/live")).json() == "reached"
        for path in ("/v2x", "/v1"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
        assert "/v2/models/{model}/infer" in (await http.get("/v2/")).json()["error"]


@pytest.mark.parametrize("path", ["/healthz", "/schema.json", "/sample/", "/models/", "/models/m/", "/nope"])
async def test_a_path_that_is_not_ours_does_not_reach_bentoml(path: str) -> None:
    async with client(JSONResponse("reached")) as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        for served in ("/", "/sample", "/livez", "/models/m", "/static_content/swagger-ui.css"):
            assert (await http.get(served)).json() == "reached"


async def test_headers_of_an_error_are_kept() -> None:
    async with client(not_ready) as http:
        assert (await http.get("/readyz")).headers["retry-after"] == "1"


async def test_an_answer_that_has_begun_is_not_replaced() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    sent = await _run(breaks, [{"type": "http.request", "body": b""}])
    assert [message["type"] for message in sent] == ["http.response.start"]


async def _run(app: ASGIApp, incoming: list[Message]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/sample", "query_string": b"", "headers": []}
    await Gateway(app, SETTINGS)(scope, receive, send)
    return sent
