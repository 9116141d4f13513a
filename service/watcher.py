"""A thread of each worker that looks at the models folder, now and then and when it is called, and clears up."""

import logging
import threading
import time

from service.errors import Unavailable
from service.loader import IDLE_S, Models
from service.settings import Settings
from service.workers import Workers

CALL_S = 0.1
"""Between two looks for a call."""

_log = logging.getLogger(__name__)


class Watcher:
    """See the head of this file. `start` belongs in the worker: a fork takes no thread along."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._interval_s = settings.reload_interval_s
        self._is_called = settings.admin
        self._workers: Workers | None = None

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watch-models", daemon=True).start()

    @property
    def workers(self) -> Workers:
        """Where workers are called, from the first use on."""
        if self._workers is None:
            self._workers = Workers()
        return self._workers

    def _watch(self) -> None:
        # The first time at once: what was loaded before a fork may be old by now.
        answered, fault = -1 if self._is_called or self._interval_s else 0, None
        looked_s = time.monotonic()
        tick_s = CALL_S if self._is_called else min(self._interval_s or IDLE_S, IDLE_S)
        while True:
            try:
                called = self.workers.called() if self._is_called else 0
                is_due = self._interval_s and time.monotonic() - looked_s >= self._interval_s
                if called > answered or is_due:
                    changes = self._models.look(final=called > answered)
                    looked_s = time.monotonic()
                    if changes.fault not in (None, fault):
                        _log.error("%s", changes.fault)
                    fault = changes.fault
                    if self._is_called and called > answered:
                        self.workers.answer(called, changes)
                    answered = called
                self._models.clear_up()
            except Unavailable:  # still loading
                pass
            except Exception:  # without this thread, no new version would ever be seen
                _log.exception("while looking at the models folder")
            time.sleep(tick_s)
