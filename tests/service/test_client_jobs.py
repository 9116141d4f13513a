"""Large calls: what is sent of them, and what is made of the parts."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest

from service.client import AsyncClient, Client, LatentryError, Limits

Requests = list[httpx.Request]


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def sampler(seen: Requests) -> httpx.MockTransport:
    """Image i of a request shows the last byte of its seed; the service has version 5."""

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        body = json.loads(request.content)
        seeds = body.get("seeds") or range(body["seed"], body["seed"] + body["n"])
        images = np.array([s % 256 for s in seeds], np.uint8).reshape(-1, 1, 1, 1)
        return httpx.Response(200, headers={"X-Latentry-Model": "m/5"}, content=npy(images))

    return httpx.MockTransport(handler)


def bodies(seen: Requests) -> list[Any]:
    return [json.loads(request.content) for request in seen]


def test_seeds_in_a_row_are_asked_for_in_rows() -> None:
    seen: Requests = []
    done: list[tuple[int, int]] = []
    service = Client("http://test", transport=sampler(seen), limits=Limits(images=4))
    result = service.sample("m", 10, seed=250, progress=lambda *now: done.append(now))
    assert result.seeds == tuple(range(250, 260))
    assert result.images.ravel().tolist() == [250, 251, 252, 253, 254, 255, 0, 1, 2, 3]
    # The version that answered first is the version of all.
    assert bodies(seen) == [
        {"model": "m", "seed": 250, "n": 4},
        {"model": "m", "seed": 254, "n": 4, "version": 5},
        {"model": "m", "seed": 258, "n": 2, "version": 5},
    ]
    assert done == [(4, 10), (8, 10), (10, 10)]


def test_what_is_one_an_image_goes_with_its_image() -> None:
    seen: Requests = []
    service = Client("http://test", transport=sampler(seen), limits=Limits(images=2))
    result = service.sample("m", seeds=[9, 4, 9], label=np.array([1, 0, 2]).tolist(), version=5)
    assert result.seeds == (9, 4, 9)
    assert bodies(seen) == [
        {"model": "m", "version": 5, "seeds": [9, 4], "label": [1, 0]},
        {"model": "m", "version": 5, "seeds": [9], "label": [2]},
    ]
    seen.clear()
    service.sample("m", 3, seed=0, label=1)
    service.sample("m", seeds=np.arange(3), label=np.arange(3))  # type: ignore[arg-type]  # works nonetheless
    assert [body["label"] for body in bodies(seen)] == [1, 1, [0, 1], [2]]


def test_no_more_than_the_limit_is_one_request() -> None:
    seen: Requests = []
    done: list[tuple[int, int]] = []
    service = Client("http://test", transport=sampler(seen), limits=Limits(images=4))
    service.sample("m", 4, seed=0, progress=lambda *now: done.append(now))
    assert bodies(seen) == [{"model": "m", "seed": 0, "n": 4}]
    assert done == [(4, 4)]


def test_a_seed_is_drawn_once() -> None:
    seen: Requests = []
    service = Client("http://test", transport=sampler(seen), limits=Limits(images=4))
    first, second = service.sample("m", 6).seeds, service.sample("m", 6).seeds
    assert first == tuple(range(first[0], first[0] + 6))
    assert first[0] != second[0]
    assert [body["seed"] for body in bodies(seen)] == [first[0], first[4], second[0], second[4]]


@pytest.mark.parametrize(
    "options", [{"n": 0}, {"n": 3, "seeds": [1, 2]}, {"seed": 1, "seeds": [1]}, {"n": 9, "label": [0, 1]}]
)
def test_contradictions_are_for_the_service_to_explain(options: dict[str, Any]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert options.items() <= json.loads(request.content).items()
        return httpx.Response(400)

    service = Client("http://test", transport=httpx.MockTransport(handler), limits=Limits(images=4))
    with pytest.raises(LatentryError, match="400"):
        service.sample("m", **options)


def test_progress_can_be_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    service = Client("http://test", transport=sampler([]), limits=Limits(images=1000))
    service.sample("m", 2000, seed=0, progress=True)
    service.sample("m", 2, seed=0)
    assert capsys.readouterr().err == "\r1,000 of 2,000 images\r2,000 of 2,000 images\n"


def echo(seen: Requests) -> httpx.MockTransport:
    """Gives the uploaded array back, or the lengths of the files."""

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.headers["Content-Type"] == "application/x-npy":
            content = request.content
        else:
            names = request.content.count(b'name="images"')
            content = npy(np.full((names, 1), len(seen), np.uint8))
        return httpx.Response(200, headers={"X-Latentry-Model": "m/5"}, content=content)

    return httpx.MockTransport(handler)


def test_uploads_are_divided_by_number_and_by_size() -> None:
    images = np.random.RandomState(0).randint(0, 256, (25, 20, 20), np.uint8)
    for limits, counts in (
        (Limits(images=10), [10, 10, 5]),
        (Limits(images=10, body_bytes=7 * 650), [7, 7, 7, 4]),
        (Limits(body_bytes=1), [1] * 25),
    ):
        seen: Requests = []
        service = Client("http://test", transport=echo(seen), limits=limits)
        result = service.reconstruct("m", images)
        assert np.array_equal(result.images, images)
        assert [len(np.load(io.BytesIO(request.content))) for request in seen] == counts
        if limits.body_bytes > 1:
            assert all(len(request.content) <= limits.body_bytes for request in seen)


def test_files_are_divided_by_their_sizes() -> None:
    files = [b"\x89PNG" + bytes(size) for size in (100, 3000, 100, 100, 9000, 100)]
    seen: Requests = []
    service = Client("http://test", transport=echo(seen), limits=Limits(body_bytes=4000))
    # One is too large for any request: that is for the service to say.
    assert service.reconstruct("m", files).images.ravel().tolist() == [1, 1, 1, 2, 3, 4]
    assert [len(request.content) <= 4000 for request in seen] == [True, True, False, True]


def test_columns_of_scores_and_infinite_errors_are_joined() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        n = len(np.load(io.BytesIO(request.content)))
        scores = [{"elbo_nats": -1.0 * n, "bits_per_dim": 0.5, "iw_nats": -0.5}] * n
        images = [{"mse": 0.0, "psnr": None}] * n
        content = {"scores": scores, "images": images, "k": 9}
        return httpx.Response(200, headers={"X-Latentry-Model": "m/5"}, json=content)

    service = Client("http://test", transport=httpx.MockTransport(handler), limits=Limits(images=2))
    images = np.zeros((3, 2, 2), np.uint8)
    scores = service.score("m", images, k=9)
    assert np.asarray(scores.elbo_nats).tolist() == [-2, -2, -1]
    assert np.asarray(scores.iw_nats).tolist() == [-0.5] * 3
    assert (scores.k, scores.logit, scores.anomaly_percentile) == (9, None, None)
    errors = service.reconstruction_errors("m", images)
    assert errors.psnr.tolist() == [np.inf] * 3
    assert errors.elbo_nats is None


def test_parts_of_two_models_are_not_joined() -> None:
    versions = iter("56")

    def handler(_: httpx.Request) -> httpx.Response:
        headers = {"X-Latentry-Model": f"m/{next(versions)}"}
        return httpx.Response(200, headers=headers, content=npy(np.zeros((2, 1, 1, 1), np.uint8)))

    service = Client("http://test", transport=httpx.MockTransport(handler), limits=Limits(images=2))
    with pytest.raises(RuntimeError, match=r"not of one model: version is \[5, 6\]"):
        service.sample("m", 4, seed=0)


async def test_the_asynchronous_client_divides_too() -> None:
    seen: Requests = []
    done: list[tuple[int, int]] = []
    async with AsyncClient("http://test", transport=sampler(seen), limits=Limits(images=4)) as service:
        result = await service.sample("m", 10, seed=7, progress=lambda *now: done.append(now))
    assert result.seeds == tuple(range(7, 17))
    assert [body["n"] for body in bodies(seen)] == [4, 4, 2]
    assert done == [(4, 10), (8, 10), (10, 10)]
