"""What lies between BentoML and a method of the service: parsing, errors, and nothing else.

BentoML would parse a body before the method runs, on the event loop, by rules of its own (unknown fields
pass, "12" is a number, broken multipart is a 500). Here its input spec hands over the bytes as they came,
and they are parsed in the thread that computes.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import bentoml
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service.calls import Call, RawRequest, parse
from service.errors import InternalError, ServiceError, to_response
from service.middleware import RECORD
from service.schemas import Options

T = TypeVar("T", bound=Options)
_log = logging.getLogger(__name__)


class _Unparsed(bentoml.IODescriptor):  # type: ignore[misc]  # bentoml has no type information here
    """Tells BentoML's tools of a schema; what a request gives is a RawRequest."""

    schema_: ClassVar[type[Options]]

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> RawRequest:
        return RawRequest(
            query=request.scope["query_string"].decode("latin-1"),
            content_type=request.headers.get("content-type"),
            accept=request.headers.get("accept"),
            body=await request.body(),
            record=request.scope[RECORD],
        )

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return cls.schema_.model_json_schema(*args, **kwargs)


_Unparsed.__root_input__ = True  # the method gets one argument: what `from_http_request` returns


def endpoint(
    schema: type[T], answer: type[BaseModel], media_types: tuple[str, ...]
) -> Callable[[Callable[[Any, Call[T]], Response]], Any]:
    """Make a method a POST endpoint named after it.

    Args:
        schema: options of the request.
        answer: the JSON form of the answer.
        media_types: all forms of the answer, the default first.
    """

    def decorate(method: Callable[[Any, Call[T]], Response]) -> Any:
        @functools.wraps(method)
        def handle(service: Any, raw: RawRequest) -> Response:
            path = f"/{method.__name__}"
            try:
                call = parse(raw, schema, media_types)
                call.record.model = call.options.model
                with call.locating_errors():
                    return method(service, call)
            except ServiceError as error:
                return to_response(error, path)
            except Exception:
                _log.exception("unexpected error")
                return to_response(InternalError(), path)

        class Input(_Unparsed):
            schema_ = schema

        return bentoml.api(handle, input_spec=Input, output_spec=answer)

    return decorate
