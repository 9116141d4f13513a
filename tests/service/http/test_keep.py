"""`keep`: the samples that a discriminator keeps, through real HTTP."""

import base64
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from service.client import Client, LatentryError
from service.latents import SEED_LIMIT
from service.registry import Registry
from tests.service import finished
from tests.service.http.pictures import load_npy

NPY = {"Accept": "application/x-npy"}
JSON = {"Accept": "application/json"}
ASKED = {"model": "tiny-gan", "seed": 100, "keep": 0.5}


def answer(http: httpx.Client, accept: dict[str, str], **options: object) -> httpx.Response:
    response = http.post("/sample", json=ASKED | options, headers=accept)
    assert response.status_code == 200, response.text
    return response


def test_it_gives_what_the_operation_gives_in_every_form(http: httpx.Client, registry: Registry) -> None:
    gan = registry.get("tiny-gan")
    expected = finished.keep(gan, gan, range(100, 1000), 16, 0.5)
    array = answer(http, NPY, n=16)
    assert np.array_equal(load_npy(array.content), expected.images)
    assert 0.1 < float(array.headers["x-latentry-acceptance"]) < 0.9
    assert float(array.headers["x-latentry-acceptance"]) == pytest.approx(16 / expected.proposed, rel=1e-3)
    assert array.headers["x-latentry-proposed"] == str(expected.proposed)

    listed = answer(http, JSON, n=16).json()
    assert [image["seed"] for image in listed["images"]] == expected.seeds
    about = {
        "acceptance_rate": 16 / expected.proposed,
        "proposed": expected.proposed,
        "discriminator": "tiny-gan/2",
    }
    assert {name: listed[name] for name in about} == about
    archive = answer(http, {"Accept": "application/zip"}, n=16).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        metadata = json.loads(files.read("metadata.json"))
    assert {name: metadata[name] for name in about} == about
    assert [image["seed"] for image in metadata["images"]] == expected.seeds
    assert (
        answer(http, {"Accept": "image/png"}, n=16).headers["x-latentry-seeds"]
        == array.headers["x-latentry-seeds"]
    )


def test_the_seeds_make_the_same_pictures_without_keep(http: httpx.Client) -> None:
    kept = answer(http, JSON, n=12).json()["images"]
    again = http.post(
        "/sample", json={"model": "tiny-gan", "seeds": [image["seed"] for image in kept]}, headers=JSON
    )
    assert again.json()["images"] == kept
    for i in (0, 5, 11):
        alone = http.post("/sample", json={"model": "tiny-gan", "seed": kept[i]["seed"]})
        assert alone.content == base64.b64decode(kept[i]["png"])


def test_4_are_the_first_of_64_and_the_next_go_on(http: httpx.Client) -> None:
    many = answer(http, JSON, n=64).json()
    few = answer(http, JSON, n=4).json()
    assert few["images"] == many["images"][:4]
    following = answer(http, JSON, n=60, seed=100 + few["proposed"]).json()
    assert following["images"] == many["images"][4:]
    assert few["proposed"] + following["proposed"] == many["proposed"]


def test_it_is_the_same_under_load(http: httpx.Client) -> None:
    expected = {n: answer(http, NPY, n=n).content for n in (1, 7, 30)}
    with ThreadPoolExecutor(8) as threads:
        sizes = [1, 7, 30] * 8
        for n, got in zip(sizes, threads.map(lambda n: answer(http, NPY, n=n).content, sizes), strict=True):
            assert got == expected[n]


def test_options_in_the_query_are_those_of_the_body(http: httpx.Client) -> None:
    query = "/sample?model=tiny-gan&seed=100&keep=0.5&n=3&discriminator=tiny-gan/1"
    assert http.post(query).content == answer(http, {}, n=3, discriminator="tiny-gan/1").content


def test_a_random_start_is_told_by_the_seeds(http: httpx.Client) -> None:
    first, second = (answer(http, JSON, seed=None, n=3).json() for _ in range(2))
    assert first["images"][0]["seed"] != second["images"][0]["seed"]
    again = answer(http, JSON, seed=first["images"][0]["seed"], n=3).json()
    assert again["images"] == first["images"]
    assert 0 <= again["images"][0]["seed"] < SEED_LIMIT


def test_another_model_may_choose(http: httpx.Client, registry: Registry) -> None:
    vae = registry.get("tiny-vae")
    for version in (1, 2):
        expected = finished.keep(vae, registry.get("tiny-gan", version), range(100, 1000), 5, 0.5)
        listed: dict[str, Any] = answer(
            http, JSON, model="tiny-vae", discriminator=f"tiny-gan/{version}", n=5
        ).json()
        assert (listed["model"], listed["discriminator"]) == ("tiny-vae", f"tiny-gan/{version}")
        assert [image["seed"] for image in listed["images"]] == expected.seeds
    latest = answer(http, JSON, model="tiny-vae", discriminator="tiny-gan", n=5).json()
    assert latest == listed


def test_the_client_tells_the_acceptance(service_url: str) -> None:
    with Client(service_url) as client:
        kept = client.sample("tiny-vae", 9, seed=3, keep=0.5, discriminator="tiny-gan")
        assert kept.images.shape == (9, 8, 8, 1)
        assert kept.proposed == kept.seeds[-1] - 3 + 1
        assert kept.acceptance_rate == pytest.approx(9 / kept.proposed, rel=1e-3)
        plain = client.sample("tiny-vae", seeds=kept.seeds)
        assert (plain.acceptance_rate, plain.proposed) == (None, None)
        assert np.array_equal(plain.images, kept.images)
        with pytest.raises(LatentryError, match="404 Not Found: tiny-vae/1 has no discriminator"):
            client.sample("tiny-vae", keep=0.5)


def test_answers_without_keep_say_nothing_of_it(http: httpx.Client) -> None:
    plain = http.post("/sample", json={"model": "tiny-gan", "seed": 1}, headers=JSON)
    assert plain.json().keys() == {"model", "version", "images"}
    assert "x-latentry-acceptance" not in plain.headers


def test_the_smallest_number_keeps_nothing(http: httpx.Client) -> None:
    """1 / 5e-324 is no number any more."""
    response = http.post("/sample", json=ASKED | {"keep": 5e-324})
    assert response.status_code == 400
    assert [error["location"] for error in response.json()["errors"]] == ["body.keep"]
