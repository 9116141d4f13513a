"""Who may wait, who is turned away, and when those may come again. Times are a clock's that the tests set."""

import pytest

from service.admission import BOOKED_US, KEPT_S, LATE_S, LONGEST_S, OTHERS, Admission
from service.errors import Overloaded

LIMIT, IMAGE_S, SIZE = 100, 0.05, 10


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    """Of requests of 10 images; an image takes 50 ms."""
    made = Admission(LIMIT, clock)
    for _ in range(200):
        made.asked_for(SIZE)
        made.computed(SIZE, SIZE * IMAGE_S)
    return made


def refused(admission: Admission, who: object, images: int | None = None) -> int:
    """Seconds after which `who` is told to come again."""
    with pytest.raises(Overloaded) as caught:
        admission.ask(who, images)
    return int(caught.value.headers["Retry-After"])


def test_a_room_takes_one_more_until_it_is_full(admission: Admission) -> None:
    admission.count(LIMIT - 1, is_long=False)
    admission.ask("a")
    admission.count(1, is_long=False)
    with pytest.raises(Overloaded, match="as many images wait here as may: 100, less the room of"):
        admission.ask("a")
    admission.leave("a")
    admission.count(-1, is_long=False)
    admission.ask("b")


def test_long_requests_do_not_keep_short_ones_out_nor_the_other_way(admission: Admission) -> None:
    admission.count(10 * LIMIT, is_long=True)
    admission.ask("short")
    refused(admission, "long", 1000)
    admission.count(-10 * LIMIT, is_long=True)
    admission.count(LIMIT, is_long=False)
    admission.ask("long", 1000)
    assert admission.images == LIMIT


def test_the_time_told_is_what_the_work_before_takes(admission: Admission) -> None:
    admission.count(LIMIT, is_long=False)  # 5 s of work
    # 0.5 s a request behind it, and each second takes 0.7 of work.
    assert [refused(admission, who) for who in range(6)] == [5, 5, 6, 7, 7, 8]


def test_a_long_request_takes_its_seconds(admission: Admission) -> None:
    admission.count(LIMIT, is_long=True)
    assert refused(admission, "a", 70) == 5  # 3.5 s of work, in five seconds
    assert refused(admission, "b", 70) == 10


def test_all_the_seconds_until_then_are_given_away_once(admission: Admission, clock: Clock) -> None:
    admission.count(LIMIT, is_long=False)
    told = [refused(admission, who) for who in range(400)]
    assert max(told) == pytest.approx(5 + 400 * SIZE * IMAGE_S / (BOOKED_US / 1e6), abs=2)
    for who in range(0, 400, 2):  # half of them leave
        admission.leave(who)
    again = [refused(admission, 1000 + who) for who in range(200)]
    assert max(again) <= max(told)
    clock.now_s += LONGEST_S
    assert refused(admission, "after all of them") <= 6


def test_who_asks_over_and_over_has_one_place(admission: Admission) -> None:
    admission.count(LIMIT, is_long=False)
    assert {refused(admission, "hasty") for _ in range(1000)} == {5}


def test_work_between_the_runs_counts(clock: Clock) -> None:
    made = Admission(LIMIT, clock)
    made.count(LIMIT, is_long=False)
    for _ in range(200):
        made.asked_for(SIZE)
        clock.now_s += 2 * SIZE * IMAGE_S  # half of it for what is not a run
        made.computed(SIZE, SIZE * IMAGE_S)
    assert refused(made, "a") == 10
    made.count(SIZE - LIMIT, is_long=False)  # no others wait: what comes next comes after a rest
    made.computed(SIZE, SIZE * IMAGE_S)
    clock.now_s += 1000
    made.computed(SIZE, SIZE * IMAGE_S)
    made.count(LIMIT, is_long=False)
    assert refused(made, "a") <= 11


def test_there_is_always_a_second_to_wait_and_an_end(clock: Clock) -> None:
    fast = Admission(1, clock)
    fast.computed(1000, 0.001)
    fast.count(1, is_long=False)
    assert refused(fast, "a") == 1
    slow = Admission(1, clock)
    slow.computed(1, 1000)
    slow.count(1, is_long=False)
    assert refused(slow, "a") == LONGEST_S
    clock.now_s += LONGEST_S
    refused(slow, "a")  # it had no place


def test_who_comes_when_told_finds_room_that_others_do_not(admission: Admission, clock: Clock) -> None:
    admission.count(LIMIT, is_long=False)
    seconds = refused(admission, "polite")
    clock.now_s += seconds
    refused(admission, "new")
    admission.ask("polite")
    admission.count(int(KEPT_S / IMAGE_S), is_long=False)  # also that room has an end
    clock.now_s += refused(admission, "polite")
    refused(admission, "polite")


def test_others_have_a_part_of_the_room_while_somebody_is_to_come(admission: Admission, clock: Clock) -> None:
    admission.count(LIMIT, is_long=False)
    seconds = refused(admission, "polite")
    admission.count(-1, is_long=False)
    assert admission.is_full
    refused(admission, "new")
    admission.count(int(OTHERS * LIMIT) - LIMIT, is_long=False)
    admission.ask("new")
    admission.count(1, is_long=False)
    clock.now_s += seconds
    admission.ask("polite")
    admission.leave("new")
    admission.ask("other")  # nobody is to come any more


def test_those_who_are_to_come_with_long_requests_have_no_part_of_the_short_ones_room(
    admission: Admission,
) -> None:
    admission.count(LIMIT, is_long=True)
    refused(admission, "long", 1000)
    admission.count(LIMIT - 1, is_long=False)
    admission.ask("short")
    admission.count(-1, is_long=True)
    refused(admission, "other", 1000)


def test_a_long_request_that_comes_when_told_finds_room_though_it_is_asked_for_twice(
    admission: Admission, clock: Clock
) -> None:
    admission.count(LIMIT, is_long=True)
    seconds = refused(admission, "polite", 20)
    refused(admission, "other", 20)
    clock.now_s += seconds
    admission.ask("polite")  # it is not known yet what is wanted
    admission.ask("polite", 20)
    refused(admission, "polite", 20)  # a place is for one request


def test_who_comes_too_soon_is_told_again(admission: Admission, clock: Clock) -> None:
    admission.count(LIMIT, is_long=False)
    seconds = refused(admission, "hasty")
    clock.now_s += seconds - 0.5
    refused(admission, "hasty")


def test_who_keeps_asking_within_the_second_told_does_not_pass_for_one_who_comes_when_told(
    clock: Clock,
) -> None:
    made = Admission(10, clock)
    made.computed(10, 0.05)
    made.count(10, is_long=False)
    clock.now_s += 0.7  # a whole second is told, though the next one of the clock begins before
    assert [refused(made, who) for who in ("hasty", "polite")] == [1, 1]
    clock.now_s += 0.8
    refused(made, "hasty")
    clock.now_s += 0.2
    made.ask("polite")


def test_a_place_is_not_kept_for_ever(admission: Admission, clock: Clock) -> None:
    admission.count(LIMIT, is_long=False)
    clock.now_s += refused(admission, "late") + LATE_S
    refused(admission, "late")


def test_a_second_is_not_given_away_twice(clock: Clock) -> None:
    made = Admission(1, clock)
    made.computed(1, 0.05)
    made.count(1, is_long=False)
    assert [refused(made, who) for who in range(15)] == [1] * 14 + [2]
    clock.now_s += 0.92
    made.ask(0)  # a little early
    assert refused(made, "new") == 2
    made.leave(1)
    assert refused(made, "newer") == 1
