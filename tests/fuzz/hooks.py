"""What schemathesis sends where a schema tells nothing about it, and which of its findings is none."""

from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData

from service.codecs import IMAGE_TYPES, encode_base64
from service.http.dispatch import TIMEOUT_HEADER
from service.schemas import NPY
from service.v2.endpoints import BINARY
from tests.fuzz import seeds
from tests.fuzz.damage import damaged

_UNKNOWN_HEADER = "x-schemathesis-unknown-property"
_PICTURES = seeds.PICTURES + seeds.DIGITS
_BODIES = {
    **dict.fromkeys(IMAGE_TYPES, _PICTURES),
    NPY: seeds.IMAGE_ARRAYS + seeds.LATENT_ARRAYS,
    BINARY: seeds.BINARY_TENSORS,
}

for _media_type, _whole in _BODIES.items():
    schemathesis.openapi.media_type(_media_type, st.sampled_from(_whole) | damaged(_whole))
schemathesis.openapi.format("byte", st.sampled_from(_PICTURES).map(encode_base64))


@schemathesis.hook
def flatmap_headers(
    context: schemathesis.HookContext, headers: dict[str, str] | None
) -> st.SearchStrategy[dict[str, str]]:
    """Each form of an answer is asked for."""
    assert context.operation is not None
    forms = list(context.operation.definition.raw["responses"]["200"]["content"])
    return st.sampled_from(["*/*", *forms]).map(lambda form: {**(headers or {}), "Accept": form})


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Exception,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """504 is what who waits for a millisecond has asked for. Any other is a hang.

    And a request is right with a header that nobody knows, or with a model that stands in the query, not in the body.
    """
    if isinstance(failure, AcceptedNegativeData):
        is_elsewhere = (
            isinstance(case.body, dict) and "model" not in case.body and "model" in (case.query or {})
        )
        if is_elsewhere or _UNKNOWN_HEADER in (case.headers or {}):
            return False
    wanted = str(dict(case.headers or {}).get(TIMEOUT_HEADER, ""))
    return response.status_code != 504 or not wanted.isdigit() or response.elapsed > int(wanted) / 1000 + 1
