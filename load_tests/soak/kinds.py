"""Requests of all kinds, good and bad, and the statuses that each may get."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from service import codecs
from service.client import calls
from service.client.request import Call

GAN, VAE, AE = "mnist-gan", "mnist-vae", "mnist-ae"
OK, TOO_MUCH, BAD, UNKNOWN, NOT_ACCEPTABLE = "200", "429", "400", "404", "406"
VARIANTS = 4


@dataclass(frozen=True)
class Kind:
    """`raw`: whole requests; `weight`: how often it is sent, beside the others; `expects`: statuses."""

    name: str
    raw: tuple[bytes, ...]
    weight: float
    expects: frozenset[str]


def kinds(url: str) -> list[Kind]:
    """All of them, for a service that listens there and serves the models of this repository."""
    with httpx.Client(base_url=url) as http:
        return [
            Kind(name, tuple(_raw(make(seed, http)) for seed in range(VARIANTS)), weight, frozenset(expects))
            for name, weight, make, *expects in _table()
        ]


Make = Callable[[int, httpx.Client], httpx.Request]


def _table() -> Iterator[tuple[Any, ...]]:
    """Name, weight, how it is made, statuses."""
    yield "sample, npy", 20, _of(lambda s: calls.sample(GAN, 1, seed=s)), OK
    yield "sample 64, npy", 20, _of(lambda s: calls.sample(GAN, 64, seed=s)), OK
    yield "sample 16, png", 8, _of(lambda s: calls.sample(VAE, 16, seed=s), codecs.PNG), OK
    yield "sample 16, zip", 4, _of(lambda s: calls.sample(AE, 16, seed=s), "application/zip"), OK
    yield "sample 4, json", 4, _of(lambda s: calls.sample(VAE, 4, seed=s), "application/json"), OK
    yield "sample, keep", 2, _of(lambda s: calls.sample(GAN, 4, seed=s, keep=0.5)), OK
    yield "sample 1,024", 2, _of(lambda s: calls.sample(GAN, 1024, seed=s)), OK, TOO_MUCH
    yield "sample 10,000", 0.2, _ten_thousand, OK, TOO_MUCH
    yield "reconstruct", 6, _of(lambda s: calls.reconstruct(VAE, _pictures(s, 8))), OK
    yield "reconstruct files, json", 3, _of(lambda s: calls.reconstruction_errors(VAE, _files(s, 4))), OK
    yield "encode", 6, _of(lambda s: calls.encode(AE, _pictures(s, 16))), OK
    yield "decode", 6, _of(lambda s: calls.decode(VAE, _latents(s, 16))), OK
    yield "interpolate", 4, _of(lambda s: calls.interpolate(VAE, s, s + 1, steps=8)), OK
    yield "interpolate, webp", 2, _of(lambda s: calls.interpolate(VAE, s, s + 1, steps=12), codecs.WEBP), OK
    yield "score, gan", 4, _of(lambda s: calls.score(GAN, _pictures(s, 8))), OK
    yield "score, vae", 3, _of(lambda s: calls.score(VAE, _pictures(s, 4), k=4)), OK
    yield "infer", 5, _infer, OK
    yield "no such model", 1, _of(lambda s: calls.sample(f"model-{s}")), UNKNOWN
    yield "no images", 1, _of(lambda _: calls.sample(GAN, 0)), BAD
    yield "far too many images", 1, _of(lambda s: calls.sample(GAN, 10**6, seed=s)), BAD
    yield "no json", 1, _posted("/sample", b'{"model": ', "application/json"), BAD
    yield "no picture", 1, _posted(f"/encode?model={VAE}", b"\x89PNG\r\n\x1a\n" + bytes(60), codecs.PNG), BAD
    yield "no such form", 1, _of(lambda s: calls.sample(GAN, 1, seed=s), "text/html"), NOT_ACCEPTABLE
    yield "no such path", 1, _posted("/nowhere", b"", "application/json"), UNKNOWN
    yield "metrics", 1, lambda _, http: http.build_request("GET", "/metrics"), OK
    yield "models", 1, lambda _, http: http.build_request("GET", "/models"), OK


def _of(call: Callable[[int], Call[Any]], accept: str | None = None) -> Make:
    """What the typed client would send for a call; in another form than it wants, where one is given."""

    def make(seed: int, http: httpx.Client) -> httpx.Request:
        request = call(seed).request(http)
        if accept is not None:
            request.headers["Accept"] = accept
        return request

    return make


def _ten_thousand(seed: int, http: httpx.Client) -> httpx.Request:
    """The client would divide it."""
    path = f"/sample?model={GAN}&n=10000&seed={seed}"
    return http.build_request("POST", path, headers={"Accept": "application/x-npy"})


def _infer(seed: int, http: httpx.Client) -> httpx.Request:
    data = _latents(seed, 2)
    tensor = {"name": "z", "datatype": "FP32", "shape": list(data.shape), "data": data.ravel().tolist()}
    return http.build_request("POST", f"/v2/models/{VAE}.generate/infer", json={"inputs": [tensor]})


def _posted(path: str, body: bytes, content_type: str) -> Make:
    return lambda _, http: http.build_request(
        "POST", path, content=body, headers={"Content-Type": content_type}
    )


def _pictures(seed: int, n: int) -> Any:
    return np.random.RandomState(seed).randint(0, 256, (n, 28, 28, 1)).astype(np.uint8)


def _files(seed: int, n: int) -> list[bytes]:
    return [codecs.encode_png(picture) for picture in _pictures(seed, n)]


def _latents(seed: int, n: int) -> Any:
    return np.random.RandomState(seed).standard_normal((n, 16)).astype(np.float32)


def _raw(request: httpx.Request) -> bytes:
    body = request.read()
    headers = [
        f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "content-length"
    ]
    first = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"
    return "\r\n".join([first, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body
