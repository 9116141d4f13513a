"""What makes a method an endpoint: a schema for its requests, and the forms that its answer can take."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import bentoml
from pydantic import BaseModel

from service.http.calls import Call, RawRequest, parse
from service.http.dispatch import Handler
from service.job import Work
from service.schemas import Options
from service.settings import load_settings
from service.steps import LARGE_BYTES, aside

T = TypeVar("T", bound=Options)


def endpoint(
    schema: type[T], answer: type[BaseModel], media_types: tuple[str, ...]
) -> Callable[[Callable[[Any, Call[T]], Work]], Any]:
    """Make a method, written in steps, a POST endpoint named after it.

    Args:
        schema: options of the request.
        answer: the JSON form of the answer.
        media_types: all forms of the answer, the default first.
    """

    def decorate(method: Callable[[Any, Call[T]], Work]) -> Any:
        def work(service: Any, raw: RawRequest) -> Work:
            large, settings = len(raw.body) > LARGE_BYTES, load_settings()
            call = yield from aside(large, parse, raw, schema, media_types, settings)
            call.record.model = call.options.model
            with call.locating_errors():
                return (yield from method(service, call))

        # To BentoML a generator would be a stream of answers.
        @functools.wraps(method)
        def handle(service: Any, raw: RawRequest) -> Work:
            return work(service, raw)

        class Input(bentoml.IODescriptor):  # type: ignore[misc]  # bentoml has no type information here
            """For BentoML's description of the service; the request itself is read by `calls.parse`."""

            @classmethod
            def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
                return schema.model_json_schema(*args, **kwargs)

        return bentoml.api(handle, input_spec=Input, output_spec=answer)

    return decorate


def handlers(service: object) -> dict[str, Handler]:
    """The endpoints of an instance of a service, by path."""
    known = (value for value in vars(type(service)).values() if hasattr(value, "route"))
    return {method.route: functools.partial(method.func, service) for method in known}
