"""What became of a load in the course of time, from its answers one by one."""

import math
from collections.abc import Sequence

import httpx

from load_tests.generator import Answer, Load, Request, Run, percentile

STEP_S = 0.1


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def capacity_rps(url: str, request: Request, seconds: float) -> float:
    """Right answers a second of a closed loop."""
    return (await Run(Load(port_of(url), request, connections=8, seconds=seconds)).measure()).rps


def rate(answers: Sequence[Answer], from_s: float, until_s: float) -> float:
    """Right answers a second that came within a time."""
    count = sum(answer.fault is None and from_s <= answer.at_s < until_s for answer in answers)
    return count / (until_s - from_s)


def goodput(answers: Sequence[Answer], from_s: float, until_s: float, within_s: float) -> float:
    """Requests a second that arrived within a time and were rightly answered `within_s` of their arrival."""
    count = sum(
        answer.fault is None
        and from_s <= answer.started_s < until_s
        and answer.at_s - answer.started_s <= within_s
        for answer in answers
    )
    return count / (until_s - from_s)


def p99_ms(answers: Sequence[Answer], from_s: float, until_s: float) -> float:
    """Of the right answers to the requests that arrived within a time; nan of none."""
    found = percentile(
        sorted(
            1000 * (answer.at_s - answer.started_s)
            for answer in answers
            if answer.fault is None and from_s <= answer.started_s < until_s
        ),
        0.99,
    )
    return math.nan if found is None else found


def back_s(answers: Sequence[Answer], from_s: float, until_s: float, least: float, window_s: float) -> float:
    """Seconds from `from_s` to the end of the first window with `least` right answers a second; infinite of none."""
    end_s = from_s + window_s
    while end_s <= until_s:
        if rate(answers, end_s - window_s, end_s) >= least:
            return end_s - from_s
        end_s += STEP_S
    return math.inf


def metric(url: str, name: str) -> float:
    """A metric of the service, summed over its labels."""
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)
