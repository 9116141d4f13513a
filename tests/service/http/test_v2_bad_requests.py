"""Bad requests under /v2 are 4xx in that protocol's own form, `{"error": ...}`; the next caller is served."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.http.bad import page
from tests.service.http.bad.case import Bad, send
from tests.service.http.bad.v2 import BINARY_Z, GENERATE, GOOD_BYTES, GROUPS, JSON_LENGTH, Z

CASES = [pytest.param(group, bad, id=bad.name) for group, cases in GROUPS.items() for bad in cases]


@pytest.mark.parametrize(("group", "bad"), CASES)
def test_refused(http: httpx.Client, group: str, bad: Bad) -> None:
    answer = send(http, bad)
    assert_refused(answer, bad.status, bad.says)
    assert page.row(bad, answer) == page.committed().get((group, bad.name)), page.STALE
    assert_served(http)


def assert_refused(answer: httpx.Response, status: int, says: tuple[str, ...]) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    assert list(answer.json()) == ["error"]
    for words in says:
        assert words in answer.json()["error"]
    assert len(answer.text) < 2000
    assert len(answer.headers["x-request-id"]) == 16


def assert_served(http: httpx.Client) -> None:
    """The tensor that the bad ones are made from is a good one, in JSON and in bytes."""
    plain = http.post(GENERATE, json={"inputs": [Z]})
    head = json.dumps({"inputs": [BINARY_Z]}).encode()
    packed = http.post(GENERATE, content=head + GOOD_BYTES, headers={JSON_LENGTH: str(len(head))})
    assert plain.status_code == packed.status_code == 200
    assert plain.content == packed.content


TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # with lone surrogates
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensor=st.fixed_dictionaries(
        {},
        optional={
            "name": st.just("z") | JSON_VALUES,
            "shape": st.just([2, 4]) | st.lists(st.integers(-1, 9), max_size=3) | JSON_VALUES,
            "datatype": st.just("FP32") | JSON_VALUES,
            "data": st.lists(st.floats(width=32), min_size=8, max_size=8) | JSON_VALUES,
            "parameters": JSON_VALUES | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40)}),
        },
    ),
    extra=st.dictionaries(st.sampled_from(["id", "parameters", "outputs"]), JSON_VALUES, max_size=2),
    tail=st.binary(max_size=40),
    moved=st.integers(-2, 2),
)
def test_no_request_is_a_5xx(
    http: httpx.Client, tensor: dict[str, Any], extra: dict[str, Any], tail: bytes, moved: int
) -> None:
    head = json.dumps({"inputs": [tensor], **extra}).encode()
    answer = http.post(GENERATE, content=head + tail, headers={JSON_LENGTH: str(len(head) + moved)})
    if answer.status_code == 200:
        assert answer.json()["outputs"][0]["name"] == "image"
    else:
        assert_refused(answer, 400, ())
