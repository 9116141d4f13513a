"""Load on a running service: a user class for each operation, and one that mixes them.

    locust -f load_tests/locustfile.py SampleUser --headless -u 8 -t 10s -H http://127.0.0.1:3000 --images 64

The requests are fixed, so each has one right answer (the service promises: same request, same bytes). It is
fetched once before the load; afterwards every answer is compared with it: status, model, size, bytes.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from locust import FastHttpUser, events, task
from locust.env import Environment

from service.client import Client, LatentryError, ModelInfo, calls
from service.client.request import Call

VARIANTS = 4  # different requests of each kind
OF_THE_GENERATOR = {"sample", "decode", "score"}  # the others are asked of the autoencoder


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    path: str
    body: bytes
    headers: dict[str, str]
    answer: bytes
    served_by: str


@dataclass(frozen=True)
class Target:
    """A model and how much is asked of it. `images`: how many a request sends or asks for."""

    model: ModelInfo
    images: int

    def pictures(self, seed: int) -> np.ndarray:
        size = self.model.image
        shape = (self.images, size["height"], size["width"], size["channels"])
        return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)

    def latents(self, seed: int) -> np.ndarray:
        dim = (self.model.latent or {})["dim"]
        return np.random.RandomState(seed).standard_normal((self.images, dim)).astype(np.float32)

    def label(self, seed: int) -> int | None:
        """A class, where the model is conditional."""
        return seed % len(self.model.class_names) if self.model.class_names else None


CALLS: dict[str, Callable[[Target, int], Call[Any]]] = {
    "sample": lambda t, seed: calls.sample(t.model.name, t.images, seed=1000 * seed),
    "reconstruct": lambda t, seed: calls.reconstruct(t.model.name, t.pictures(seed)),
    "encode": lambda t, seed: calls.encode(t.model.name, t.pictures(seed)),
    "decode": lambda t, seed: calls.decode(t.model.name, t.latents(seed), label=t.label(seed)),
    "interpolate": lambda t, seed: calls.interpolate(t.model.name, seed, seed + 1, steps=max(2, t.images)),
    "score": lambda t, seed: calls.score(t.model.name, t.pictures(seed)),
}


def prepare(host: str, operation: str, model: str, images: int) -> list[Exchange]:
    """Raises LatentryError where the service does not answer as it should, before any load."""
    with Client(host) as client, httpx.Client(base_url=host, timeout=60) as http:
        target = Target(client.model(model), images)
        exchanges = []
        for seed in range(VARIANTS):
            call = CALLS[operation](target, seed)
            request = call.request(http)
            response = http.send(request)
            call.answer(response)
            headers = {name: request.headers[name] for name in ("Accept", "Content-Type")}
            served_by = response.headers["X-Latentry-Model"]
            path = request.url.raw_path.decode()
            exchanges.append(Exchange(path, request.read(), headers, response.content, served_by))
    return exchanges


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any) -> None:
    parser.add_argument("--images", type=int, default=1, help="images a request (default 1)")
    parser.add_argument("--generator", default="mnist-gan", help="model of sample, decode and score")
    parser.add_argument(
        "--autoencoder", default="mnist-vae", help="model of reconstruct, encode, interpolate"
    )


class OperationUser(FastHttpUser):
    """Sends the requests of `operations` in turn, the next when the last is answered."""

    abstract = True
    operations: tuple[str, ...] = ()
    # For all users of the class, each a tuple of one exchange for every operation; `_prepare` sets it.
    rounds: tuple[tuple[Exchange, ...], ...] = ()

    def on_start(self) -> None:
        self.cycle = itertools.cycle(self.rounds)

    @task
    def send(self) -> None:
        for exchange in next(self.cycle):
            with self.client.post(
                exchange.path,
                data=exchange.body,  # type: ignore[arg-type]  # bytes are sent as they are
                headers=exchange.headers,
                name=exchange.path.partition("?")[0],
                catch_response=True,
            ) as response:
                if (fault := _fault(exchange, response)) is not None:
                    response.failure(fault)


def _fault(exchange: Exchange, response: Any) -> str | None:
    """What is wrong with an answer. Texts have no numbers that vary: locust counts equal ones together."""
    if response.status_code != httpx.codes.OK:
        return f"status {response.status_code}"
    if response.headers.get("X-Latentry-Model") != exchange.served_by:
        return "answered by another model"
    if len(response.content) != len(exchange.answer):
        return "another size"
    if response.content != exchange.answer:
        return "other bytes"
    return None


class SampleUser(OperationUser):
    operations = ("sample",)


class ReconstructUser(OperationUser):
    operations = ("reconstruct",)


class EncodeUser(OperationUser):
    operations = ("encode",)


class DecodeUser(OperationUser):
    operations = ("decode",)


class InterpolateUser(OperationUser):
    operations = ("interpolate",)


class ScoreUser(OperationUser):
    operations = ("score",)


class MixedUser(OperationUser):
    operations = tuple(CALLS)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _prepare(environment: Environment, **_: object) -> None:
    """Before the clock of the test starts."""
    options, host = environment.parsed_options, environment.host
    if options is None or host is None:
        raise SystemExit("name the service: --host http://127.0.0.1:3000")
    for user in environment.user_classes:
        if issubclass(user, OperationUser):
            prepared = []
            try:
                for name in user.operations:
                    model = options.generator if name in OF_THE_GENERATOR else options.autoencoder
                    prepared.append(prepare(host, name, model, options.images))
            except (LatentryError, httpx.TransportError) as error:
                raise SystemExit(f"{host} does not answer as it should: {error}") from error
            user.rounds = tuple(zip(*prepared, strict=True))
