"""/interpolate: paths through many keys, closed and eased, as frames and as animations."""

import base64
import io
import json
import zipfile

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service import latents
from service.registry import Registry
from tests.service import finished
from tests.service.http.pictures import encode, grey, load_npy, npy

NPY = {"Accept": "application/x-npy"}
WEBP = {"Accept": "image/webp"}
GIF = {"Accept": "image/gif"}


def frames(http: httpx.Client, **options: object) -> NDArray[np.uint8]:
    answer = http.post("/interpolate", json={"model": "tiny-vae", **options}, headers=NPY)
    assert answer.status_code == 200, answer.text
    pixels: NDArray[np.uint8] = load_npy(answer.content)
    return pixels


def animation(answer: httpx.Response, channels: int) -> tuple[NDArray[np.uint8], list[int]]:
    assert answer.status_code == 200, answer.text
    shown, durations = [], []
    with Image.open(io.BytesIO(answer.content)) as image:
        for i in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(i)
            shown.append(np.array(image.convert("RGB"))[..., :channels])
            durations.append(int(image.info["duration"]))
    return np.stack(shown), durations


def test_a_path_passes_its_keys(http: httpx.Client, registry: Registry) -> None:
    model = registry.get("tiny-vae")
    expected = finished.sample(model, [3, 900, 41])
    path = frames(http, keys=[3, 900, 41], steps=9)
    assert np.array_equal(path[[0, 4, 8]], expected)
    middle = finished.draw(model, [900])[0].tolist()
    assert np.array_equal(frames(http, keys=[3, middle, 41], steps=9), path)
    assert np.array_equal(frames(http, keys=[3, 900], steps=5), path[:5])
    assert np.array_equal(
        frames(http, keys=[3, 900], steps=5), frames(http, **{"from": 3, "to": 900}, steps=5)
    )


def test_keys_in_the_query_are_seeds(http: httpx.Client) -> None:
    query = "model=tiny-vae&keys=3,900,41&steps=9&closed=true&easing=smoothstep&path=lerp"
    answer = http.post(f"/interpolate?{query}", headers=NPY)
    assert answer.headers["x-latentry-seeds"] == "3,900,41"
    same = frames(http, keys=[3, 900, 41], steps=9, closed=True, easing="smoothstep", path="lerp")
    assert np.array_equal(load_npy(answer.content), same)
    off = http.post(f"/interpolate?{query.replace('true', 'false')}", headers=NPY)
    assert not np.array_equal(load_npy(off.content), same)


def test_a_closed_path_comes_back_and_does_not_say_its_first_frame_twice(http: httpx.Client) -> None:
    loop = frames(http, keys=[3, 900, 41], steps=12, closed=True)
    there_and_back = frames(http, keys=[3, 900, 41, 3], steps=13)
    assert np.array_equal(loop, there_and_back[:12])
    assert np.array_equal(there_and_back[12], loop[0])
    assert len({frame.tobytes() for frame in loop}) == 12


def test_easing_moves_frames_between_keys_and_not_the_keys(http: httpx.Client, registry: Registry) -> None:
    model = registry.get("tiny-vae")
    eased = frames(http, keys=[3, 900, 41], steps=9, easing="smoothstep", path="lerp")
    linear = frames(http, keys=[3, 900, 41], steps=9, path="lerp")
    assert np.array_equal(eased[[0, 2, 4, 6, 8]], linear[[0, 2, 4, 6, 8]])  # 3 / 4 - 2 / 8 = 1 / 2
    a, b, _ = finished.draw(model, [3, 900, 41])
    quarter = latents.lerp(a, b, np.array([3 / 16 - 2 / 64]))
    assert np.array_equal(eased[1], finished.decode(model, quarter)[0])
    assert not np.array_equal(eased[1], linear[1])


def test_a_closed_path_through_images(http: httpx.Client, registry: Registry) -> None:
    images = grey(3)
    keys = finished.encode(registry.get("tiny-ae"), images).mean
    expected = finished.interpolate(registry.get("tiny-ae"), keys, 6, closed=True, easing="smoothstep")
    answer = http.post(
        "/interpolate?model=tiny-ae&steps=6&closed=true&easing=smoothstep",
        content=npy(images),
        headers={"Content-Type": "application/x-npy", **NPY},
    )
    assert np.array_equal(load_npy(answer.content), expected)
    files = [("images", ("a", encode(image))) for image in images]
    options = {"model": "tiny-ae", "steps": "6", "closed": "true", "easing": "smoothstep"}
    assert http.post("/interpolate", files=files, data=options, headers=NPY).content == answer.content


@pytest.mark.parametrize("headers", [WEBP, GIF], ids=["webp", "gif"])
def test_an_animation_has_the_frames_of_the_array(http: httpx.Client, headers: dict[str, str]) -> None:
    request = {"keys": [5, 6, 7], "steps": 10, "closed": True}
    expected = frames(http, **request)
    answer = http.post("/interpolate", json={"model": "tiny-vae", "fps": 20, **request}, headers=headers)
    assert answer.headers["content-type"] == headers["Accept"]
    assert answer.headers["x-latentry-seeds"] == "5-7"
    assert answer.headers["x-latentry-model"] == "tiny-vae/1"
    shown, durations = animation(answer, 1)
    assert np.array_equal(shown, expected)
    assert durations == [50] * 10
    # Frames that do not move are frames nonetheless.
    still = http.post("/interpolate", json={"model": "tiny-vae", "keys": [5, 5], "steps": 4}, headers=headers)
    assert np.array_equal(animation(still, 1)[0], expected[:1].repeat(4, axis=0))


def test_colour_is_exact_in_webp_and_near_in_gif(http: httpx.Client) -> None:
    request = {"model": "tiny-rgb", "keys": [5, 6], "steps": 5}
    expected = frames(http, **request)
    assert np.array_equal(animation(http.post("/interpolate", json=request, headers=WEBP), 3)[0], expected)
    shown = animation(http.post("/interpolate", json=request, headers=GIF), 3)[0]
    assert np.array_equal(shown, expected)  # 8 x 12 pixels have no more than 256 colours


@pytest.mark.parametrize("headers", [WEBP, GIF], ids=["webp", "gif"])
@pytest.mark.parametrize("model", ["tiny-vae", "tiny-rgb"])
def test_an_animation_is_the_same_bytes_each_time(
    http: httpx.Client, headers: dict[str, str], model: str
) -> None:
    request = {"model": model, "keys": [5, 6, 7], "steps": 10}
    answers = {
        http.post("/interpolate", json=request, headers=headers | {"Connection": "close"}).content
        for _ in range(6)  # over both workers, whichever they are
    }
    assert len(answers) == 1
    other = http.post("/interpolate?fps=13", json=request, headers=headers).content
    assert other not in answers


def test_a_frame_does_not_depend_on_the_path_around_it(http: httpx.Client) -> None:
    long = frames(http, keys=[3, 900, 41, 8], steps=100)
    assert np.array_equal(frames(http, keys=[3, 900, 41], steps=67), long[:67])


def test_png_stays_the_default_of_frames(http: httpx.Client) -> None:
    request = {"model": "tiny-vae", "keys": [5, 6], "steps": 4}
    for accept in ("*/*", "image/*"):
        answer = http.post("/interpolate", json=request, headers={"Accept": accept})
        assert answer.headers["content-type"] == "image/png"
    refused = http.post("/sample", json={"model": "tiny-vae"}, headers=GIF)
    assert refused.status_code == 406


def test_labels_of_frames(http: httpx.Client, registry: Registry) -> None:
    request = {"model": "tiny-cgan", "keys": [5, 6, 7], "steps": 4, "closed": True, "label": [0, 1, 2, 0]}
    model = registry.get("tiny-cgan")
    keys = finished.draw(model, [5, 6, 7])
    expected = finished.interpolate(model, keys, 4, labels=[0, 1, 2, 0], closed=True)
    assert np.array_equal(frames(http, **request), expected)


def test_the_seeds_among_the_keys_are_told_where_a_header_cannot_hold_them(http: httpx.Client) -> None:
    seeds = [2**52 + 2 * i for i in range(300)]
    request = {"model": "tiny-vae", "keys": [*seeds, [0, 0, 0, 0]], "steps": 2}
    answer = http.post("/interpolate", json=request, headers={"Accept": "application/json"})
    assert "x-latentry-seeds" not in answer.headers
    assert answer.json()["seeds"] == seeds
    archive = http.post("/interpolate", json=request, headers={"Accept": "application/zip"}).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert json.loads(files.read("metadata.json"))["seeds"] == seeds
    none = {"model": "tiny-vae", "keys": [[0, 0, 0, 0], [1, 0, 0, 0]]}
    assert "seeds" not in http.post("/interpolate", json=none, headers={"Accept": "application/json"}).json()


def test_images_exclude_keys(http: httpx.Client) -> None:
    image = base64.b64encode(encode(grey(1)[0])).decode()
    answer = http.post(
        "/interpolate", json={"model": "tiny-vae", "images": [image, image], "keys": [1, 2]}
    ).json()
    assert answer["errors"][0]["location"] == "body.images"
