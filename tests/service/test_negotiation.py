"""Which form of an answer an Accept header gets."""

import pytest

from service.errors import NotAcceptable
from service.http.negotiation import choose

OFFERED = ("image/png", "application/x-npy", "application/zip", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/x-npy"),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/zip;q=0.5, application/json;q=0.6", "application/json"),
        ("application/json;q=0.1, */*;q=0.2", "image/png"),
        ("*/*, image/png;q=0", "application/x-npy"),
        ("image/webp,application/zip ; q = 0.9,*/*;q=0.8", "application/zip"),
        ("application/zip, application/x-npy", "application/x-npy"),
        (",,application/zip,", "application/zip"),
    ],
)
def test_choice(accept: str | None, chosen: str) -> None:
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/webp", "image/png;q=0", "image/png;q=x", "image/png;q=2", "nonsense", ";", "*", " "],
)
def test_what_is_not_offered_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"header\.Accept: must allow one of image/png, .* got"):
        choose(accept, OFFERED)
