"""The models of this process: loaded once, in the background, while `/livez` already answers."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

from service import telemetry
from service.errors import Unavailable
from service.registry import Registry
from service.settings import Settings, load_settings


@lru_cache(maxsize=1)
def process_models() -> "Models":
    """Those of this process."""
    return Models(load_settings())


class Models:
    """A registry to be. Nothing happens before `start`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loading: Future[Registry] = Future()
        self.is_stopping = False

    def load(self) -> None:
        """Load now: in a process that serves nothing itself, and is forked into workers."""
        self._loading.set_result(self._load())

    def start(self) -> None:
        """Serve what is loaded; load it in the background, unless it was loaded before the fork."""
        if self._loading.done():
            telemetry.serving(self._loading.result().models())  # metrics are a process's own
            return
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

    def usable(self) -> bool:
        """Whether there is a model to serve; waits until all are loaded."""
        return self._loading.result().ready

    def check_ready(self) -> None:
        """Raises Unavailable, with the reason, unless there is a model to serve right now, and no end in sight."""
        if self.is_stopping:
            raise Unavailable("the service is stopping")
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
