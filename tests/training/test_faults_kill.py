"""A run that is killed, whenever that is, ends as one that was left alone: every tensor and every line of its log."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.training.processes import arguments, assert_equal, finish, log, run, start
from tests.training.recipes import small
from training.checkpoint import read_tensors
from training.run_dir import RunDir

CONFIG = small("gan", images=64, checkpoint_every_images=32)
"""Two steps, a checkpoint after each."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("alone")
    status, said = run(arguments(CONFIG, folder / "run"), folder / "said")
    assert status == 0, said
    return RunDir(folder / "run")


def test_a_run_killed_at_any_instant_of_writing_ends_as_if_it_had_not_been(
    alone: RunDir, tmp_path: Path
) -> None:
    """An instant is after any step of writing a file: it is made, it is filled, it is put in place."""
    begun = resumed = instant = 0
    while True:
        instant += 1
        folder, said = RunDir(tmp_path / f"{instant}"), tmp_path / "said"
        status, text = run(arguments(CONFIG, folder.path), said, killed_at=instant)
        if status == 0:
            break
        assert status == -signal.SIGKILL, text
        begun += folder.config.exists()
        resumed += folder.checkpoint.exists()
        finish(CONFIG, folder, said)
        assert_equal(alone, folder)
    assert instant > begun > resumed > 5


@pytest.mark.usefixtures("alone")  # which starts what processes are forked from, and is not to be timed
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """At random moments of its time, most of which goes into checkpoints here."""
    config = small("vae", images=32 * 128, checkpoint_every_images=32)
    said, killed, kills = tmp_path / "said", RunDir(tmp_path / "killed"), 0
    started = time.monotonic()
    finish(config, RunDir(tmp_path / "alone"), said)
    seconds = time.monotonic() - started
    moments = random.Random(7)
    while True:
        more = ["--resume"] if killed.config.exists() else []
        process = start(arguments(config, killed.path, *more), said)
        process.join(moments.uniform(0, seconds))
        if process.exitcode == 0:
            break
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, said.read_text()
        kills += 1
    assert kills > 1
    assert_equal(RunDir(tmp_path / "alone"), killed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    config = small("ae", images=1_000_000, checkpoint_every_images=64)
    folder, said = RunDir(tmp_path / "run"), tmp_path / "said"
    process = start(arguments(config, folder.path), said)
    deadline = time.monotonic() + 60
    while not folder.checkpoint.exists():
        assert process.is_alive(), said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 0
    assert f"stopped by {number.name}; the run is in {folder.path}" in said.read_text()
    assert said.read_text().endswith("to go on, give the same command with --resume\n")
    seen = json.loads(read_tensors(folder.checkpoint)[1]["state"])["images_seen"]
    assert log(folder)[-1]["images_seen"] == seen


def test_half_a_line_of_the_log_is_written_again(alone: RunDir, tmp_path: Path) -> None:
    """What is left when the machine dies in the middle of a line: the only file that grows in place."""
    folder, said = RunDir(tmp_path / "run"), tmp_path / "said"
    stopped = arguments(CONFIG, folder.path, "--minutes", "0")
    assert run(stopped, said)[0] == 0
    assert said.read_text().endswith("to go on, give the same command with --resume and more --minutes\n")
    with folder.log.open("a") as stream:
        stream.write('{"images_seen": 64, "seco')
    finish(CONFIG, folder, said)
    assert_equal(alone, folder)
