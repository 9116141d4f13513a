"""No request is answered with a 5xx, whatever its fields hold. (Under /v2: test_v2_bad_requests.py.)"""

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.http.test_bad_requests import assert_problem
from tests.service.test_openapi import SCHEMAS

MODELS = ("tiny-vae", "tiny-ae", "tiny-gan", "tiny-cgan", "tiny-rgb", "tiny-prior")
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # with lone surrogates
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(0, 9) | st.floats() | st.floats(0, 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=8,
)
LATENT = st.lists(st.floats(width=32, allow_nan=False) | st.integers(), min_size=4, max_size=4)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(1, 40),
    "seed": st.integers(0, 2**53),
    "seeds": st.lists(st.integers(0, 2**53), max_size=4),
    "latents": st.lists(LATENT, max_size=3),
    "from": st.integers(0, 9) | LATENT,
    "to": st.integers(0, 9) | LATENT,
    "keys": st.lists(st.integers(0, 9) | LATENT, max_size=4),
    "label": st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=4),
    "prior": st.sampled_from(["fitted", "normal"]),
    "keep": st.floats(0.2, 1),
    "discriminator": st.sampled_from(MODELS),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Path, body and query: fields of the operation, each likely or not."""
    path = draw(st.sampled_from(sorted(SCHEMAS)))
    names = [field.alias or name for name, field in SCHEMAS[path].model_fields.items()]
    body: dict[str, Any] = {"model": draw(st.sampled_from(MODELS))}
    for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True)):
        body[name] = draw(LIKELY.get(name, VALUES) | VALUES)
    query = draw(st.dictionaries(st.sampled_from(names), st.text(max_size=6), max_size=2))
    return path, body, query


@settings(deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=calls(), accept=st.sampled_from(["*/*", "application/json", "application/x-npy", "image/webp"]))
def test_no_request_is_a_5xx(
    http: httpx.Client, call: tuple[str, dict[str, Any], dict[str, str]], accept: str
) -> None:
    path, body, query = call
    headers = {"Content-Type": "application/json", "Accept": accept}
    answer = http.post(path, content=json.dumps(body).encode(), params=query, headers=headers)
    if answer.status_code != 200:
        assert answer.status_code in (400, 404, 406), answer.text
        assert_problem(answer, answer.status_code)
