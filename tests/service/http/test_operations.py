"""Every call of the API, in every form of request and answer, through real HTTP."""

import base64
import io
import json
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.operations import DiscriminatorScore, ElboScore
from service.registry import Registry
from tests.service import finished
from tests.service.http.pictures import encode, grey, load_npy, load_png, npy

NPY = {"Accept": "application/x-npy"}
JSON = {"Accept": "application/json"}
ZIP = {"Accept": "application/zip"}


def ok(response: httpx.Response, media_type: str) -> httpx.Response:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == media_type
    return response


def test_sample_gives_what_the_operation_gives(http: httpx.Client, registry: Registry) -> None:
    expected = finished.sample(registry.get("tiny-vae"), [7, 8, 9])
    body = {"model": "tiny-vae", "n": 3, "seed": 7}
    answer = ok(http.post("/sample", json=body, headers=NPY), "application/x-npy")
    assert np.array_equal(load_npy(answer.content), expected)
    assert answer.headers["x-latentry-model"] == "tiny-vae/1"
    assert answer.headers["x-latentry-seeds"] == "7-9"

    sheet = load_png(ok(http.post("/sample", json=body), "image/png").content)
    assert sheet.shape == (16, 16, 1)
    assert np.array_equal(sheet[:8, 8:], expected[1])
    assert np.array_equal(sheet[8:, :8], expected[2])
    assert not sheet[8:, 8:].any()

    one = ok(http.post("/sample", json=body | {"n": 1}, headers={"Accept": "image/*"}), "image/png")
    assert np.array_equal(load_png(one.content), expected[0])


def test_json_and_zip_say_the_seed_of_each_image(http: httpx.Client, registry: Registry) -> None:
    expected = finished.sample(registry.get("tiny-rgb"), [5, 3])
    body = {"model": "tiny-rgb", "seeds": [5, 3]}
    answer = ok(http.post("/sample", json=body, headers=JSON), "application/json").json()
    assert answer.keys() == {"model", "version", "images"}
    assert (answer["model"], answer["version"]) == ("tiny-rgb", 1)
    assert [image["seed"] for image in answer["images"]] == [5, 3]
    for image, pixels in zip(answer["images"], expected, strict=True):
        assert np.array_equal(load_png(base64.b64decode(image["png"])), pixels)

    archive = ok(http.post("/sample", json=body, headers=ZIP), "application/zip")
    assert archive.headers["x-latentry-seeds"] == "5,3"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        assert files.namelist() == ["0000.png", "0001.png", "metadata.json"]
        assert np.array_equal(load_png(files.read("0001.png")), expected[1])
        metadata = json.loads(files.read("metadata.json"))
    assert metadata["images"] == [{"file": "0000.png", "seed": 5}, {"file": "0001.png", "seed": 3}]


def test_random_seeds_are_told_and_make_the_same_image_again(http: httpx.Client) -> None:
    first = http.post("/sample", json={"model": "tiny-gan"})
    second = http.post("/sample", json={"model": "tiny-gan"})
    assert first.headers["x-latentry-seeds"] != second.headers["x-latentry-seeds"]
    seed = int(first.headers["x-latentry-seeds"])
    assert 0 <= seed < 2**53
    assert http.post("/sample", json={"model": "tiny-gan", "seed": seed}).content == first.content


def test_long_lists_of_seeds_stay_out_of_the_header(http: httpx.Client) -> None:
    scattered = {"model": "tiny-vae", "seeds": [2**52 + 2 * i for i in range(300)]}
    answer = http.post("/sample", json=scattered, headers=JSON)
    assert "x-latentry-seeds" not in answer.headers
    assert [image["seed"] for image in answer.json()["images"]] == scattered["seeds"]
    in_a_row = http.post("/sample", json={"model": "tiny-vae", "seed": 2**53 - 1024, "n": 1024}, headers=NPY)
    assert in_a_row.headers["x-latentry-seeds"] == f"{2**53 - 1024}-{2**53 - 1}"
    assert load_npy(in_a_row.content).shape == (1024, 8, 8, 1)


def test_the_prior_is_an_option_of_seeds(http: httpx.Client) -> None:
    def png(path: str, **options: object) -> bytes:
        answer = http.post(path, json={"model": "tiny-prior", **options})
        assert answer.status_code == 200, answer.text
        return answer.content

    for path, seeds in (("/sample", {"seed": 3}), ("/interpolate", {"from": 3, "to": 4, "steps": 2})):
        fitted, normal = (png(path, prior=prior, **seeds) for prior in ("fitted", "normal"))
        assert fitted == png(path, **seeds) != normal
        assert normal == png(f"{path}?prior=normal", **seeds)


def test_truncation_label_and_version_change_the_image(http: httpx.Client) -> None:
    def png(**options: object) -> bytes:
        return ok(http.post("/sample", json={"seed": 1, **options}), "image/png").content

    assert png(model="tiny-vae", truncation=0.1) != png(model="tiny-vae")
    assert png(model="tiny-vae", truncation=1) == png(model="tiny-vae", truncation=1.0)
    assert png(model="tiny-cgan", label=0) != png(model="tiny-cgan", label=2)
    assert png(model="tiny-gan", version=1) != png(model="tiny-gan", version=2) == png(model="tiny-gan")
    mixed = {"model": "tiny-cgan", "seeds": [1, 1], "label": [0, 2]}
    both = load_npy(http.post("/sample", json=mixed, headers=NPY).content)
    assert np.array_equal(both[1], load_png(png(model="tiny-cgan", label=2)))


def test_without_a_label_an_image_has_one_by_its_seed_and_it_is_told(http: httpx.Client) -> None:
    asked = {"model": "tiny-cgan", "seed": 7, "n": 12}
    listed = ok(http.post("/sample", json=asked, headers=JSON), "application/json").json()["images"]
    labels = [image["label"] for image in listed]
    assert set(labels) == {0, 1, 2}
    array = ok(http.post("/sample", json=asked, headers=NPY), "application/x-npy")
    assert array.headers["x-latentry-labels"] == ",".join(map(str, labels))
    named = ok(http.post("/sample", json=asked | {"label": labels}, headers=NPY), "application/x-npy")
    assert named.content == array.content
    alone = ok(http.post("/sample", json={"model": "tiny-cgan", "seed": 12}), "image/png").content
    assert alone == base64.b64decode(listed[5]["png"])
    plain = http.post("/sample", json={"model": "tiny-gan", "n": 2}, headers=JSON)
    assert "x-latentry-labels" not in plain.headers
    assert "label" not in plain.json()["images"][0]


def test_sample_of_latents(http: httpx.Client, registry: Registry) -> None:
    model = registry.get("tiny-prior")
    z = finished.draw(model, [7, 8, 9], prior="normal")
    body = {"model": "tiny-prior", "latents": z.tolist()}
    answer = ok(http.post("/sample", json=body, headers=NPY), "application/x-npy")
    assert np.array_equal(load_npy(answer.content), finished.sample(model, [7, 8, 9], prior="normal"))
    assert "x-latentry-seeds" not in answer.headers
    as_npy = {"content": npy(z), "headers": {"Content-Type": "application/x-npy", **NPY}}
    assert http.post("/sample?model=tiny-prior", **as_npy).content == answer.content  # type: ignore[arg-type]
    assert http.post("/sample", json=body, headers=JSON).json()["images"][0].keys() == {"png"}

    half = load_npy(http.post("/sample?model=tiny-prior&truncation=0.5", **as_npy).content)  # type: ignore[arg-type]
    assert np.array_equal(half, finished.decode(model, z * np.float32(0.5)))
    # An image is the same alone.
    alone = http.post("/sample", json=body | {"latents": z[2:].tolist()}, headers=NPY)
    assert np.array_equal(load_npy(alone.content)[0], load_npy(answer.content)[2])

    labelled = {"model": "tiny-cgan", "latents": [[0.5] * 4] * 3, "label": [2, 0, 2]}
    images = load_npy(http.post("/sample", json=labelled, headers=NPY).content)
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("model=tiny-vae&n=2&seed=7&truncation=0.5", None),
        ("model=tiny-vae&seeds=7,8&truncation=5e-1", {}),
        ("truncation=0.5&version=1", {"model": "tiny-vae", "seed": 7, "n": 2}),
        ("seed=7", {"model": "tiny-vae", "seed": 7, "n": 2, "truncation": 0.5}),
        ("", {"model": "tiny-vae", "seeds": [7, 8], "truncation": 0.5, "seed": None}),
    ],
)
def test_options_may_stand_in_the_query(http: httpx.Client, query: str, body: object) -> None:
    expected = http.post("/sample", json={"model": "tiny-vae", "n": 2, "seed": 7, "truncation": 0.5})
    content: dict[str, Any] = {} if body is None else {"json": body}
    answer = http.post(f"/sample?{query}", **content)
    assert ok(answer, "image/png").content == expected.content


def _uploads(images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The same images in each way to send them, as arguments of httpx."""
    files = [encode(image) for image in images]
    ways: list[dict[str, Any]] = [
        {"files": [("images", ("a.png", data, "image/png")) for data in files]},
        {"files": [("images", ("../x.gif", data, "text/html")) for data in files]},
        {"content": npy(images), "headers": {"Content-Type": "application/x-npy"}},
        {"content": npy(images[..., 0]), "headers": {"Content-Type": "application/x-npy"}},
        {
            "content": npy((images[..., 0] / 255).astype(np.float32)),
            "headers": {"Content-Type": "application/x-npy"},
        },
        {"json": {"images": [base64.b64encode(data).decode() for data in files]}},
    ]
    if len(images) == 1:
        webp = encode(images[0], "WEBP", lossless=True)
        ways += [
            {"content": files[0], "headers": {"Content-Type": "image/png"}},
            {"content": webp, "headers": {"Content-Type": "image/webp"}},
        ]
    return ways


@pytest.mark.parametrize("n", [1, 3])
def test_images_may_come_in_any_form(http: httpx.Client, registry: Registry, n: int) -> None:
    images = grey(n)
    expected = finished.encode(registry.get("tiny-ae"), images).mean
    ways = _uploads(images)
    assert len(ways) == (8 if n == 1 else 6)
    for way in ways:
        headers = {**way.pop("headers", {}), **NPY}
        answer = http.post("/encode?model=tiny-ae", headers=headers, **way)
        assert np.array_equal(load_npy(ok(answer, "application/x-npy").content), expected), way.keys()


def test_multipart_parts_may_be_options(http: httpx.Client) -> None:
    files = [("images", ("a", encode(image))) for image in grey(2)]
    answer = http.post("/score", files=files, data={"model": "tiny-gan", "version": "1"})
    assert ok(answer, "application/json").json()["version"] == 1


def test_reconstruct(http: httpx.Client, registry: Registry) -> None:
    images = grey(2)
    expected = finished.reconstruct(registry.get("tiny-vae"), images)
    content, npy_type = npy(images), {"Content-Type": "application/x-npy"}
    answer = http.post("/reconstruct?model=tiny-vae", content=content, headers=npy_type | NPY)
    assert np.array_equal(load_npy(ok(answer, "application/x-npy").content), expected.images)
    assert "x-latentry-seeds" not in answer.headers

    items = http.post("/reconstruct?model=tiny-vae", content=content, headers=npy_type | JSON).json()[
        "images"
    ]
    assert [item["mse"] for item in items] == expected.mse.tolist()
    assert [item["psnr"] for item in items] == list(expected.psnr)
    assert expected.elbo_nats is not None
    assert [item["elbo_nats"] for item in items] == expected.elbo_nats.tolist()
    assert np.array_equal(np.array([item["latent"] for item in items], np.float32), expected.mean)
    assert all(0 <= item["anomaly_percentile"] <= 100 for item in items)
    assert np.array_equal(load_png(base64.b64decode(items[1]["png"])), expected.images[1])

    without = http.post("/reconstruct?model=tiny-vae&samples=0", content=content, headers=npy_type | JSON)
    assert without.json()["images"][0].keys() == {"png", "mse", "psnr", "latent"}
    plain = http.post("/reconstruct?model=tiny-ae", content=content, headers=npy_type | JSON)
    assert plain.json()["images"][0].keys() == {"png", "mse", "psnr", "latent", "anomaly_percentile"}


@pytest.mark.parametrize(("name", "channels"), [("tiny-vae", 1), ("tiny-rgb", 3)])
def test_views_of_reconstructions(http: httpx.Client, registry: Registry, name: str, channels: int) -> None:
    width = 8 if channels == 1 else 12
    images = np.random.RandomState(1).randint(0, 256, (3, 8, width, channels), np.uint8)
    rebuilt = finished.reconstruct(registry.get(name), images).images
    error = np.rint(np.abs(images.astype(float) - rebuilt).mean(axis=3)).astype(np.uint8)[..., None]
    assert error.max() > 40

    def ask(view: str, accept: dict[str, str], part: slice = slice(None)) -> bytes:
        headers = {"Content-Type": "application/x-npy", **accept}
        answer = http.post(
            f"/reconstruct?model={name}&view={view}", content=npy(images[part]), headers=headers
        )
        assert answer.status_code == 200, answer.text
        return answer.content

    assert np.array_equal(load_npy(ask("images", NPY)), rebuilt)
    assert np.array_equal(load_npy(ask("error", NPY)), error)
    together = np.concatenate([images, rebuilt, error.repeat(channels, axis=3)], axis=1)
    assert np.array_equal(load_npy(ask("comparison", NPY)), together)
    sheet = load_png(ask("comparison", {"Accept": "image/png"}))
    assert sheet.shape == (48, 2 * width, channels)
    assert np.array_equal(sheet[:24, width:], together[1])
    for view, pixels in (("error", error), ("comparison", together)):
        alone = ask(view, {"Accept": "image/png"}, slice(1, 2))
        assert np.array_equal(load_png(alone), pixels[1])
        items = json.loads(ask(view, JSON))["images"]
        assert base64.b64decode(items[1]["png"]) == alone
        # What is told of an image is the same, whichever view of it is shown.
        assert [item["mse"] for item in items] == [
            item["mse"] for item in json.loads(ask("images", JSON))["images"]
        ]
        with zipfile.ZipFile(io.BytesIO(ask(view, ZIP))) as files:
            assert files.read("0001.png") == alone


def test_encode_then_decode(http: httpx.Client, registry: Registry) -> None:
    model, images = registry.get("tiny-vae"), grey(3)
    encoding = finished.encode(model, images)
    assert encoding.logvar is not None
    request = {"model": "tiny-vae", "images": [base64.b64encode(encode(i)).decode() for i in images]}
    answer = ok(http.post("/encode", json=request), "application/json").json()
    assert np.array_equal(np.array([item["mean"] for item in answer["latents"]], np.float32), encoding.mean)
    assert np.array_equal(np.array([i["logvar"] for i in answer["latents"]], np.float32), encoding.logvar)
    assert http.post("/encode", json=request | {"model": "tiny-ae"}).json()["latents"][0].keys() == {"mean"}
    with zipfile.ZipFile(io.BytesIO(http.post("/encode", json=request, headers=ZIP).content)) as files:
        assert files.namelist() == ["mean.npy", "logvar.npy", "metadata.json"]
        assert np.array_equal(load_npy(files.read("logvar.npy")), encoding.logvar)

    decoded = finished.decode(model, encoding.mean)
    rows = {"model": "tiny-vae", "latents": [item["mean"] for item in answer["latents"]]}
    assert np.array_equal(load_npy(http.post("/decode", json=rows, headers=NPY).content), decoded)
    as_npy = http.post(
        "/decode?model=tiny-vae",
        content=npy(encoding.mean),
        headers={"Content-Type": "application/x-npy", **NPY},
    )
    assert np.array_equal(load_npy(as_npy.content), decoded)


def test_codes_and_their_images_in_every_form(http: httpx.Client, registry: Registry) -> None:
    model = registry.get("tiny-rgb")
    images = np.random.RandomState(2).randint(0, 256, (2, 8, 12, 3), np.uint8)
    encoding = finished.encode(model, images)
    decoded = finished.decode(model, encoding.mean)

    def ask(path: str, accept: dict[str, str], content: bytes) -> bytes:
        headers = {"Content-Type": "application/x-npy", **accept}
        answer = http.post(f"{path}?model=tiny-rgb", content=content, headers=headers)
        return ok(answer, accept["Accept"]).content

    sent = npy(images)
    mean = ask("/encode", NPY, sent)
    assert np.array_equal(load_npy(mean), encoding.mean)
    with zipfile.ZipFile(io.BytesIO(ask("/encode", ZIP, sent))) as files:
        assert files.read("mean.npy") == mean
        assert np.array_equal(load_npy(files.read("logvar.npy")), np.asarray(encoding.logvar))
        assert json.loads(files.read("metadata.json")) == {"model": "tiny-rgb", "version": 1}
    rows = json.loads(ask("/encode", JSON, sent))["latents"]
    assert np.array_equal(np.array([row["mean"] for row in rows], np.float32), encoding.mean)

    assert np.array_equal(load_npy(ask("/decode", NPY, mean)), decoded)
    shown = json.loads(ask("/decode", JSON, mean))["images"]
    pngs = [base64.b64decode(item["png"]) for item in shown]
    assert np.array_equal(np.stack([load_png(png) for png in pngs]), decoded)
    with zipfile.ZipFile(io.BytesIO(ask("/decode", ZIP, mean))) as files:
        assert [files.read(f"{i:04d}.png") for i in range(2)] == pngs
    # A code and its image are the same alone.
    assert ask("/encode", NPY, npy(images[1:])) == npy(encoding.mean[1:])
    assert ask("/decode", NPY, npy(encoding.mean[1:])) == npy(decoded[1:])


def test_interpolate_between_seeds_and_latents(http: httpx.Client, registry: Registry) -> None:
    model = registry.get("tiny-vae")
    ends = finished.draw(model, [3, 900])
    by_seeds = {"model": "tiny-vae", "from": 3, "to": 900, "steps": 5}
    answer = http.post("/interpolate", json=by_seeds, headers=NPY)
    expected = finished.interpolate(model, ends, 5, "slerp")
    assert np.array_equal(load_npy(answer.content), expected)
    assert answer.headers["x-latentry-seeds"] == "3,900"
    assert not np.array_equal(expected, finished.interpolate(model, ends, 5, "lerp"))
    straight = http.post("/interpolate?path=lerp", json=by_seeds, headers=NPY)
    assert np.array_equal(load_npy(straight.content), finished.interpolate(model, ends, 5, "lerp"))

    mixed = {"model": "tiny-vae", "from": ends[0].tolist(), "to": 900, "steps": 5}
    answer = http.post("/interpolate", json=mixed, headers=NPY)
    assert np.array_equal(load_npy(answer.content), expected)
    assert answer.headers["x-latentry-seeds"] == "900"
    in_query = http.post("/interpolate?model=tiny-vae&from=3&to=900&steps=5", headers=NPY)
    assert np.array_equal(load_npy(in_query.content), expected)
    assert load_png(http.post("/interpolate", json=by_seeds).content).shape == (16, 24, 1)


def test_interpolate_through_images(http: httpx.Client, registry: Registry) -> None:
    model, images = registry.get("tiny-ae"), grey(3)
    keys = finished.encode(model, images).mean
    expected = finished.interpolate(model, keys, 7, "slerp")
    files = [("images", ("a", encode(image))) for image in images]
    answer = http.post("/interpolate?model=tiny-ae&steps=7", files=files, headers=NPY)
    assert np.array_equal(load_npy(ok(answer, "application/x-npy").content), expected)
    body = {
        "model": "tiny-ae",
        "steps": 7,
        "images": [base64.b64encode(encode(image)).decode() for image in images],
    }
    assert http.post("/interpolate", json=body, headers=NPY).content == answer.content
    assert "x-latentry-seeds" not in answer.headers


def test_score(http: httpx.Client, registry: Registry) -> None:
    images = grey(3)
    content, headers = npy(images), {"Content-Type": "application/x-npy"}
    gan = finished.score(registry.get("tiny-gan", 1), images)
    answer = ok(
        http.post("/score?model=tiny-gan&version=1", content=content, headers=headers), "application/json"
    )
    assert isinstance(gan, DiscriminatorScore)
    assert [s["probability"] for s in answer.json()["scores"]] == gan.probability.tolist()
    assert answer.json()["scores"][0].keys() == {"logit", "probability", "density_ratio"}
    vae = finished.score(registry.get("tiny-vae"), images)
    assert isinstance(vae, ElboScore)
    scores = http.post("/score?model=tiny-vae", content=content, headers=headers).json()["scores"]
    assert [s["elbo_nats"] for s in scores] == vae.elbo_nats.tolist()
    assert scores[0].keys() == {"elbo_nats", "bits_per_dim", "anomaly_percentile"}


def test_score_by_importance_weights(http: httpx.Client, registry: Registry) -> None:
    images, headers = grey(5), {"Content-Type": "application/x-npy"}
    expected = finished.score(registry.get("tiny-vae"), images, k=300)
    assert isinstance(expected, ElboScore)
    assert expected.iw_nats is not None
    answer = http.post("/score?model=tiny-vae&k=300", content=npy(images), headers=headers).json()
    assert answer["k"] == 300
    assert [s["iw_nats"] for s in answer["scores"]] == expected.iw_nats.tolist()
    plain = http.post("/score?model=tiny-vae", content=npy(images), headers=headers).json()
    assert [s | {"iw_nats": v} for s, v in zip(plain["scores"], expected.iw_nats.tolist(), strict=True)] == (
        answer["scores"]
    )
    assert "k" not in plain
    alone = http.post("/score?model=tiny-vae&k=300", content=npy(images[3:4]), headers=headers).json()
    assert alone["scores"] == [answer["scores"][3]]


def test_scores_of_an_image_are_equal_alone_and_in_any_batch(http: httpx.Client) -> None:
    images, headers = grey(20), {"Content-Type": "application/x-npy"}
    for model in ("tiny-gan", "tiny-vae"):
        together = http.post(f"/score?model={model}", content=npy(images), headers=headers).json()["scores"]
        alone = http.post(f"/score?model={model}", content=npy(images[13:14]), headers=headers).json()[
            "scores"
        ]
        assert alone == [together[13]]
