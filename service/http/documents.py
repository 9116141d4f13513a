"""JSON from the wire, and text: stricter than Python's parser, and no longer or deeper than it may be."""

import json
import math
from typing import Any, NoReturn

from service.errors import BadRequest, TooLarge
from service.http import nesting
from service.settings import Settings

_SHOWN_CHARACTERS = 60


def parse_json(data: bytes, settings: Settings) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, no key twice in an object; as deep and long as may be.

    Raises:
        BadRequest: with the place of the fault.
        TooLarge: it has more values than `settings` allow.
    """
    text = decode_utf8(data, "body")
    if data.count(b",") >= settings.max_json_values:
        raise TooLarge.at(
            "body",
            f"may have {settings.max_json_values:,} values as JSON (a setting of this server); send npy or binary",
        )
    nesting.limit(data, settings.max_json_depth)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise BadRequest.at(
            "body", f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except ValueError as error:  # Python reads integers of up to 4,300 digits
        raise BadRequest.at("body", "holds an integer of too many digits") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise BadRequest.at(f"body.{twice}", "must be given once")
    return result


def _refuse_number(text: str) -> NoReturn:
    raise BadRequest.at("body", f"numbers must be finite, got {text}")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text[:_SHOWN_CHARACTERS])


def decode_utf8(data: bytes, location: str) -> str:
    """Raises BadRequest, with the place of the fault."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest.at(
            location, f"is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}"
        ) from error
