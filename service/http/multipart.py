"""multipart/form-data (RFC 7578) from bytes in memory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BadRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass(frozen=True)
class Part:
    name: str
    data: bytes


def parse(body: bytes, content_type: str, max_parts: int) -> list[Part]:
    """The parts in order. What a client calls its files, and which types it gives them, is not looked at.

    Raises:
        BadRequest: no boundary, malformed, cut off, a part without a name, or more than `max_parts`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadRequest.at("header.Content-Type", f"has no boundary: {content_type[:60]!r}")
    reader = _Reader(max_parts)
    try:
        MultipartParser(boundary, reader.callbacks()).write(body)
    except FormParserError as error:
        raise BadRequest.at("body", f"is not multipart/form-data with this boundary: {error}") from error
    if not reader.ended:
        raise BadRequest.at("body", "is cut off: the last boundary of the multipart/form-data is missing")
    return reader.parts


class _Reader:
    """Collects what the parser reports."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[Part] = []
        self._max_parts = max_parts
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise BadRequest.at("body", f"must have at most {self._max_parts:,} parts")
        self._headers, self._chunks = {}, []

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise BadRequest.at(f"multipart[{len(self.parts)}]", "has no name in its Content-Disposition")
        self.parts.append(Part(name, b"".join(self._chunks)))

    def _end(self) -> None:
        self.ended = True
