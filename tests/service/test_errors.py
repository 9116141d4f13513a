"""Errors and their form on the wire."""

import json

import pytest

from service import errors
from service.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
    to_response,
)


def test_problem_has_the_members_of_rfc_9457() -> None:
    response = to_response(BadRequest.at("body.n", "must be 1 or more, got 0"), "/sample")
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "body.n: must be 1 or more, got 0",
        "instance": "/sample",
        "errors": [{"location": "body.n", "message": "must be 1 or more, got 0"}],
    }


def test_members_without_content_are_left_out() -> None:
    assert json.loads(bytes(to_response(NotFound("no such model")).body)) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such model",
    }


def test_several_faults_are_all_told() -> None:
    error = BadRequest.of((name, "is required") for name in ("body.from", "body.to"))
    assert error.detail == str(error) == "body.from: is required; body.to: is required"
    assert [e["location"] for e in error.errors] == ["body.from", "body.to"]


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (Overloaded("queue is full", retry_after_s=3), 429, ("retry-after", "3")),
        (MethodNotAllowed("GET", ["POST"]), 405, ("allow", "POST")),
        (Unavailable("starting", headers={"Retry-After": "1"}), 503, ("retry-after", "1")),
    ],
)
def test_headers(error: ServiceError, status: int, header: tuple[str, str]) -> None:
    response = to_response(error)
    assert response.status_code == status
    assert response.headers[header[0]] == header[1]


def test_an_internal_error_says_nothing_of_its_cause() -> None:
    with pytest.raises(InternalError) as caught:
        raise InternalError from ValueError("secret")
    assert "secret" not in bytes(to_response(caught.value).body).decode()


def test_any_text_can_be_told() -> None:
    """A lone surrogate, which JSON can smuggle into a string, has no UTF-8 form."""
    body = bytes(to_response(NotFound("no model '\ud800é'")).body)
    assert json.loads(body)["detail"] == "no model '?é'"


def test_every_status_has_a_title() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)
    ]
    statuses = [kind.status for kind in kinds if kind is not ServiceError]
    assert sorted(statuses) == [400, 401, 403, 404, 405, 406, 413, 415, 429, 431, 500, 503, 504]
