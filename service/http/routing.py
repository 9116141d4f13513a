"""What the version of a request that names none is chosen by, where a model has weights between its versions.

The same request gets the same version, and so the same bytes. In this order:

* the header `X-Latentry-Key`, whatever is in it: a user, a session;
* /sample of seeds: the first seed. Without seeds the pictures are random, and so is the version;
* any other request: what it asks for.
"""

import secrets
from hashlib import blake2b
from typing import Any

from service.http.calls import Call
from service.schemas import SampleRequest
from service.uploads import ImageArray, ImageFiles, LatentArray


def key(call: Call[Any]) -> bytes:
    """See the head of this file."""
    options = call.options
    if call.key is not None:
        return b"key " + call.key.encode()
    if isinstance(options, SampleRequest) and options.latents is None:
        first = options.seeds[0] if options.seeds else options.seed
        return b"random " + secrets.token_bytes(8) if first is None else f"seed {first}".encode()
    content = blake2b()
    for name in sorted(type(options).model_fields):
        for piece in _pieces(getattr(options, name)):
            content.update(f"{name} {len(piece)} ".encode())
            content.update(piece)
    return content.digest()


def _pieces(value: object) -> list[bytes]:
    """An option's value, in bytes."""
    match value:
        case ImageFiles():
            return [data.encode() if isinstance(data, str) else data for _, data in value.files]
        case ImageArray() | LatentArray():
            return [value.npy]
        case _:
            return [repr(value).encode()]
