"""Bad input is a 4xx that names the place, the value and what is allowed; the next caller is served."""

import httpx
import pytest

from tests.service.http.bad import ALL, OWN, page
from tests.service.http.bad.case import FORM, Bad, form, send

CASES = [pytest.param(group, bad, id=f"{group}: {bad.name}") for group, cases in OWN.items() for bad in cases]


def assert_served(http: httpx.Client) -> None:
    answer = http.post("/sample", json={"model": "tiny-vae", "seed": 1})
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")


def assert_problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem: dict[str, object] = answer.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    path = answer.request.url.path
    assert problem.get("instance") == (path if len(path) <= 200 else None)
    assert problem["title"] == answer.reason_phrase
    return problem


@pytest.mark.parametrize(("group", "bad"), CASES)
def test_bad_request(http: httpx.Client, group: str, bad: Bad) -> None:
    answer = send(http, bad)
    problem = assert_problem(answer, bad.status)
    for words in bad.says:
        assert words in str(problem["detail"])
    errors = problem.get("errors", [])
    assert isinstance(errors, list)
    assert (bad.location in [e["location"] for e in errors]) if bad.location else not errors, errors
    assert len(answer.text) < 2000
    assert page.row(bad, answer) == page.committed().get((group, bad.name)), page.STALE
    assert_served(http)


def test_the_page_has_every_case_and_no_other() -> None:
    names = [(group, bad.name) for group, cases in ALL.items() for bad in cases]
    assert list(page.committed()) == names, page.STALE
    assert len(set(names)) == len(names) > 60
    assert f"{len(names)} requests" in page.PAGE.read_text()


def test_each_bad_field_is_named(http: httpx.Client) -> None:
    answer = http.post("/sample?truncation=2", json={"n": 0, "seeds": [1, -1], "x": 1})
    problem = assert_problem(answer, 400)
    locations = [error["location"] for error in problem["errors"]]  # type: ignore[attr-defined]
    assert sorted(locations) == ["body.model", "body.n", "body.seeds[1]", "body.x", "query.truncation"]


def test_chunked_body_is_counted_while_it_is_read(http: httpx.Client) -> None:
    answer = http.post(
        "/sample", content=(b" " * 50_000 for _ in range(9)), headers={"Content-Type": "application/json"}
    )
    assert "content-length" not in answer.request.headers
    assert_problem(answer, 413)
    assert_served(http)


def test_chunked_body_within_the_limit_is_served(http: httpx.Client) -> None:
    chunks = iter([b'{"model": "tiny-vae", ', b'"seed": 1}'])
    answer = http.post("/sample", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.content == http.post("/sample", json={"model": "tiny-vae", "seed": 1}).content


def test_what_may_be_given_twice_is_served(http: httpx.Client) -> None:
    request = {"model": "tiny-vae", "seed": 1}
    twice = [("Accept", "image/png"), ("Accept", "text/html"), ("X-Any", "1"), ("X-Any", "2")]
    answer = http.post("/sample", json=request, headers=[*twice, ("Content-Encoding", "identity")])
    assert answer.content == http.post("/sample", json=request).content


def test_limits_are_what_may_just_be_sent(http: httpx.Client) -> None:
    """Beside the cases, which are one more: nested 32 deep, 1,000,000 as a number of a latent, 1,124 parts."""
    nested = b'{"latents": ' + b"[" * 31 + b"]" * 31 + b"}"
    deep = http.post("/sample", content=nested, headers={"Content-Type": "application/json"})
    assert "nested" not in assert_problem(deep, 400)["detail"]  # type: ignore[operator]
    far = http.post("/decode", json={"model": "tiny-vae", "latents": [[1e6, -1e6, 0, 0]]})
    assert far.status_code == 200
    body = form(*[("images", b"")] * 1024, *[(f"a{i}", b"") for i in range(100)])
    parts = http.post("/score", content=body, headers={"Content-Type": FORM})
    assert "parts" not in assert_problem(parts, 400)["detail"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "path", ["/nope", "/sample/x", "/sample/", "/models/a/b", "/models/tiny-vae/", "/static_content/nope"]
)
def test_unknown_path(http: httpx.Client, path: str) -> None:
    problem = assert_problem(http.get(path), 404)
    assert path in str(problem["detail"])
    assert "/interpolate" in str(problem["detail"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/sample", "POST"),
        ("DELETE", "/score", "POST"),
        ("POST", "/models", "GET, HEAD"),
        ("PUT", "/models/tiny-vae", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
    ],
)
def test_wrong_method(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = http.request(method, path)
    problem = assert_problem(answer, 405)
    assert sorted(answer.headers["allow"].split(", ")) == sorted(allowed.split(", "))
    assert method in str(problem["detail"])
    assert "POST" in str(problem["detail"]) or "GET" in str(problem["detail"])


def test_unknown_model_page(http: httpx.Client) -> None:
    assert "tiny-vae" in str(assert_problem(http.get("/models/nope"), 404)["detail"])
