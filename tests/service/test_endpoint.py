"""What lies between a request's bytes and a method of the service."""

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from service import telemetry
from service.errors import BadRequest
from service.http.calls import Call, RawRequest
from service.http.endpoint import endpoint, handlers
from service.job import Part, Work
from service.schemas import ImagesAnswer, SampleRequest


class Service:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    @endpoint(SampleRequest, ImagesAnswer, ("image/png",))
    def sample(self, call: Call[SampleRequest]) -> Work:
        if self.error is not None:
            raise self.error
        yield Part(b"begun")
        return JSONResponse([call.options.model, call.options.n, call.media_type])

    def helper(self) -> None:
        """Not an endpoint."""


def raw(body: bytes) -> RawRequest:
    return RawRequest("n=3", "application/json", None, body, telemetry.Record("sample", "id"))


def test_a_method_becomes_a_handler_of_its_path() -> None:
    found: dict[str, Any] = handlers(Service())
    assert list(found) == ["/sample"]
    request = raw(b'{"model": "m"}')
    work: Work = found["/sample"](request)
    assert request.record.model == ""  # nothing is done before the first step
    assert next(work) == Part(b"begun")
    with pytest.raises(StopIteration) as end:
        next(work)
    assert json.loads(end.value.value.body) == ["m", 3, "image/png"]
    assert request.record.model == "m"


def test_bentoml_is_told_the_schema() -> None:
    method = vars(Service)["sample"]
    assert method.route == "/sample"
    assert "seed" in method.input_spec.model_json_schema()["properties"]
    assert "images" in method.output_spec.model_json_schema()["properties"]


def test_an_error_of_an_operation_names_where_its_field_was() -> None:
    with pytest.raises(BadRequest) as caught:
        next(handlers(Service(BadRequest.at("n", "is too much")))["/sample"](raw(b'{"model": "m"}')))
    assert caught.value.errors[0]["location"] == "query.n"


def test_a_bad_request_does_not_reach_the_method() -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        next(handlers(Service(ZeroDivisionError("reached")))["/sample"](raw(b"{")))
