"""A request from the wire to checked options: body, query and headers into one `Call`.

Every value keeps its location ("body.n", "query.model", "multipart.images[2]"), and a complaint about it,
here or deep in an operation, names where the caller wrote it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from service import telemetry
from service.codecs import IMAGE_TYPES
from service.errors import BadRequest, ServiceError, UnsupportedMediaType
from service.http import compression, multipart, negotiation
from service.http.documents import decode_utf8, parse_json
from service.schemas import FLAG_OPTIONS, JSON, LIST_OPTIONS, MULTIPART, NPY, TEXT_OPTIONS, Options
from service.settings import Settings
from service.uploads import ImageArray, ImageFiles, LatentArray

T = TypeVar("T", bound=Options)
M = TypeVar("M", bound=BaseModel)
Value = tuple[str, Any]  # location, value

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
KEY_HEADER = "x-latentry-key"
_SHOWN_CHARACTERS = 60
_MAX_OPTIONS = 100
# pydantic's words -> ours
_WORDING = (
    ("Value error, ", ""),
    ("Input should be a valid integer", "must be an integer"),
    ("Input should be a valid ", "must be a "),
    ("Input should be", "must be"),
    ("List should have", "must have"),
    ("String should have", "must have"),
    (" after validation, not ", ", got "),
)


@dataclass(frozen=True)
class RawRequest:
    """What arrived: read on the event loop, parsed in the thread that computes."""

    query: str
    content_type: str | None
    accept: str | None
    body: bytes
    record: telemetry.Record
    headers: Mapping[str, str] = field(default_factory=dict)
    """All of them. Names are in lower case where they are looked up in it."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A checked request. `media_type`: the form of the answer.

    `values` were given, each with its location; what was not would have stood in `place`.
    """

    options: T
    media_type: str
    place: str
    values: Mapping[str, Value]
    record: telemetry.Record
    key: str | None = None
    """The header `X-Latentry-Key`: see `service/http/routing.py`."""

    @property
    def locations(self) -> dict[str, str]:
        """Where each option came from, or would have."""
        return _locations(type(self.options), self.place, self.values)

    @contextmanager
    def locating_errors(self) -> Iterator[None]:
        """Errors raised inside that name a field alone ("label") leave with its location ("query.label")."""
        try:
            yield
        except ServiceError as error:
            if not error.errors:
                raise
            locations = self.locations
            faults = ((_locate(e["location"], locations), e["message"]) for e in error.errors)
            raise type(error).of(faults) from error


def parse(raw: RawRequest, schema: type[T], answers: tuple[str, ...], settings: Settings) -> Call[T]:
    """Check a request.

    Args:
        schema: its options.
        answers: the media types that the answer can take.

    Raises:
        BadRequest, NotAcceptable, UnsupportedMediaType: naming each field at fault.
    """
    media_type = negotiation.choose(raw.accept, answers)
    compression.refuse(raw.headers.get("content-encoding"))
    essence = (raw.content_type or "").partition(";")[0].strip().lower()
    values = _merge(_read_body(raw, essence, schema, settings), _read_query(raw.query, schema))
    # What was not given is missed where it would usually stand.
    place = {"": "body", JSON: "body", MULTIPART: "multipart"}.get(essence, "query")
    try:
        options = schema.model_validate({name: value for name, (_, value) in values.items()})
    except ValidationError as error:
        raise _refusal(error, schema, _locations(schema, place, values)) from error
    return Call(options, media_type, place, values, raw.record, raw.headers.get(KEY_HEADER))


def _locations(schema: type[Options], place: str, values: Mapping[str, Value]) -> dict[str, str]:
    names = (field.alias or name for name, field in schema.model_fields.items())
    return {name: f"{place}.{name}" for name in names} | {name: at for name, (at, _) in values.items()}


def check(document: object, schema: type[M]) -> M:
    """A JSON document as `schema` has it.

    Raises:
        BadRequest: naming each field at fault by its path in the document.
    """
    if not isinstance(document, dict):
        raise BadRequest.at("body", f"must be a JSON object, got {_show(document)}")
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise _refusal(error, schema, {}) from error


def _read_body(raw: RawRequest, essence: str, schema: type[Options], settings: Settings) -> dict[str, Value]:
    if not essence and not raw.body:
        return {}
    if essence not in schema.accepts:
        got = f"got {(raw.content_type or '')[:_SHOWN_CHARACTERS]!r}" if essence else "the header is missing"
        raise UnsupportedMediaType.at(
            "header.Content-Type", f"must be one of {', '.join(schema.accepts)}; {got}"
        )
    return _READERS[essence](raw, schema, settings)


def _read_json(raw: RawRequest, _schema: type[Options], settings: Settings) -> dict[str, Value]:
    """A JSON object; an empty body counts as `{}`."""
    value = parse_json(raw.body, settings) if raw.body else {}
    if not isinstance(value, dict):
        raise BadRequest.at("body", f"must be a JSON object, got {_show(value)}")
    return {name: (f"body.{name}", item) for name, item in value.items()}


def _read_multipart(raw: RawRequest, _schema: type[Options], settings: Settings) -> dict[str, Value]:
    """Parts named `images` are files; any other part is an option, as in the query."""
    values: dict[str, Value] = {}
    files: list[tuple[str, bytes | str]] = []
    max_parts = settings.max_images + _MAX_OPTIONS
    for part in multipart.parse(raw.body, raw.content_type or "", max_parts):
        if part.name == "images":
            files.append((f"multipart.images[{len(files)}]", part.data))
        else:
            _add_text(values, "multipart", part.name, decode_utf8(part.data, f"multipart.{part.name}"))
    if files:
        values["images"] = ("multipart.images", ImageFiles(files))
    return values


def _read_image(raw: RawRequest, _schema: type[Options], _settings: Settings) -> dict[str, Value]:
    return {"images": ("body", ImageFiles([("body", raw.body)]))}


def _read_npy(raw: RawRequest, schema: type[Options], _settings: Settings) -> dict[str, Value]:
    if schema.payload == "latents":
        return {"latents": ("body", LatentArray(raw.body))}
    return {"images": ("body", ImageArray(raw.body))}


_READERS: dict[str, Callable[[RawRequest, type[Options], Settings], dict[str, Value]]] = {
    JSON: _read_json,
    MULTIPART: _read_multipart,
    NPY: _read_npy,
    **dict.fromkeys(IMAGE_TYPES, _read_image),
}


def _read_query(query: str, schema: type[Options]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    try:
        pairs = _pairs(query)
    except ValueError as error:
        raise BadRequest.at("query", f"cannot be read: {error}") from error
    for name, text in pairs:
        if name == schema.payload:
            raise BadRequest.at(f"query.{name}", "belongs in the body")
        _add_text(values, "query", name, text)
    return values


def _pairs(query: str) -> list[tuple[str, str]]:
    if "%" in query or "+" in query or query.count("&") >= _MAX_OPTIONS:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_OPTIONS)
    # The same, where nothing is encoded, in a fifth of the time.
    return [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]


def _add_text(values: dict[str, Value], place: str, name: str, text: str) -> None:
    if name in values:
        raise BadRequest.at(f"{place}.{name}", "must be given once; items of a list are joined by commas")
    values[name] = (f"{place}.{name}", _from_text(name, text))


def _from_text(name: str, text: str) -> Any:
    """What an option means as text: a name, true or false, a number, or numbers with commas between.

    Anything else stays text, and is refused by the schema like the same text in JSON.
    """
    if name in TEXT_OPTIONS:
        return text
    if name in FLAG_OPTIONS:
        return {"true": True, "false": False}.get(text, text)
    if "," in text or name in LIST_OPTIONS:
        return [_number(item.strip()) for item in text.split(",")]
    return _number(text)


def _number(text: str) -> Any:
    if len(text) > _SHOWN_CHARACTERS or not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _merge(body: dict[str, Value], query: dict[str, Value]) -> dict[str, Value]:
    for name in body.keys() & query.keys():
        if body[name][1] != query[name][1]:
            raise BadRequest.at(
                query[name][0],
                f"is {_show(query[name][1])}, but {body[name][0]} is {_show(body[name][1])}; give it once",
            )
    return query | body


def _refusal(error: ValidationError, schema: type[BaseModel], locations: dict[str, str]) -> BadRequest:
    return BadRequest.of(
        (_locate(_path(e["loc"]), locations), _message(e, schema))
        for e in error.errors(include_url=False, include_context=False)[:10]
    )


def _path(loc: tuple[int | str, ...]) -> str:
    """("inputs", 2, "shape") -> "inputs[2].shape"; the tags of a union, in parentheses, are left out."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("("):
            path += f".{part}" if path else part
    return path


def _locate(path: str, locations: dict[str, str]) -> str:
    """The location of a path that starts with a field's name; any other path is a location already."""
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    return locations.get(name, name) + path[len(name) :]


def _message(error: Any, schema: type[BaseModel]) -> str:
    if error["type"] == "missing":
        return "is required" + ("; GET /models lists the names" if error["loc"] == ("model",) else "")
    if error["type"] == "extra_forbidden":
        names = [field.alias or name for name, field in schema.model_fields.items()]
        return f"is not a field of this request; fields: {', '.join(names)}"
    message = error["msg"]
    for theirs, ours in _WORDING:
        message = message.replace(theirs, ours)
    return message if "got" in message else f"{message}, got {_show(error['input'])}"


def _show(value: object) -> str:
    """A value for a message: JSON where it is JSON, cut short."""
    text = json.dumps(value, ensure_ascii=True, default=lambda item: f"<{type(item).__name__}>")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
