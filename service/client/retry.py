"""When the typed client asks again.

Every call is a function of its request (a seed is always in it), so that asking twice does no harm. It asks again
where no answer came because the connection failed, and where the service said that it would answer later: 429 and 503.
Not for a request that timed out or was given up (504), which has cost its time once, nor for one that is wrong.
"""

import random
import time

import httpx

from service.client.results import LatentryError

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
_LATER = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_CONNECTION = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)

Failure = LatentryError | httpx.TransportError


class Patience:
    """Of one request: `retries` at most, none of which begins more than `within_s` seconds after this is made."""

    def __init__(self, retries: int, within_s: float) -> None:
        self._left = retries
        self._deadline = time.monotonic() + within_s
        self._wait_s = _FIRST_WAIT_S

    def wait_s(self, failure: Failure) -> float:
        """Seconds to wait before the request is sent again; raises `failure` where it is not to be."""
        if isinstance(failure, LatentryError):
            again, told_s = failure.status in _LATER, failure.retry_after_s
        else:
            again, told_s = isinstance(failure, _CONNECTION), None
        # Twice as long each time, and not all clients at once.
        wait_s = self._wait_s * random.uniform(0.5, 1) if told_s is None else float(told_s)
        if not again or self._left == 0 or time.monotonic() + wait_s > self._deadline:
            raise failure
        self._left -= 1
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return wait_s
