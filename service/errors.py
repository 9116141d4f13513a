"""Every error that a caller can cause or meet, and its form on the wire (problem+json, RFC 9457; under /v2 its own).

ServiceError
├── BadRequest            400  malformed or out of bounds; `errors` names each field
├── Unauthorized          401  + WWW-Authenticate; no key, or none of ours
├── Forbidden             403  a key whose scope is another
├── NotFound              404  no such path, model, version, or operation of this model
├── MethodNotAllowed      405  + Allow
├── NotAcceptable         406
├── TooLarge              413  a body, or the pixels of an image
├── UnsupportedMediaType  415
├── HeadersTooLarge       431  path, query and headers
├── Overloaded            429  + Retry-After
├── InternalError         500  a fault of ours; says nothing about its cause
├── Unavailable           503  starting or draining
└── DeadlineExceeded      504
"""

# ruff: noqa: N818  (these classes are named after the HTTP statuses)

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Self

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
V2 = "/v2"
V2_MEDIA_TYPE = "application/json"
# A location holds a name that the client made up, of any length.
_LOCATION_CHARACTERS = 120
# A path may be of any length, too; one that is longer is left out.
_INSTANCE_CHARACTERS = 200
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class ServiceError(Exception):
    """A failure with an HTTP status.

    Args:
        detail: for the caller: what was wrong, the value, and what is allowed.
        errors: `{"location", "message"}` for each field at fault; location is like "body.n" or "query.model".
        headers: sent with the answer.
    """

    status: ClassVar[int]

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[dict[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase

    @classmethod
    def at(cls, location: str, message: str) -> Self:
        """An error of one field: `BadRequest.at("body.n", "must be 1 to 1,024, got 0")`."""
        return cls.of([(location, message)])

    @classmethod
    def of(cls, faults: Iterable[tuple[str, str]]) -> Self:
        """An error of several fields, as pairs of location and message."""
        listed = [(location[:_LOCATION_CHARACTERS], message) for location, message in faults]
        return cls(
            "; ".join(f"{location}: {message}" for location, message in listed),
            errors=[{"location": location, "message": message} for location, message in listed],
        )

    def problem(self, instance: str | None = None) -> dict[str, Any]:
        """The JSON members of RFC 9457."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None and len(instance) <= _INSTANCE_CHARACTERS:
            members["instance"] = instance
        if self.errors:
            members["errors"] = self.errors
        return members


class BadRequest(ServiceError):
    status = 400


class Unauthorized(ServiceError):
    status = 401

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    status = 403


class NotFound(ServiceError):
    status = 404


class MethodNotAllowed(ServiceError):
    status = 405

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        names = ", ".join(allowed)
        super().__init__(f"method {method} is not allowed here; allowed: {names}", headers={"Allow": names})


class NotAcceptable(ServiceError):
    status = 406


class TooLarge(ServiceError):
    status = 413


class UnsupportedMediaType(ServiceError):
    status = 415


class HeadersTooLarge(ServiceError):
    status = 431


class Overloaded(ServiceError):
    status = 429

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class InternalError(ServiceError):
    status = 500

    def __init__(self) -> None:
        super().__init__("an unexpected error; it is in the server's log under the request id of this answer")


class Unavailable(ServiceError):
    status = 503


class DeadlineExceeded(ServiceError):
    status = 504


def is_v2(path: str | None) -> bool:
    """Whether the Open Inference Protocol v2, which has errors in a form of its own, is spoken under a path."""
    return path is not None and (path == V2 or path.startswith(f"{V2}/"))


def media_type(path: str | None) -> str:
    """The form of the errors of a path."""
    return V2_MEDIA_TYPE if is_v2(path) else MEDIA_TYPE


def to_body(error: ServiceError, instance: str | None = None) -> bytes:
    """What is told of a failed request, of `media_type`; `instance` is the path that was asked for."""
    content = {"error": error.detail} if is_v2(instance) else error.problem(instance)
    return _encode(content).encode("utf-8", "replace")


def to_response(error: ServiceError, instance: str | None = None) -> Response:
    """The answer to a failed request; `instance` is the path that was asked for."""
    body = to_body(error, instance)
    return Response(body, status_code=error.status, headers=error.headers, media_type=media_type(instance))
