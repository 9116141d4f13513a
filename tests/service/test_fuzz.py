"""Whatever the bytes: a value, or the one error that is documented, soon. `make fuzz` tries a hundred times as many."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import BadRequest, ServiceError
from service.http import nesting
from service.manifest import BundleError
from tests.fuzz import seeds
from tests.fuzz.damage import damaged, mended
from tests.fuzz.targets import TARGETS, Reader, Target, attempt
from tests.service.http.bad.case import FORM, form
from tests.service.http.bad.files import npy_with

soon = settings(deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What a header may be made of. The server reads its bytes as Latin-1.
OPTIONS = st.text(st.sampled_from("=;*'\"\\%, 0\xffabx") | st.characters(max_codepoint=255), max_size=30)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in TARGETS.items()}


@pytest.mark.parametrize("name", TARGETS)
@soon
@given(data=st.data())
def test_damage(made: dict[str, Target], name: str, data: st.DataObject) -> None:
    target = made[name]
    attempt(target, data.draw(st.binary(max_size=200) | damaged(target.seeds)))


@pytest.mark.parametrize("name", TARGETS)
def test_every_reader_takes_what_is_whole(made: dict[str, Target], name: str) -> None:
    """Else the test above would try nothing but the first look at a file."""
    target = made[name]
    for reader in target.readers:
        assert any(takes(reader, seed) for seed in target.seeds)
    for seed in target.seeds:
        attempt(target, seed)


def takes(reader: Reader, data: bytes) -> bool:
    with suppress(ServiceError, BundleError):
        reader(data)
        return True
    return False


def test_a_png_that_is_whole_needs_no_mending() -> None:
    assert [mended(png) for png in seeds.PNGS] == seeds.PNGS


HEADERS = st.builds(
    npy_with,
    st.sampled_from(["|u1", "<f4", "|O", "('<f4', (2,))", "[('a', '<f4')]", "None", "|V0"]),
    st.lists(st.integers(-2, 9) | st.integers() | st.booleans() | st.none(), max_size=70).map(
        lambda s: str(tuple(s))
    ),
    st.binary(max_size=80),
)


@soon
@given(data=st.binary(max_size=99).map(b"\x93NUMPY\1\0".__add__) | HEADERS)
def test_headers_of_arrays(made: dict[str, Target], data: bytes) -> None:
    attempt(made["arrays"], data)


PARTS = OPTIONS.map(lambda text: form(("images", b"")).replace(b'="images"', text.encode("latin-1")))


@soon
@given(
    data=st.binary(max_size=200) | damaged(seeds.FORMS) | PARTS,
    kind=st.just(FORM) | OPTIONS.map("multipart/form-data; boundary".__add__),
)
def test_headers_of_forms(made: dict[str, Target], data: bytes, kind: str) -> None:
    attempt(made["forms"], kind.replace("\n", " ").encode("latin-1") + b"\n" + data)


@soon
@given(data=st.data())
def test_fields_of_manifests(made: dict[str, Target], data: st.DataObject) -> None:
    fields = json.loads(made["manifests"].seeds[0])
    name, value = data.draw(st.sampled_from(sorted(fields))), data.draw(DOCUMENTS)
    attempt(made["manifests"], json.dumps(fields | {name: value}).encode())


TEXTS = st.text(st.sampled_from('[]{}"\\\n\t\b a\x00é'), max_size=6)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)


@soon
@given(document=DOCUMENTS, most=st.integers(1, 5), ascii_only=st.booleans())
def test_depth_is_that_of_the_document(document: Any, most: int, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode()
    if depth(document) <= most:
        nesting.limit(text, most)
    else:
        with pytest.raises(BadRequest, match=f"{most} lists and objects"):
            nesting.limit(text, most)


def depth(document: Any) -> int:
    if isinstance(document, dict):
        document = list(document.values())
    return 1 + max(map(depth, document), default=0) if isinstance(document, list) else 0


def test_depth_is_counted_across_pieces() -> None:
    """Of which a document of this length has several: brackets in strings, and lists that end and begin again."""
    flat = json.dumps([["[[[[", {"a\\\\": "\\"}]] * 40_000).encode()
    nesting.limit(flat, 3)
    with pytest.raises(BadRequest):
        nesting.limit(flat, 2)
    with pytest.raises(BadRequest):
        nesting.limit(flat[:-1] + b"," + b"[" * 3 + b"]" * 4, 3)
