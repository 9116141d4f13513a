"""The models of this process: loaded in the background, while `/livez` already answers, and replaced while it runs."""

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

from service import memory, runtime, telemetry
from service.errors import Unavailable
from service.folder import Changes, ModelsFolder
from service.registry import Model, Registry
from service.settings import Settings, load_settings
from service.wire import wire

TRIM_EVERY_S = 5.0
"""Between two times that memory is given back amid requests: answers of all sizes leave holes in the heap.
It takes some milliseconds, of a thread of its own."""
IDLE_S = 0.5
"""Without a request, after which what the last ones took is given back, too."""


@lru_cache(maxsize=1)
def process_models() -> "Models":
    """Those of this process."""
    memory.share_heap()
    return Models(load_settings())


class Models:
    """A registry to be, which a look at the folder replaces by another. Nothing happens before `start`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loading: Future[Registry] = Future()
        self._folder: ModelsFolder | None = None
        self._registry: Registry | None = None
        self._looking = threading.Lock()
        self._leaving: list[weakref.ref[Model]] = []
        self._trimmed_s = self._arrived_s = time.monotonic()
        self._arrivals, self._is_trimmed = wire.arrivals, True
        self.is_stopping = False

    def load(self) -> None:
        """Load now: in a process that serves nothing itself, and is forked into workers."""
        self._loading.set_result(self._load())

    def start(self) -> None:
        """Serve what is loaded; load it in the background, unless it was loaded before the fork."""
        if self._registry is not None:
            _tell(self._registry)  # metrics are a process's own
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="load-models")
        self._loading = pool.submit(self._load)
        pool.shutdown(wait=False)

    def registry(self) -> Registry:
        """The registry, waited for: workers share one socket, and the one that loads last turns nobody away.

        The next may be another. What is done in several steps asks once.

        Raises:
            Unavailable: it is still loading after `request_timeout_s`.
        """
        if self._registry is not None:
            return self._registry
        try:
            return self._loading.result(self._settings.request_timeout_s)
        except TimeoutError as error:
            raise Unavailable("the models are loading", headers={"Retry-After": "1"}) from error

    def wait(self) -> Awaitable[object] | None:
        """What to await before `registry` answers at once; None where it does already."""
        if self.is_loaded:
            return None
        return asyncio.wait([asyncio.wrap_future(self._loading)], timeout=self._settings.request_timeout_s)

    @property
    def is_loaded(self) -> bool:
        """Whether `registry` answers at once."""
        return self._loading.done()

    def usable(self) -> bool:
        """Whether there is a model to serve; waits until all are loaded."""
        return self._loading.result().ready

    def check_ready(self) -> None:
        """Raises Unavailable, with the reason, unless there is a model to serve right now, and no end in sight."""
        if self.is_stopping:
            raise Unavailable("the service is stopping")
        registry = self._registry
        if registry is None:
            raise Unavailable("the models are loading", headers={"Retry-After": "1"})
        if not registry.ready:
            reasons = "; ".join(registry.refused.values()) or "there are no bundles"
            raise Unavailable(f"no usable model: {reasons}")
        if registry.undivided:
            raise Unavailable("; ".join(registry.undivided.values()))

    def look(self, *, final: bool) -> Changes:
        """See what is new in the folder, and serve it; see `ModelsFolder.look`. Raises Unavailable as `registry`."""
        with self._looking:
            old = self.registry()
            if self._folder is None:
                raise RuntimeError("models without their folder")
            changes = self._folder.look(final=final)
            self._registry = new = self._folder.registry
            self._loading = _loaded(new)  # the other would keep the models of the start for ever
            if changes.loaded or changes.dropped or new.refused != old.refused:
                staying = set(map(id, new.models()))
                self._leaving += [weakref.ref(model) for model in old.models() if id(model) not in staying]
                _tell(new)
                telemetry.changed(len(changes.loaded), len(changes.dropped))
                # New ones were tried while requests were computed.
                self._trimmed_s, self._is_trimmed = -math.inf, False
            return changes

    def clear_up(self) -> None:
        """Give back the memory of models that have left, once the last request that began with one is answered.

        That of requests, when there are none, and now and then.
        """
        if not self.is_loaded:
            return
        now_s = time.monotonic()
        if wire.arrivals != self._arrivals or telemetry.in_flight():
            self._arrivals, self._arrived_s, self._is_trimmed = wire.arrivals, now_s, False
        is_idle = now_s - self._arrived_s >= IDLE_S
        is_due = not self._is_trimmed and (is_idle or now_s - self._trimmed_s >= TRIM_EVERY_S)
        staying = [model for model in self._leaving if model() is not None]
        if is_due or len(staying) < len(self._leaving):
            self._leaving, self._trimmed_s, self._is_trimmed = staying, now_s, is_idle
            # What runs took lies in pieces of their sizes, and how much that is depends on which came first.
            runtime.give_back()
            memory.trim()

    def _load(self) -> Registry:
        self._folder = ModelsFolder(self._settings.models_dir, self._settings.threads)
        self._registry = self._folder.registry
        _tell(self._registry)
        return self._registry


def _loaded(registry: Registry) -> Future[Registry]:
    """As if it had been waited for."""
    loading: Future[Registry] = Future()
    loading.set_result(registry)
    return loading


def _tell(registry: Registry) -> None:
    telemetry.serving(registry.models(), len(registry.refused), ready=not registry.undivided)
