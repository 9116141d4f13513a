"""The models of this process: loaded once, in the background, while `/livez` already answers."""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor

from service import telemetry
from service.errors import Unavailable
from service.registry import Registry
from service.settings import Settings


class Models:
    """A registry to be. Nothing happens before `start`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loading: Future[Registry] = Future()

    def start(self) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="load-models")
        self._loading = pool.submit(self._load)
        pool.shutdown(wait=False)

    def registry(self) -> Registry:
        """The registry, waited for: workers share one socket, and the one that loads last turns nobody away.

        Raises:
            Unavailable: it is still loading after `request_timeout_s`.
        """
        try:
            return self._loading.result(self._settings.request_timeout_s)
        except TimeoutError as error:
            raise Unavailable("the models are loading", headers={"Retry-After": "1"}) from error

    def wait(self) -> Awaitable[object] | None:
        """What to await before `registry` answers at once; None where it does already."""
        if self._loading.done():
            return None
        return asyncio.wait([asyncio.wrap_future(self._loading)], timeout=self._settings.request_timeout_s)

    def check_ready(self) -> None:
        """Raises Unavailable, with the reason, unless there is a model to serve right now."""
        if not self._loading.done():
            raise Unavailable("the models are loading", headers={"Retry-After": "1"})
        registry = self._loading.result()
        if not registry.ready:
            reasons = "; ".join(registry.refused.values()) or "there are no bundles"
            raise Unavailable(f"no usable model: {reasons}")

    def _load(self) -> Registry:
        registry = Registry.load(self._settings.models_dir, self._settings.threads)
        telemetry.serving(registry.models())
        return registry
