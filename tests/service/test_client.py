"""The client against answers written by hand: what it sends, what it makes of what comes back."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.client import AsyncClient, Client, LatentryError

ROOT = Path(__file__).resolve().parents[2]
MODEL = {"X-Latentry-Model": "mnist-vae/3"}
Handler = Callable[[httpx.Request], httpx.Response]


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://test", transport=httpx.MockTransport(handler), **options)


def pictures(count: int, **headers: str) -> httpx.Response:
    images = np.arange(count, dtype=np.uint8).repeat(4).reshape(count, 2, 2, 1)
    return httpx.Response(200, headers=MODEL | headers, content=npy(images))


def test_sample_asks_for_an_array_and_tells_its_seeds() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return pictures(4, **{"X-Latentry-Seeds": "7-9,20", "X-Latentry-Labels": "1,0,12,1"})

    result = client(handler).sample("mnist-vae", 4, seed=7, truncation=0.5)
    assert (seen[0].method, seen[0].url.path, seen[0].url.query) == ("POST", "/sample", b"")
    assert seen[0].headers["Accept"] == "application/x-npy"
    assert json.loads(seen[0].content) == {"model": "mnist-vae", "n": 4, "seed": 7, "truncation": 0.5}
    assert result.seeds == (7, 8, 9, 20)
    assert result.labels == (1, 0, 12, 1)
    assert (result.model, result.version) == ("mnist-vae", 3)
    assert result.images.shape == (4, 2, 2, 1)
    assert result.images.dtype == np.uint8
    assert result.images[3, 0, 0, 0] == 3


def test_seeds_may_be_any_sequence_and_are_remembered_when_the_service_does_not_repeat_them() -> None:
    bodies: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return pictures(2)

    result = client(handler).sample("m", seeds=range(5, 7), label=(1, 2))
    assert bodies == [{"model": "m", "seeds": [5, 6], "label": [1, 2]}]
    assert result.seeds == (5, 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_go_as_npy_with_options_in_the_query(dtype: type) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Content-Type"] == "application/x-npy"
        assert dict(request.url.params) == {"model": "m", "version": "2", "label": "4,0"}
        sent = np.load(io.BytesIO(request.content))
        assert sent.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
        np.testing.assert_array_equal(sent, np.ones((2, 4, 4)))
        return pictures(2)

    client(handler).reconstruct("m", np.ones((2, 4, 4), dtype), label=[4, 0], version=2)


@pytest.mark.parametrize(("files", "count"), [(b"\x89PNG", 1), ([b"\x89PNG", b"\xff\xd8\xff"], 2)])
def test_files_go_as_parts_named_images(files: Any, count: int) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
        assert request.content.count(b'name="images"') == count
        assert b"\r\n\r\n\x89PNG\r\n" in request.content
        return httpx.Response(200, headers=MODEL, json={"scores": [{"logit": 0.0}] * count})

    assert np.asarray(client(handler).score("m", files).logit).shape == (count,)


def test_interpolate_names_its_ends_as_the_api_does() -> None:
    bodies: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return pictures(3)

    end = np.array([0.5, -1.0], np.float32)
    assert client(handler).interpolate("m", 7, end, steps=3, path="lerp").images.shape[0] == 3
    assert bodies == [{"model": "m", "steps": 3, "path": "lerp", "from": 7, "to": [0.5, -1.0]}]


def test_interpolate_images_sends_them() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"model": "m", "steps": "5", "path": "slerp"}
        assert np.load(io.BytesIO(request.content)).shape == (2, 2, 2)
        return pictures(5)

    assert len(client(handler).interpolate_images("m", np.zeros((2, 2, 2), np.uint8), steps=5).images) == 5


@pytest.mark.parametrize("with_logvar", [True, False])
def test_encode_reads_the_zip(with_logvar: bool) -> None:
    mean = np.array([[1.5, -2.0]], np.float32)

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Accept"] == "application/zip"
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("mean.npy", npy(mean))
            if with_logvar:
                archive.writestr("logvar.npy", npy(mean + 1))
        return httpx.Response(200, headers=MODEL, content=stream.getvalue())

    codes = client(handler).encode("m", np.zeros((1, 2, 2), np.uint8))
    np.testing.assert_array_equal(codes.mean, mean)
    if with_logvar:
        np.testing.assert_array_equal(np.asarray(codes.logvar), [[2.5, -1.0]])
    else:
        assert codes.logvar is None


def test_decode_sends_float32() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        sent = np.load(io.BytesIO(request.content))
        assert (sent.dtype, sent.tolist()) == (np.float32, [[0.5, 2.0]])
        return pictures(1)

    assert len(client(handler).decode("m", np.array([[0.5, 2.0]])).images) == 1


def test_scores_of_either_kind() -> None:
    gan = {"scores": [{"logit": -1.0, "probability": 0.25, "density_ratio": 0.5}]}
    vae = {
        "scores": [
            {"elbo_nats": -90.0, "bits_per_dim": 0.2, "anomaly_percentile": 12.0},
            {"elbo_nats": -80.0, "bits_per_dim": 0.1, "anomaly_percentile": 3.0},
        ]
    }
    answers = iter([gan, vae])
    service = client(lambda _: httpx.Response(200, headers=MODEL, json=next(answers)))
    image = np.zeros((1, 2, 2), np.uint8)
    first, second = service.score("m", image), service.score("m", image)
    assert np.asarray(first.probability).tolist() == [0.25]
    assert first.elbo_nats is None
    assert np.asarray(second.elbo_nats).tolist() == [-90.0, -80.0]
    assert np.asarray(second.anomaly_percentile).tolist() == [12.0, 3.0]
    assert second.logit is None


def test_a_perfect_reconstruction_has_an_infinite_psnr() -> None:
    items = [{"mse": 0.01, "psnr": 20.0, "latent": [1.0]}, {"mse": 0.0, "psnr": None, "latent": [0.0]}]
    service = client(lambda _: httpx.Response(200, headers=MODEL, json={"images": items}))
    result = service.reconstruction_errors("m", np.zeros((2, 2, 2), np.uint8))
    assert result.mse.tolist() == [0.01, 0.0]
    assert result.psnr.tolist() == [20.0, np.inf]
    assert result.anomaly_percentile is None


def test_models_ignore_what_a_newer_service_adds() -> None:
    item = {
        "name": "m", "version": 2, "latest": True, "family": "vae", "description": "d",
        "operations": ["sample"], "image": {"height": 2, "width": 2, "channels": 1},
        "latent": {"dim": 4, "prior": None}, "class_names": None, "graphs": {}, "sha256": "0" * 64,
        "dataset": {"name": "x"}, "metrics": {"mse": 0.5}, "added_later": 1,
    }  # fmt: skip

    old = item | {"version": 1, "latest": False, "metrics": {"mse": 0.7}}
    service = client(lambda _: httpx.Response(200, json={"models": [old, item], "refused": {}}))
    assert [m.version for m in service.models()] == [1, 2]
    assert service.model("m") == service.models()[1]
    assert service.model("m").metrics == {"mse": 0.5}


def test_a_problem_becomes_an_exception_with_its_text() -> None:
    problem = {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "the queue is full",
        "errors": [{"location": "body.n", "message": "must be 1 to 1,024, got 0"}],
    }
    headers = {"Content-Type": "application/problem+json", "Retry-After": "3"}
    service = client(lambda _: httpx.Response(429, headers=headers, content=json.dumps(problem)), retries=0)
    with pytest.raises(LatentryError, match="429 Too Many Requests: the queue is full") as caught:
        service.sample("m")
    assert (caught.value.status, caught.value.retry_after_s) == (429, 3)
    assert caught.value.errors[0]["location"] == "body.n"


def test_an_error_that_is_no_problem_document_keeps_its_text() -> None:
    service = client(lambda _: httpx.Response(502, text="<h1>bad gateway</h1>"))
    with pytest.raises(LatentryError) as caught:
        service.models()
    assert (caught.value.title, caught.value.detail) == ("Bad Gateway", "<h1>bad gateway</h1>")
    assert caught.value.retry_after_s is None


def _starting() -> Handler:
    """Refuses the first connection, is starting at the second request, ready at the third."""
    requests = iter(range(3))

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/readyz"
        count = next(requests)
        if count == 0:
            raise httpx.ConnectError("refused")
        return httpx.Response(503 if count == 1 else 200)

    return handler


def test_waits_until_ready() -> None:
    service = client(_starting())
    service.wait_until_ready(5, poll_s=0)


def test_waits_no_longer_than_it_is_told() -> None:
    with pytest.raises(TimeoutError, match=r"http://test.* was not ready within 0.02 s"):
        client(lambda _: httpx.Response(503)).wait_until_ready(0.02, poll_s=0.005)


def test_does_not_wait_for_a_service_that_is_none_of_ours() -> None:
    with pytest.raises(LatentryError, match="404"):
        client(lambda _: httpx.Response(404)).wait_until_ready(5)


async def test_the_asynchronous_client_makes_the_same_calls() -> None:
    bodies: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return pictures(2, **{"X-Latentry-Seeds": "0-1"})

    async with AsyncClient("http://test", transport=httpx.MockTransport(handler)) as service:
        result = await service.sample("m", 2, seed=0)
    assert client(handler).sample("m", 2, seed=0).seeds == result.seeds == (0, 1)
    assert bodies[0] == bodies[1] == {"model": "m", "n": 2, "seed": 0}


async def test_the_asynchronous_client_waits_until_ready() -> None:
    async with AsyncClient("http://test", transport=httpx.MockTransport(_starting())) as service:
        await service.wait_until_ready(5, poll_s=0)


def test_imports_nothing_of_the_server() -> None:
    script = "import sys, service.client; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert {"httpx", "numpy"} <= loaded
    assert not loaded & {"bentoml", "onnxruntime", "pydantic", "PIL", "starlette", "torch"}
