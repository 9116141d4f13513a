"""What `/docs.json` shows: requests that the published MNIST models answer, and errors as they look."""

from typing import Any

import numpy as np

from service import codecs
from service.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    HeadersTooLarge,
    InternalError,
    NotAcceptable,
    NotFound,
    Overloaded,
    ServiceError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)


def _drawn_zero() -> str:
    """A zero as MNIST has them, 28x28, white on black: a PNG in base64."""
    y, x = np.mgrid[-13.5:14, -13.5:14]
    from_stroke = np.abs(np.hypot(x / 5, y / 8) - 1)
    grey = (255 * np.clip(1.5 - 5 * from_stroke, 0, 1)).astype(np.uint8)
    return codecs.encode_base64(codecs.encode_png(grey[..., None]))


_ZERO = _drawn_zero()

# By path.
REQUESTS: dict[str, dict[str, Any]] = {
    "/sample": {"model": "mnist-gan", "n": 16, "seed": 7},
    "/reconstruct": {"model": "mnist-vae", "images": [_ZERO]},
    "/encode": {"model": "mnist-ae", "images": [_ZERO]},
    "/decode": {"model": "mnist-vae", "latents": [[0.0] * 16]},
    "/interpolate": {"model": "mnist-gan", "label": 4, "from": 7, "to": 8, "steps": 9},
    "/score": {"model": "mnist-gan", "images": [_ZERO]},
}

# Every error that an operation can answer with.
ERRORS: tuple[ServiceError, ...] = (
    BadRequest.at("body.n", "must be greater than or equal to 1, got 0"),
    NotFound("no model 'mnist'; models: mnist-ae, mnist-gan, mnist-vae"),
    NotAcceptable.at("header.Accept", "must allow one of image/png, application/json, got 'text/html'"),
    TooLarge.at("body", "may have 67,108,864 bytes (a setting of this server)"),
    UnsupportedMediaType.at("header.Content-Type", "must be one of application/json; got 'text/plain'"),
    Overloaded(
        "as many images wait here as may: 4,096, less the room of those who were told to come",
        retry_after_s=2,
    ),
    HeadersTooLarge(
        "path, query and headers may have 32,768 bytes together (a setting of this server); these have more"
    ),
    InternalError(),
    Unavailable("the models are loading"),
    DeadlineExceeded("not answered within 30 seconds"),
)

# And where keys are asked for.
KEY_ERRORS: tuple[ServiceError, ...] = (
    Unauthorized(
        "this server answers those who send a key, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`"
    ),
    Forbidden("/metrics needs a key of the scope admin; this one's is use"),
)
