"""What becomes of an exception in an endpoint."""

import json
import logging

import pytest
from starlette.responses import Response

from service import telemetry
from service.calls import Call, RawRequest
from service.endpoint import endpoint
from service.errors import BadRequest
from service.schemas import ImagesAnswer, SampleRequest


def answer(error: Exception, body: bytes = b'{"model": "m"}') -> Response:
    @endpoint(SampleRequest, ImagesAnswer, ("image/png",))
    def sample(_service: object, _call: Call[SampleRequest]) -> Response:
        raise error

    raw = RawRequest("label=1", "application/json", None, body, telemetry.Record("sample", "id"))
    response: Response = sample.func(None, raw)
    assert response.headers["content-type"] == "application/problem+json"
    return response


def test_an_error_of_an_operation_names_where_its_field_was() -> None:
    response = answer(BadRequest.at("label", "must be left out"))
    assert response.status_code == 400
    assert json.loads(bytes(response.body))["errors"][0]["location"] == "query.label"


def test_an_unexpected_error_is_logged_and_not_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("service"), "propagate", True)
    with caplog.at_level(logging.ERROR):
        response = answer(ZeroDivisionError("secret"))
    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)
    assert "secret" in caplog.text


def test_a_bad_request_does_not_reach_the_method() -> None:
    assert answer(ZeroDivisionError("reached"), body=b"{").status_code == 400
