"""What the chaos and the soak make of what they measured: figures by hand, and each way to break a promise."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from load_tests.chaos import page
from load_tests.chaos.answers import back_s, goodput, p99_ms, rate
from load_tests.chaos.below import Below
from load_tests.chaos.beyond import Beyond
from load_tests.chaos.kills import Kill, Kills, Stop
from load_tests.chaos.promises import Figures
from load_tests.chaos.reloads import Reloads
from load_tests.chaos.slow import Slow
from load_tests.chaos.storms import Wave
from load_tests.generator import Answer
from load_tests.overload import Overloaded
from load_tests.processes import Held
from load_tests.soak import page as soak_page
from load_tests.soak.traffic import Sample, Soak
from tests.load_tests.results import table

# One request every 0.1 s of 10 s, answered 0.05 s later; none is answered from 4 s on to 6 s.
ANSWERS = [
    Answer(started_s=i / 10, at_s=i / 10 + 0.05, fault="reset" if 40 <= i < 60 else None, port=1)
    for i in range(100)
]


def test_rates_are_of_right_answers_alone() -> None:
    assert rate(ANSWERS, 0.0, 4.0) == 10.0
    assert rate(ANSWERS, 3.0, 5.0) == 5.0
    assert goodput(ANSWERS, 0.0, 4.0, within_s=0.1) == 10.0
    assert goodput(ANSWERS, 0.0, 4.0, within_s=0.01) == 0.0
    assert p99_ms(ANSWERS, 0.0, 10.0) == pytest.approx(50.0)
    assert math.isnan(p99_ms(ANSWERS, 4.5, 5.5))


def test_the_way_back_is_timed_to_the_end_of_the_first_good_window() -> None:
    assert back_s(ANSWERS, 4.0, 10.0, least=9.0, window_s=1.0) == pytest.approx(3.0, abs=0.11)
    assert back_s(ANSWERS, 4.0, 6.5, least=9.0, window_s=1.0) == math.inf


KILLS = Kills(kills=(Kill(in_flight=8, failed=8, elsewhere={}, back_s=5.0),), after_rps=90.0, fresh_rps=100.0)
STOP = Stop(answered=10, lost={}, status=0, seconds=1.0)
RELOADS = Reloads(
    published=30,
    bad=10,
    used=20,
    bad_used=0,
    answers=100,
    failures=(),
    other_bytes=0,
    before_bytes=100,
    after_bytes=104,
)
WAVE = Wave(
    offered_rps=100.0,
    before_rps=100.0,
    during_rps=10.0,
    after_rps=95.0,
    back_s=2.0,
    others={"left": 7},
    computed_images=1000.0,
    wasted_images=49.0,
)
SLOW = Slow(
    heads=2,
    bodies=2,
    readers=2,
    heads_ended=2,
    bodies_answered=2,
    readers_ended=2,
    failed={},
    before_p99_ms=60.0,
    during_p99_ms=300.0,
    before=Held(100, 50, 9),
    during=Held(200, 90, 9),
    after=Held(104, 50, 9),
)


def arriving(offered_rps: float, goodput_rps: float, refused: int = 0) -> Overloaded:
    """All of whom were told when to come did, and 95 of 100 found room."""
    return Overloaded(
        offered_rps=offered_rps,
        goodput_rps=goodput_rps,
        sent=1000,
        accepted=1000 - refused,
        refused=refused,
        refused_without_time=0,
        other={},
        returned=100,
        returned_accepted=95,
        p50_ms=100.0,
        p99_ms=1000.0,
        health_asked=10,
        health_failed=0,
        health_p99_ms=199.0,
    )


# Below saturation 96 are kept up with at most; at 98 some are refused, so what comes of it counts for nothing.
BELOW = Below((99.0, 101.0), 2.0, 200, (arriving(90, 90), arriving(96, 96), arriving(100, 98, refused=5)))
LOAD = arriving(500, 90.0, refused=900)
BEYOND = Beyond((BELOW, BELOW), (LOAD,), cpu_ms_per_answer_beyond=11.0, cpu_us_per_refusal=30.0)


def slower(goodput_rps: float) -> Beyond:
    """Where a load is answered so; another, that is answered well, does not make up for it."""
    loops = replace(BELOW, loops_rps=(95.0,))
    return replace(BEYOND, below=(loops,) * 3, rounds=(replace(LOAD, goodput_rps=goodput_rps), LOAD))


def below(goodput_rps: float) -> Beyond:
    """Where one more rate was kept up with, after the load."""
    more = replace(BELOW, arrivals=(*BELOW.arrivals, arriving(goodput_rps, goodput_rps)))
    return replace(BEYOND, below=(BELOW, more))


def samples(*uss_bytes: int, descriptors: int = 50) -> tuple[Sample, ...]:
    """Memory in 20 samples, of which the first 5 are the warm-up and each further 3 have one of the values.

    One of the samples is of a moment in which a connection gives way to another.
    """
    values = [1] * 5 + [value for value in uss_bytes for _ in range(3)]
    counts = [50] * 5 + [49] + [50] * 11 + [descriptors] * 3
    return tuple(
        Sample(float(i), {7: Held(v, c, 9)}) for i, (v, c) in enumerate(zip(values, counts, strict=True))
    )


SOAK = Soak(
    seconds=20.0,
    asked={"sample": 10},
    refused=0,
    unexpected={},
    changes=1,
    samples=samples(1000, 5000, 1, 1, 1019),
    rests=samples(500, 5000, 1, 1, 509),
)


@pytest.mark.parametrize("good", [KILLS, STOP, RELOADS, WAVE, SLOW, BEYOND, below(100.0), slower(86.4), SOAK])
def test_what_is_just_good_enough_is(good: Figures) -> None:
    assert [promise for promise in good.promises() if not promise.kept] == []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (
            replace(KILLS, kills=(replace(KILLS.kills[0], elsewhere={"reset": 1}),)),
            "takes with it the requests",
        ),
        (replace(KILLS, kills=(replace(KILLS.kills[0], failed=9),)), "takes with it the requests"),
        (replace(KILLS, kills=(replace(KILLS.kills[0], back_s=5.1),)), "are back within"),
        (replace(KILLS, after_rps=89.0), "afterwards it has at least"),
        (replace(STOP, lost={"reset": 1}), "no accepted request is lost"),
        (replace(STOP, status=1), "no accepted request is lost"),
        (replace(STOP, answered=0), "no accepted request is lost"),
        (replace(RELOADS, failures=("ReadError",)), "without a failed request"),
        (replace(RELOADS, bad_used=1), "without a failed request"),
        (replace(RELOADS, other_bytes=1), "byte for byte"),
        (replace(RELOADS, after_bytes=106), "memory ends within"),
        (replace(WAVE, others={"lost": 1}), "whoever stays is answered"),
        (replace(WAVE, back_s=2.5), "the goodput is what it was"),
        (replace(WAVE, after_rps=94.0), "the goodput is what it was"),
        (replace(WAVE, wasted_images=50.0), "done for nobody"),
        (replace(SLOW, during_p99_ms=301.0), "in nobody's way"),
        (replace(SLOW, failed={"500": 1}), "in nobody's way"),
        (replace(SLOW, readers_ended=1), "cut off"),
        (replace(SLOW, after=Held(104, 51, 9)), "descriptors come back"),
        (replace(SLOW, after=Held(106, 50, 9)), "descriptors come back"),
        (below(100.1), "of the best goodput below saturation"),
        (slower(86.3), "of the best goodput below saturation"),
        (
            replace(BEYOND, below=(replace(BELOW, arrivals=BELOW.arrivals[2:]),) * 2),
            "of the best goodput below saturation",
        ),
        (replace(BEYOND, below=(replace(BELOW, loops_rps=(101.0,)),) * 2), "of what closed loops have"),
        (replace(BEYOND, rounds=(replace(LOAD, p99_ms=4000.0),)), "waits no longer"),
        (replace(BEYOND, rounds=(replace(LOAD, p99_ms=None),)), "waits no longer"),
        (replace(BEYOND, rounds=(replace(LOAD, refused_without_time=1),)), "are told when to come"),
        (replace(BEYOND, rounds=(replace(LOAD, other={"reset": 1}),)), "are told when to come"),
        (replace(BEYOND, rounds=(replace(LOAD, returned_accepted=94),)), "are told when to come"),
        (replace(BEYOND, rounds=(replace(LOAD, returned=0, returned_accepted=0),)), "are told when to come"),
        (replace(BEYOND, rounds=(replace(LOAD, health_failed=1),)), "answer 200 all the while"),
        (replace(BEYOND, rounds=(replace(LOAD, health_p99_ms=200.0),)), "answer 200 all the while"),
        (replace(SOAK, samples=samples(1000, 1, 1, 1, 1020)), "memory grows by less than 2%: amid"),
        (replace(SOAK, rests=samples(500, 1, 1, 1, 510)), "memory grows by less than 2%: between"),
        (replace(SOAK, samples=samples(1000, 1, 1, 1, 1000, descriptors=51)), "descriptors and threads"),
        (replace(SOAK, unexpected={"sample: 500": 1}), "the answer that it should get"),
    ],
)
def test_each_way_to_break_a_promise_is_named(bad: Figures, says: str) -> None:
    [broken] = [promise for promise in bad.promises() if not promise.kept]
    assert says in broken.text


def test_the_page_tells_what_was_not_kept(tmp_path: Path) -> None:
    late = replace(KILLS, after_rps=80.0)
    page.write({"kills": late.promises(), "stop": STOP.promises()}, table()["machine"], tmp_path / "chaos.md")
    text = (tmp_path / "chaos.md").read_text()
    assert "2026-01-02, commit `abc1234`; Test CPU, 2 cores" in text
    assert (
        "| afterwards it has at least 90% of the throughput of one just started | 80 requests/s of 100 | **no** |"
        in text
    )
    assert text.count("| yes |") == 3


def test_the_page_of_the_soak_has_a_chart_that_is_the_same_for_the_same_samples(tmp_path: Path) -> None:
    soak_page.write(SOAK, table()["machine"], tmp_path / "soak.md")
    chart = (tmp_path / "soak/soak.svg").read_bytes()
    assert b"<svg" in chart
    assert "](soak/soak.svg)" in (tmp_path / "soak.md").read_text()
    soak_page.write(SOAK, table()["machine"], tmp_path / "soak.md")
    assert (tmp_path / "soak/soak.svg").read_bytes() == chart
