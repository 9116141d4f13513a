"""The typed client against the service: every operation, and large calls that equal one request's answer."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from service import operations
from service.client import AsyncClient, Client, Limits
from service.registry import Registry
from tests.service import finished
from tests.service.http.pictures import encode, grey, load_npy

SMALL = Limits(images=7)


def test_every_operation(service_url: str, registry: Registry) -> None:
    vae, images = registry.get("tiny-vae"), grey(3)
    with Client(service_url) as client:
        z = client.encode("tiny-vae", images).mean
        assert np.array_equal(client.sample("tiny-vae", latents=z).images, finished.decode(vae, z))
        half = finished.decode(vae, z * np.float32(0.5))
        assert np.array_equal(client.sample("tiny-vae", latents=z, truncation=0.5).images, half)
        rebuilt = client.reconstruct("tiny-vae", images).images
        error = client.reconstruct("tiny-vae", images, view="error").images
        assert np.array_equal(error, np.abs(images.astype(int) - rebuilt))
        scores = client.score("tiny-vae", images, k=20)
        expected = finished.score(vae, images, k=20)
        assert isinstance(expected, operations.ElboScore)
        assert np.array_equal(np.asarray(scores.iw_nats), np.asarray(expected.iw_nats))
        assert scores.k == 20
        assert client.score("tiny-vae", images).iw_nats is None
        assert client.score("tiny-gan", images).k is None


def test_interpolations_and_animations(service_url: str, http: httpx.Client) -> None:
    options = {"steps": 9, "closed": True, "easing": "smoothstep", "path": "lerp"}
    with Client(service_url) as client:
        z = client.encode("tiny-vae", grey(1)).mean[0]
        keys = [3, z, np.int64(900)]
        frames = client.interpolate("tiny-vae", keys=keys, **options).images  # type: ignore[arg-type]
        body = {"model": "tiny-vae", "keys": [3, z.tolist(), 900], **options}
        answer = http.post("/interpolate", json=body, headers={"Accept": "application/x-npy"})
        assert np.array_equal(frames, load_npy(answer.content))
        assert np.array_equal(
            client.interpolate("tiny-vae", 3, 900, steps=9, closed=False).images[0], frames[0]
        )
        for form in ("webp", "gif"):
            data = client.animate("tiny-vae", keys, form=form, fps=20, **options)  # type: ignore[arg-type]
            with Image.open(io.BytesIO(data)) as animation:
                assert animation.format == form.upper()
                animation.seek(4)
                assert np.array_equal(np.array(animation.convert("L")), frames[4, ..., 0])
                assert animation.info["duration"] == 50
        images = grey(3)
        through = client.interpolate_images("tiny-ae", images, **options).images  # type: ignore[arg-type]
        data = client.animate("tiny-ae", images=images, **options)  # type: ignore[arg-type]
        with Image.open(io.BytesIO(data)) as animation:
            animation.seek(5)
            assert np.array_equal(np.array(animation.convert("L")), through[5, ..., 0])


def test_a_divided_call_gives_what_one_request_gives(service_url: str) -> None:
    images = grey(20)
    labels = [i % 3 for i in range(20)]
    with Client(service_url) as whole, Client(service_url, limits=SMALL) as divided:
        z = whole.encode("tiny-vae", images).mean
        files = [encode(image) for image in images]
        for name, args, options in (
            ("sample", ("tiny-gan", 20), {"seed": 5, "truncation": 0.7}),
            ("sample", ("tiny-gan",), {"seeds": list(range(100, 0, -5))}),
            ("sample", ("tiny-cgan", 20), {"seed": 5, "label": labels}),
            ("sample", ("tiny-cgan", 20), {"seed": 5}),
            ("sample", ("tiny-vae",), {"latents": z}),
            ("reconstruct", ("tiny-vae", images), {"view": "comparison"}),
            ("reconstruction_errors", ("tiny-vae", images), {"samples": 2}),
            ("encode", ("tiny-vae", files), {}),
            ("encode", ("tiny-ae", images), {}),
            ("decode", ("tiny-cgan", z), {"label": labels}),
            ("score", ("tiny-vae", images), {"k": 5}),
            ("score", ("tiny-gan", files), {}),
        ):
            seen: list[tuple[int, int]] = []
            one = vars(getattr(whole, name)(*args, **options))
            parts = vars(
                getattr(divided, name)(*args, **options, progress=lambda *now, seen=seen: seen.append(now))
            )
            assert seen == [(7, 20), (14, 20), (20, 20)], name
            for key, value in one.items():
                if isinstance(value, np.ndarray):
                    assert value.tobytes() == parts[key].tobytes(), (name, key)
                    assert (value.shape, value.dtype) == (parts[key].shape, parts[key].dtype)
                else:
                    assert value == parts[key], (name, key)


def test_what_a_discriminator_keeps_is_one_request(service_url: str) -> None:
    with Client(service_url) as whole, Client(service_url, limits=SMALL) as divided:
        one = whole.sample("tiny-gan", 20, seed=5, keep=0.5)
        other = divided.sample("tiny-gan", 20, seed=5, keep=0.5)
        assert other.images.tobytes() == one.images.tobytes()
        assert (other.seeds, other.proposed) == (one.seeds, one.proposed)
        assert one.proposed is not None
        assert one.proposed > 20
        assert whole.sample("tiny-gan", keep=0.5).seeds != whole.sample("tiny-gan", keep=0.5).seeds


def test_more_images_than_a_request_may_ask_for(service_url: str) -> None:
    with Client(service_url) as client:
        many = client.sample("tiny-gan", 2500, seed=11)
        assert many.images.shape == (2500, 8, 8, 1)
        assert many.seeds == tuple(range(11, 2511))
        last = client.sample("tiny-gan", seed=2510)
        assert np.array_equal(many.images[2499], last.images[0])
        scores = client.score("tiny-gan", many.images)
        assert np.asarray(scores.logit).shape == (2500,)


@pytest.mark.parametrize("n", [1, 20])
async def test_the_asynchronous_client_gives_the_same(service_url: str, n: int) -> None:
    with Client(service_url) as client:
        expected = client.sample("tiny-vae", n, seed=3)
    async with AsyncClient(service_url, limits=SMALL) as client:
        got = await client.sample("tiny-vae", n, seed=3)
        assert np.array_equal(got.images, expected.images)
        assert got.seeds == expected.seeds
        data = await client.animate("tiny-vae", [1, 2], steps=4, form="gif")
    assert data.startswith(b"GIF89a")
