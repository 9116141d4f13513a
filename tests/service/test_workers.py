"""Workers that call each other."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.folder import Changes
from service.workers import Workers

CHANGES = Changes(loaded=["m/2"], kept=["m/1"], refused={"m/3": "why"})


def test_every_call_has_a_number_of_its_own(tmp_path: Path) -> None:
    assert Workers(tmp_path).called() == 0
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: Workers(tmp_path).call(), range(50)))
    assert sorted(numbers) == list(range(1, 51))
    assert Workers(tmp_path).called() == 50


def test_the_living_are_heard_and_the_dead_forgotten(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    assert workers.answers() == []
    workers.answer(3, CHANGES)
    process = subprocess.Popen(["sleep", "60"])
    try:
        mine = tmp_path / f"latentry-models-{os.getpid()}"
        mine.with_name(f"latentry-models-{process.pid}").write_bytes(mine.read_bytes())
        assert {answer.pid for answer in workers.answers()} == {os.getpid(), process.pid}
    finally:
        process.kill()
        process.wait()
    (answer,) = workers.answers()
    assert (answer.pid, answer.call, answer.changes) == (os.getpid(), 3, CHANGES)
    workers.answer(4, Changes())
    assert [answer.call for answer in workers.answers()] == [4]
