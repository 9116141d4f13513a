"""Typed client of the HTTP API: arrays in, arrays out.

    with Client() as client:
        digits = client.sample("mnist-gan", 64, seed=7).images  # uint8 (64, 28, 28, 1)

Each operation is described once, in `calls.py`, and what it gives in `results.py`; `Client` and `AsyncClient` are two
ways to carry it. A call of more images than a request may hold becomes several, one after the other (`jobs.py`); a
request is sent again where that is safe (`retry.py`). This folder needs httpx and numpy alone.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx

from service.client import calls
from service.client.jobs import Job, Limits
from service.client.request import Call
from service.client.results import Codes, LatentryError, ModelInfo, Pictures, ReconstructionErrors, Scores
from service.client.retry import Patience

__all__ = [
    "AsyncClient",
    "Client",
    "Codes",
    "LatentryError",
    "Limits",
    "ModelInfo",
    "Pictures",
    "ReconstructionErrors",
    "Scores",
]

DEFAULT_URL = "http://127.0.0.1:3000"
RETRIES = 4
RETRY_WITHIN_S = 60.0
DEFAULT_LIMITS = Limits()
_READY: Call[bool] = Call("GET", "/readyz", lambda _: True)

P = ParamSpec("P")
T = TypeVar("T")


class _Method(Generic[P, T]):
    """A method of both clients, from the function that builds its call."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    def __get__(self, client: "Client | AsyncClient | None", owner: type) -> Callable[P, Any]:
        if client is None:
            return self._build

        @functools.wraps(self._build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self._build(*args, **kwargs))

        return method


class _Operations:
    sample = _Method(calls.sample)
    reconstruct = _Method(calls.reconstruct)
    reconstruction_errors = _Method(calls.reconstruction_errors)
    encode = _Method(calls.encode)
    decode = _Method(calls.decode)
    interpolate = _Method(calls.interpolate)
    interpolate_images = _Method(calls.interpolate_images)
    animate = _Method(calls.animate)
    score = _Method(calls.score)
    models = _Method(calls.models)
    model = _Method(calls.model)


class Client(_Operations):
    """Synchronous client. Operations raise LatentryError, or httpx.TransportError if there is no answer.

    Args:
        retries: how often a request is sent again where that is safe; see `retry.py`.
        retry_within_s: seconds after its first try in which that may begin.
        limits: of one request; a larger call is divided.
        api_key: where the service asks for one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 60.0,
        retries: int = RETRIES,
        retry_within_s: float = RETRY_WITHIN_S,
        limits: Limits = DEFAULT_LIMITS,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries, self._retry_within_s, self._limits = retries, retry_within_s, limits
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, headers=_headers(api_key), transport=transport
        )

    def send(self, call: Call[T]) -> T:
        job = Job(call, self._limits)
        for part in job:
            job.add(self._exchange(part))
        return job.result()

    def _exchange(self, call: Call[T]) -> T:
        patience = Patience(self._retries, self._retry_within_s)
        while True:
            try:
                return self._try(call)
            except (LatentryError, httpx.TransportError) as failure:
                time.sleep(patience.wait_s(failure))

    def _try(self, call: Call[T]) -> T:
        return call.answer(self._http.send(call.request(self._http)))

    def ready(self) -> bool:
        """Whether the service answers, and its models are loaded and checked."""
        try:
            return self._try(_READY)
        except (LatentryError, httpx.TransportError) as error:
            return _not_ready(error)

    def wait_until_ready(self, timeout_s: float = 60.0, *, poll_s: float = 0.1) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            _check_deadline(deadline, timeout_s, self._http.base_url)
            time.sleep(poll_s)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Operations):
    """Asynchronous client: `await client.sample(...)`. Arguments and errors as of `Client`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 60.0,
        retries: int = RETRIES,
        retry_within_s: float = RETRY_WITHIN_S,
        limits: Limits = DEFAULT_LIMITS,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries, self._retry_within_s, self._limits = retries, retry_within_s, limits
        self._http = httpx.AsyncClient(
            base_url=url, timeout=timeout_s, headers=_headers(api_key), transport=transport
        )

    async def send(self, call: Call[T]) -> T:
        job = Job(call, self._limits)
        for part in job:
            job.add(await self._exchange(part))
        return job.result()

    async def _exchange(self, call: Call[T]) -> T:
        patience = Patience(self._retries, self._retry_within_s)
        while True:
            try:
                return await self._try(call)
            except (LatentryError, httpx.TransportError) as failure:
                await asyncio.sleep(patience.wait_s(failure))

    async def _try(self, call: Call[T]) -> T:
        return call.answer(await self._http.send(call.request(self._http)))

    async def ready(self) -> bool:
        """Whether the service answers, and its models are loaded and checked."""
        try:
            return await self._try(_READY)
        except (LatentryError, httpx.TransportError) as error:
            return _not_ready(error)

    async def wait_until_ready(self, timeout_s: float = 60.0, *, poll_s: float = 0.1) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not await self.ready():
            _check_deadline(deadline, timeout_s, self._http.base_url)
            await asyncio.sleep(poll_s)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def _not_ready(error: LatentryError | httpx.TransportError) -> bool:
    """False for a service that is starting, or not yet there; another error is raised."""
    if isinstance(error, LatentryError) and error.status != httpx.codes.SERVICE_UNAVAILABLE:
        raise error
    return False


def _check_deadline(deadline: float, timeout_s: float, url: httpx.URL) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"{url} was not ready within {timeout_s} s")
