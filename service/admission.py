"""How much may wait for its turn in a worker, and when whoever is turned away shall come again.

What waits is counted in images. Short requests (which a run of a graph holds) and long ones have a room each, of the
same size: long ones wait for each other, and never keep a short one out. A room takes one more request as long as it is
not full, whatever the size of that request.

Who is turned away is booked for a later second, by connection: each second is given as much work as the worker lately
did in one, less a reserve. Who comes back when told, on the same connection, finds room that is kept for them: a part
of each room, and if need be more. Who comes earlier, or leaves, gives the place away.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import Overloaded

BOOKED_US = 700_000
"""Of each second. Under overload less is done than lately was, as refusals take time too, and some come late."""
KEPT_S = 1.0
"""Beside a room, for so much work of those who come back when they were told to. Times are told in whole seconds: those
of one may all come at once."""
OTHERS = 0.75
"""Of a room, for those who were not told to come, while others were and have not come yet. These would stand behind a
room that is always full, and make everybody wait for longer."""
LONGEST_S = 300
"""What is told at the most. Who would have to wait for longer is told that too, and has no place."""
EARLY_S, LATE_S = 0.1, 5.0
"""A place is kept from so long before the time told (clocks are not exact) until so long after it. From longer before,
room that is for those who come when told went to whoever kept asking on one connection, and made everybody wait."""
MOST_PLACES = 100_000
_LATELY = 0.1  # weight of the newest in running means


@dataclass(frozen=True)
class Place:
    """Work of so many microseconds, expected in `second` of the clock, of who was told to come at `told_s`."""

    told_s: float
    second: int
    work_us: int
    is_long: bool


class Refusal(NamedTuple):
    """What an Overloaded says."""

    detail: str
    retry_after_s: int


class Admission:
    """The rooms of a worker.

    Args:
        limit: images of a room.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._detail = (
            f"as many images wait here as may: {limit:,}, less the room of those who were told to come"
        )
        self._waiting = {False: 0, True: 0}  # images, of short and of long requests
        self._image_s = 0.0
        self.request_images = 1.0
        """Of a short request, as of late."""
        self._computed_s: float | None = None  # the last run, if others waited when it ended
        self._places: dict[object, Place] = {}
        self._expected = {False: 0, True: 0}  # places, of short and of long requests
        self._booked_us: defaultdict[int, int] = defaultdict(int)  # second -> work
        self._forgot_s = -math.inf

    @property
    def images(self) -> int:
        """All that wait."""
        return sum(self._waiting.values())

    @property
    def is_full(self) -> bool:
        """Of short requests; as long as it is not, nobody is turned away before it is known what is wanted."""
        return self._waiting[False] >= self._room(is_long=False)

    def _room(self, *, is_long: bool) -> float:
        """For those who were not told to come now."""
        return OTHERS * self._limit if self._expected[is_long] else self._limit

    def ask(self, who: object, images: int | None = None) -> None:
        """May a request of `who`, a connection, wait here?

        Args:
            images: of a long request; None: it is a short one, or not known yet.

        Raises:
            Overloaded: there is no room; it tells when to come again.
        """
        if refusal := self.refusal(who, images):
            raise Overloaded(refusal.detail, retry_after_s=refusal.retry_after_s)

    def refusal(self, who: object, images: int | None = None) -> Refusal | None:
        """As `ask`, for those who refuse by the thousand: None where there is room."""
        is_long = images is not None
        waiting = self._waiting[is_long]
        if waiting < self._limit and not self._places:
            return None
        now_s = self._clock()
        self._forget(now_s)
        place = self._places.get(who)
        is_expected = place is not None and place.told_s - EARLY_S <= now_s
        # That it is a long one is seen later, when it is asked for again.
        is_seen = place is not None and (is_long or not place.is_long)
        if is_seen:
            self._take(who, is_expected)
        room = self._room(is_long=is_long)
        if is_expected:
            room = self._limit + (KEPT_S / self._image_s if self._image_s else 0.0)
        if waiting < room:
            return None
        if place is not None and not is_seen:
            self._take(who, is_expected)
        return Refusal(self._detail, self._book(who, now_s, images))

    def leave(self, who: object) -> None:
        """`who` will not come: others may have the place."""
        if who in self._places:
            self._take(who, is_expected=False)

    def _take(self, who: object, is_expected: bool) -> None:
        """The place of `who`: others may have it, unless `who` came when told, or a little before. That second would be
        given away twice.
        """
        place = self._places.pop(who)
        self._expected[place.is_long] -= 1
        if is_expected:
            return
        second, left_us = place.second, place.work_us
        while left_us > 0 and second in self._booked_us:
            part_us = min(left_us, self._booked_us[second])
            self._booked_us[second] -= part_us
            left_us -= part_us
            second += 1

    def count(self, images: int, *, is_long: bool) -> None:
        """So many more wait now, or fewer."""
        self._waiting[is_long] += images

    def asked_for(self, images: int) -> None:
        """The size of a short request."""
        self.request_images += _LATELY * (images - self.request_images)

    def computed(self, images: int, seconds: float) -> None:
        """A run of so many images, which are still counted, took so long."""
        now_s = self._clock()
        if images:
            # As long as others wait, all that is done between two runs is part of what an image takes.
            latest_s = max(seconds, now_s - (self._computed_s or now_s)) / images
            self._image_s += (_LATELY if self._image_s else 1.0) * (latest_s - self._image_s)
        self._computed_s = now_s if self.images > images else None

    def _book(self, who: object, now_s: float, images: int | None) -> int:
        """Seconds until the turn of `who`, a whole number as HTTP has it."""
        is_long = images is not None
        earliest = max(math.ceil(now_s + self.images * self._image_s), math.floor(now_s) + 1)
        latest = math.floor(now_s) + LONGEST_S
        second = min(earliest, latest)
        while second < latest and self._booked_us.get(second, 0) >= BOOKED_US:
            second += 1
        told_s = min(max(math.ceil(second - now_s), 1), LONGEST_S)
        if second < latest and len(self._places) < MOST_PLACES:
            work_us = round(1e6 * (self.request_images if images is None else images) * self._image_s)
            self._places[who] = Place(now_s + told_s, second, work_us, is_long)
            self._expected[is_long] += 1
            at = second
            while work_us > 0:
                part_us = min(work_us, BOOKED_US - self._booked_us[at])
                self._booked_us[at] += part_us
                work_us, at = work_us - part_us, at + 1
        return told_s

    def _forget(self, now_s: float) -> None:
        """Those who did not come, looked for once a second."""
        if now_s - self._forgot_s < 1:
            return
        self._forgot_s = now_s
        for who in [who for who, place in self._places.items() if place.told_s + LATE_S <= now_s]:
            self.leave(who)
        for second in [second for second in self._booked_us if second < now_s - LATE_S]:
            del self._booked_us[second]
