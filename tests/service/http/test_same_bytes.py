"""Promise 1: the same model, seed and options give the same bytes, alone, in a batch, and under load."""

import asyncio
import base64
import io
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.http.pictures import encode, grey, npy
from tests.service.server import serve

MODELS = ("tiny-vae", "tiny-gan", "tiny-rgb")
SEED = 1234


@pytest.fixture(scope="module")
def alone(http: httpx.Client) -> dict[str, bytes]:
    return {model: http.post("/sample", json={"model": model, "seed": SEED}).content for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
def test_position_37_of_64_is_the_image_alone(
    http: httpx.Client, alone: dict[str, bytes], model: str
) -> None:
    request = {"model": model, "seed": SEED - 37, "n": 64}
    images = http.post("/sample", json=request, headers={"Accept": "application/json"}).json()["images"]
    assert images[37]["seed"] == SEED
    assert base64.b64decode(images[37]["png"]) == alone[model]
    archive = http.post("/sample", json=request, headers={"Accept": "application/zip"}).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert files.read("0037.png") == alone[model]
        assert files.read("0036.png") != alone[model]


async def test_32_mixed_requests_at_once(service_url: str, alone: dict[str, bytes]) -> None:
    """Singles, batches, uploads and bad requests beside each other, in both workers; each gets its own."""
    images = grey(20)
    scores = {"content": npy(images), "headers": {"Content-Type": "application/x-npy"}}
    limits = httpx.Limits(max_connections=32)
    async with httpx.AsyncClient(base_url=service_url, timeout=60, limits=limits) as client:
        expected_scores = (await client.post("/score?model=tiny-gan", **scores)).content  # type: ignore[arg-type]

        async def one(i: int) -> None:
            model = MODELS[i % 3]
            match i % 4:
                case 0:
                    answer = await client.post("/sample", json={"model": model, "seed": SEED})
                    assert answer.content == alone[model]
                case 1:
                    body = {"model": model, "seed": SEED - 37, "n": 64}
                    answer = await client.post("/sample", json=body, headers={"Accept": "application/json"})
                    assert base64.b64decode(answer.json()["images"][37]["png"]) == alone[model]
                case 2:
                    answer = await client.post("/score?model=tiny-gan", **scores)  # type: ignore[arg-type]
                    assert answer.content == expected_scores
                case _:
                    answer = await client.post("/sample", json={"model": model, "n": -1})
                    assert answer.status_code == 400

        for _ in range(4):
            await asyncio.gather(*(one(i) for i in range(32)))


async def test_animations_and_bounds_beside_each_other(service_url: str) -> None:
    """Of two sizes at once, in both workers."""
    images, kind = grey(9), {"Content-Type": "application/x-npy"}
    path = {"model": "tiny-rgb", "keys": [1, 2, 3], "steps": 24, "closed": True}
    async with httpx.AsyncClient(base_url=service_url, timeout=60) as client:

        async def animation(accept: str, steps: int) -> bytes:
            body = path | {"steps": steps}
            return (await client.post("/interpolate", json=body, headers={"Accept": accept})).content

        async def bounds(part: slice) -> list[object]:
            answer = await client.post("/score?model=tiny-vae&k=40", content=npy(images[part]), headers=kind)
            return [score["iw_nats"] for score in answer.json()["scores"]]

        asked = [animation(form, steps) for form in ("image/webp", "image/gif") for steps in (24, 12)]
        alone = [await one for one in asked]
        whole = await bounds(slice(0, 9))
        for _ in range(3):
            again = [animation(form, steps) for form in ("image/webp", "image/gif") for steps in (24, 12)]
            parts = [bounds(slice(i, i + 1 + i % 3)) for i in range(9)]
            assert await asyncio.gather(*again) == alone
            for i, part in enumerate(await asyncio.gather(*parts)):
                assert part == whole[i : i + 1 + i % 3]
    assert len(set(alone)) == 4


def test_reconstruction_does_not_depend_on_company(http: httpx.Client) -> None:
    images = grey(40)
    together = http.post(
        "/reconstruct?model=tiny-vae",
        content=npy(images),
        headers={"Content-Type": "application/x-npy", "Accept": "application/json"},
    ).json()["images"]
    single = http.post(
        "/reconstruct?model=tiny-vae",
        content=encode(images[31]),
        headers={"Content-Type": "image/png", "Accept": "application/json"},
    ).json()["images"]
    assert single == [together[31]]
    assert not np.array_equal(together[30]["latent"], together[31]["latent"])


def test_neither_workers_nor_shared_runs_nor_the_length_of_an_answer_change_a_byte(
    service_url: str, models_dir: Path, tmp_path: Path
) -> None:
    """Two workers whose requests share runs, under load, against one worker where each runs alone."""
    requests = [
        ({"n": 1, "seed": SEED}, "application/x-npy"),
        ({"n": 1, "seed": SEED}, "image/png"),
        ({"n": 64, "seed": SEED}, "application/x-npy"),
        ({"n": 64, "seed": SEED}, "image/png"),
        ({"n": 300, "seed": SEED}, "application/zip"),
        ({"n": 10_000, "seed": SEED}, "application/x-npy"),
    ]

    async def together(url: str) -> list[list[bytes]]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:

            async def answer(model: str, options: dict[str, int], accept: str) -> bytes:
                response = await http.post(
                    "/sample", json={"model": model, **options}, headers={"Accept": accept}
                )
                assert response.status_code == 200
                return response.content

            return [
                await asyncio.gather(*(answer(model, *request) for request in requests * 4))
                for model in MODELS
            ]

    shared = asyncio.run(together(service_url))
    with serve(models_dir, tmp_path, workers=1, batch_images=1) as url:
        alone = asyncio.run(together(url))
    assert shared == alone
    for answers in shared:
        one, many = (np.load(io.BytesIO(answers[i])) for i in (0, 5))
        assert one[0].tobytes() == many[0].tobytes()
        assert answers[: len(requests)] * 4 == answers
