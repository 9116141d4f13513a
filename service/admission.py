"""How much may wait for its turn in a worker, and when whoever is turned away shall come again.

What waits is counted in images. Short requests (which a run of a graph holds) and long ones have a room each, of the
same size: long ones wait for each other, and never keep a short one out. A room takes one more request as long as it is
not full, whatever the size of that request.

Who is turned away is given a place in a line: the times told follow each other as fast as the work of one request after
another is done, if as many come back as did lately. So they do not all come back at once; and who comes back when told
finds room that is kept for them, on the connection on which they were told.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from service.errors import Overloaded

KEPT = 1.0
"""Of a room, beside it: for those who come back when they were told to, which is in whole seconds: many at a time."""
LONGEST_S = 60
"""What is told at the most: who is to wait for longer may as well ask again."""
LATE_S = 5.0
"""A place is kept for so long after its time."""
MOST_PLACES = 100_000
# Weights of the newest in running means: of runs and requests, and of those who were told to come again.
_LATELY, _RETURNS = 0.1, 0.02


class Admission:
    """The rooms of a worker.

    Args:
        limit: images of a room.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._waiting = {False: 0, True: 0}  # images, of short and of long requests
        self._image_s = 0.0
        self._request_images = 1.0
        self._line_end_s = -math.inf
        self._return_rate = 1.0  # of those who were told when to come
        self._places: OrderedDict[object, float] = OrderedDict()  # who -> from when on

    @property
    def images(self) -> int:
        """All that wait."""
        return sum(self._waiting.values())

    def ask(self, who: object, *, is_long: bool = False) -> None:
        """May a request of `who`, a connection, wait here?

        Raises:
            Overloaded: there is no room; it tells when to come again.
        """
        waiting = self._waiting[is_long]
        if waiting < self._limit and not self._places:
            return
        now_s = self._clock()
        self._forget(now_s)
        place_s = self._places.get(who)
        is_expected = place_s is not None and place_s <= now_s
        if waiting < (1 + KEPT * is_expected) * self._limit:
            if is_expected:
                self._leave_line(who, came=True)
            return
        raise Overloaded(
            f"{waiting:,} images wait for their turn here, and no more than {self._limit:,} may",
            retry_after_s=self._place(who, now_s),
        )

    def count(self, images: int, *, is_long: bool) -> None:
        """So many more wait now, or fewer."""
        self._waiting[is_long] += images

    def asked_for(self, images: int) -> None:
        """The size of a request."""
        self._request_images += _LATELY * (images - self._request_images)

    def computed(self, images: int, seconds: float) -> None:
        """A run of so many images took so long."""
        if images:
            latest_s = seconds / images
            self._image_s += (_LATELY if self._image_s else 1.0) * (latest_s - self._image_s)

    def _place(self, who: object, now_s: float) -> int:
        """Seconds until the turn of `who`, a whole number as HTTP has it."""
        there_is_room_s = now_s + self.images * self._image_s
        if not self._places:
            self._line_end_s = there_is_room_s
        request_s = self._request_images * self._image_s
        self._line_end_s = max(self._line_end_s, there_is_room_s) + self._return_rate * request_s
        seconds = min(max(math.ceil(self._line_end_s - now_s), 1), LONGEST_S)
        if len(self._places) < MOST_PLACES:
            self._places[who] = now_s + seconds - 0.5  # their clock and the way here are not exact
            self._places.move_to_end(who)
        return seconds

    def _forget(self, now_s: float) -> None:
        """Those who did not come."""
        while self._places:
            who, place_s = next(iter(self._places.items()))
            if place_s + LATE_S > now_s:
                break
            self._leave_line(who, came=False)

    def _leave_line(self, who: object, *, came: bool) -> None:
        del self._places[who]
        self._return_rate += _RETURNS * (came - self._return_rate)
