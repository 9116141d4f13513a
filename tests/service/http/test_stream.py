"""Long answers of /sample: sent in parts, byte for byte what one piece would be, and in nobody's way."""

import io
import json
import zipfile

import httpx
import numpy as np
import pytest

NPY, ZIP = "application/x-npy", "application/zip"
MANY = 10_000


def post(http: httpx.Client, accept: str, **options: object) -> httpx.Response:
    return http.post("/sample", json={"model": "tiny-vae", **options}, headers={"Accept": accept})


@pytest.fixture(scope="module")
def many(http: httpx.Client) -> httpx.Response:
    answer = post(http, NPY, n=MANY, seed=5)
    assert answer.status_code == 200
    return answer


def test_ten_thousand_images(many: httpx.Response) -> None:
    images = np.load(io.BytesIO(many.content))
    assert (images.shape, images.dtype) == ((MANY, 8, 8, 1), np.uint8)
    assert many.headers["X-Latentry-Seeds"] == f"5-{MANY + 4}"
    assert int(many.headers["Content-Length"]) == len(many.content)


def test_each_image_is_what_it_is_alone(http: httpx.Client, many: httpx.Response) -> None:
    images = np.load(io.BytesIO(many.content))
    for i in (0, 255, 256, 5000, MANY - 1):
        alone = np.load(io.BytesIO(post(http, NPY, seed=5 + i).content))
        np.testing.assert_array_equal(images[i], alone[0])


@pytest.mark.parametrize("accept", [NPY, ZIP])
def test_parts_are_the_bytes_of_one_piece(http: httpx.Client, accept: str) -> None:
    """256 images come in one piece, 257 in parts: but for the last, and the counts, they are the same."""
    seeds = [int(seed) for seed in np.random.default_rng(0).integers(0, 2**53, 257)]
    whole, parts = (post(http, accept, seeds=seeds[:n]).content for n in (256, 257))
    if accept == NPY:
        assert np.load(io.BytesIO(parts))[:256].tobytes() == np.load(io.BytesIO(whole)).tobytes()
        return
    with zipfile.ZipFile(io.BytesIO(whole)) as one, zipfile.ZipFile(io.BytesIO(parts)) as other:
        assert other.testzip() is None
        assert len(other.namelist()) == 258
        for name in one.namelist()[:256]:
            assert other.read(name) == one.read(name)
    first = whole.index(b"metadata.json") - 30  # where its header starts
    assert parts[:first] == whole[:first]


def test_a_zip_of_many(http: httpx.Client, many: httpx.Response) -> None:
    answer = post(http, ZIP, n=2000, seed=5)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 2001
        assert archive.testzip() is None
        assert b'"file":"1999.png","seed":2004' in archive.read("metadata.json")


def test_a_zip_of_many_tells_the_class_of_each(http: httpx.Client) -> None:
    first, many = (post(http, ZIP, model="tiny-cgan", n=n, seed=5) for n in (256, 300))
    with zipfile.ZipFile(io.BytesIO(first.content)) as few, zipfile.ZipFile(io.BytesIO(many.content)) as all_:
        described = [json.loads(archive.read("metadata.json"))["images"] for archive in (few, all_)]
        assert few.read("0255.png") == all_.read("0255.png")
    assert described[1][:256] == described[0]
    assert {image["label"] for image in described[1]} == {0, 1, 2}
    assert many.headers["X-Latentry-Labels"].split(",") == [str(image["label"]) for image in described[1]]


@pytest.mark.parametrize(("accept", "most"), [(NPY, 10_000), (ZIP, 10_000), ("image/png", 1024)])
def test_the_most_images_depend_on_the_form(http: httpx.Client, accept: str, most: int) -> None:
    answer = post(http, accept, n=most + 1)
    assert answer.status_code == 400
    assert f"{most:,} images at most" in answer.json()["detail"]


def test_a_client_may_leave_amid_its_answer(http: httpx.Client) -> None:
    with http.stream(
        "POST", "/sample", json={"model": "tiny-vae", "n": MANY}, headers={"Accept": NPY}
    ) as answer:
        next(answer.iter_raw(1000))
    assert post(http, NPY, n=1).status_code == 200
