"""How deep JSON is nested, seen before it is parsed: a parser calls itself for each level."""

import numpy as np

from service.errors import BadRequest

_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_QUOTE = ord('"')
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_PIECE_BYTES = 64 * 1024


def limit(data: bytes, most: int) -> None:
    """Raises BadRequest where more than `most` lists and objects of a JSON document are inside one another.

    What is no JSON may pass, or be refused for its depth.
    """
    if data.count(b"[") + data.count(b"{") <= most:
        return
    # A quote ends a string unless an odd number of backslashes stands before it.
    text = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(text.translate(None, _NOT_MARKS), np.uint8)
    quotes = depth = 0
    for start in range(0, len(marks), _PIECE_BYTES):
        piece = marks[start : start + _PIECE_BYTES]
        quoted = quotes + np.cumsum(piece == _QUOTE)
        depths = depth + np.cumsum(np.where(quoted % 2 == 0, _STEPS[piece], 0))
        if depths.max() > most:
            raise BadRequest.at(
                "body", f"is nested too deeply: {most} lists and objects may be inside one another"
            )
        quotes, depth = int(quoted[-1]), int(depths[-1])
