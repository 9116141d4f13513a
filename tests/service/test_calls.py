"""Requests from bytes to options, without a server. What is refused, and how, is in http/test_bad_requests.py."""

import gc
import weakref
from contextlib import suppress
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import telemetry
from service.errors import BadRequest, NotFound, TooLarge
from service.http import multipart
from service.http.answers import IMAGE_TYPES, seed_runs
from service.http.calls import Call, RawRequest, _pairs, parse
from service.http.documents import parse_json
from service.manifest import Image
from service.schemas import (
    DecodeRequest,
    EncodeRequest,
    InterpolateRequest,
    Options,
    ReconstructRequest,
    SampleRequest,
    ScoreRequest,
)
from service.settings import Settings
from service.uploads import ImageFiles

SCHEMAS: list[type[Options]] = [
    SampleRequest,
    ReconstructRequest,
    EncodeRequest,
    DecodeRequest,
    InterpolateRequest,
    ScoreRequest,
]


def call(
    body: bytes = b"",
    query: str = "",
    kind: str | None = "application/json",
    schema: type[Options] = SampleRequest,
) -> Call[Options]:
    raw = RawRequest(query, kind, None, body, telemetry.Record("test", "id"))
    return parse(raw, schema, IMAGE_TYPES, Settings())


def test_options_come_from_body_and_query() -> None:
    got = call(b'{"model": "m", "seeds": [3]}', "truncation=0.5&n=1")
    assert got.options == SampleRequest(model="m", seeds=[3], truncation=0.5, n=1)
    assert got.media_type == "image/png"


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("seeds=7", "seeds", [7]),
        ("seeds=7,8", "seeds", [7, 8]),
        ("seeds=7,%208", "seeds", [7, 8]),
        ("label=2", "label", 2),
        ("label=2,0", "label", [2, 0]),
        ("truncation=1", "truncation", 1.0),
        ("truncation=5e-1", "truncation", 0.5),
        ("seed=9007199254740991", "seed", 2**53 - 1),
    ],
)
def test_text_becomes_the_type_of_its_option(query: str, field: str, value: object) -> None:
    assert getattr(call(query=f"model=1&{query}").options, field) == value
    assert call(query=f"model=1&{query}").options.model == "1"


@pytest.mark.parametrize("text", ["", "1.0", "0x7", "1_0", "٣", "+1", "01", " 1", "1e0", "NaN", "9" * 5000])
def test_odd_numbers_in_the_query_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"query\.n: must be"):
        call(query=f"model=m&n={text.replace('+', '%2B')}")


def test_errors_of_operations_are_located() -> None:
    got = call(b'{"model": "m"}', "label=7")
    for error, told in (
        (BadRequest.at("label", "x"), "query.label: x"),
        (BadRequest.at("seeds[3]", "x"), "body.seeds[3]: x"),
        (TooLarge.at("multipart.images[2]", "x"), "multipart.images[2]: x"),
        (NotFound("no field is at fault"), "no field is at fault"),
    ):
        with pytest.raises(type(error)) as caught, got.locating_errors():
            raise error
        assert str(caught.value) == told


def test_ends_of_a_path_are_seeds_or_latents() -> None:
    got = call(b'{"model": "m", "from": 3, "to": [0.5, 1]}', schema=InterpolateRequest).options
    assert isinstance(got, InterpolateRequest)
    assert (got.start, got.end) == (3, [0.5, 1.0])


def test_multipart_keeps_bytes_and_order() -> None:
    files = [b"\r\n--xyz", b"", b"--xy\r\n\x00\xff"]
    body = b"".join(
        b'--xyz--z\r\ncontent-DISPOSITION: form-data; filename="\xe9;"; name=images\r\nX: y\r\n\r\n'
        + data
        + b"\r\n"
        for data in files
    )
    body += b'--xyz--z\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--xyz--z--\r\nepilogue'
    got = call(body, kind='multipart/form-data; charset=x; boundary="xyz--z"', schema=ScoreRequest).options
    assert isinstance(got, ScoreRequest)
    assert isinstance(got.images, ImageFiles)
    assert list(got.images.files) == [(f"multipart.images[{i}]", data) for i, data in enumerate(files)]
    assert got.model == "m"


@given(st.binary(max_size=300))
def test_no_bytes_break_a_parser(data: bytes) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\n' + data
    for body in (data, form, form + b"\r\n--b--\r\n"):
        with suppress(BadRequest):
            parse_json(body, Settings(max_json_depth=9))
        with suppress(BadRequest):
            multipart.parse(body, "multipart/form-data; boundary=b", 9)


@given(st.lists(st.integers(0, 40), min_size=1))
def test_runs_of_seeds_can_be_read_back(seeds: list[int]) -> None:
    pairs = [run.partition("-") for run in seed_runs(seeds).split(",")]
    assert [s for a, _, b in pairs for s in range(int(a), int(b or a) + 1)] == seeds


def test_runs_of_seeds() -> None:
    assert seed_runs(range(7, 71)) == "7-70"
    assert seed_runs([7, 8, 9, 3, 3, 2, 4]) == "7-9,3,3,2,4"


def test_every_option_is_described() -> None:
    for schema in SCHEMAS:
        properties = schema.model_json_schema()["properties"]
        assert all(field.get("description") for field in properties.values()), schema


@given(query=st.text("ab=&+;1, é", max_size=20))
def test_the_short_way_through_a_query_leads_where_the_long_one_does(query: str) -> None:
    assert _pairs(query) == parse_qsl(query, keep_blank_values=True)


def test_files_that_were_refused_are_let_go_at_once() -> None:
    files = ImageFiles([("body", b"\x89PNG\r\n\x1a\n" + bytes(60))])
    left = weakref.ref(files)
    gc.disable()
    try:
        with suppress(BadRequest):
            files.decode(Image(height=28, width=28, channels=1), Settings())
        del files
        assert left() is None
    finally:
        gc.enable()
