"""The speed run: the clock, the goal, and the page that is made of the record."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from tests.training.recipes import MINI, mini, small, toml
from training import speedrun_page
from training.__main__ import main
from training.config import Config
from training.data import stacked
from training.datasets import load
from training.evaluation import modes
from training.families.gan import GANConfig
from training.loop import Outcome, Until, train
from training.run_dir import Provenance, RunDir
from training.speedrun import Attempt, Look, Speedrun, matrix_rate, step_flop
from training.trained import load_trained

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "TRIPLES", {"train": 400, "test": 50})
    monkeypatch.setattr(modes, "SAMPLES", 100)


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def recipe(tmp_path: Path) -> Path:
    """A little one, as a file."""
    path = tmp_path / "little.toml"
    path.write_text(toml(replace(small("gan"), dataset="stacked-mnist", images=384)))
    return path


def test_it_trains_until_the_goal_and_says_so(tmp_path: Path) -> None:
    options = [
        "--recipe",
        str(recipe(tmp_path)),
        "--data",
        str(MINI),
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main(["speedrun", *options, "--seeds", "2", "--every", "64", "--modes", "1"]) == 0
    found = Speedrun.from_json((tmp_path / "speedrun" / "record.json").read_text())
    assert [attempt.seed for attempt in found.attempts] == [0, 1]
    # Any sample is of some mode: the first look is enough.
    assert [[look.images_seen for look in attempt.looks] for attempt in found.attempts] == [[64], [64]]
    assert 50 < found.real_modes <= 100
    page = (tmp_path / "speedrun.md").read_text()
    assert "2 of 2 seeds reached it" in page
    assert "| 1 |" in page
    assert (tmp_path / "speedrun" / "reverse_kl.png").stat().st_size > 1000


def test_seeds_go_on_to_the_end_beside_each_other_and_their_runs_are_kept(tmp_path: Path) -> None:
    options = ["--data", str(MINI), "--device", "cpu", "--threads", "1", "--out", str(tmp_path)]
    options += ["--recipe", str(recipe(tmp_path)), "--modes", "1", "--every", "192", "--samples", "50"]
    options += ["--seeds", "2", "--processes", "2", "--whole", "--runs", str(tmp_path / "runs")]
    assert main(["speedrun", *options]) == 0
    found = Speedrun.from_json((tmp_path / "speedrun-whole" / "record.json").read_text())
    assert [attempt.seed for attempt in found.attempts] == [0, 1]
    assert [[look.images_seen for look in attempt.looks] for attempt in found.attempts] == [[192, 384]] * 2
    assert found.attempts[0].looks != found.attempts[1].looks
    triples = load("stacked-mnist", "test", MINI)
    for seed in range(2):
        run = RunDir(tmp_path / "runs" / f"seed-{seed}")
        assert load_trained(run.path, triples).state.images_seen == 384
        assert Provenance.read(run.provenance).data.name == "stacked-mnist"
        assert json.loads(run.config.read_text())["seed"] == seed


def test_a_whole_run_ends_with_a_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--recipe", str(recipe(tmp_path)), "--out", str(tmp_path), "--every", "100", "--whole"]
    assert main(["speedrun", *options]) == 2
    assert "384 images, is no multiple of that" in capsys.readouterr().err


def test_without_the_goal_the_whole_run_is_on_record(tmp_path: Path) -> None:
    options = [
        "--recipe",
        str(recipe(tmp_path)),
        "--data",
        str(MINI),
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main(["speedrun", *options, "--seeds", "1", "--every", "128"]) == 0
    (attempt,) = Speedrun.from_json((tmp_path / "speedrun" / "record.json").read_text()).attempts
    assert [look.images_seen for look in attempt.looks] == [128, 256, 384]
    assert attempt.first_with(1000) is None
    seconds = [look.seconds for look in attempt.looks]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert "not reached" in (tmp_path / "speedrun.md").read_text()


def test_looking_stops_the_clock(tmp_path: Path) -> None:
    config = replace(small("ae"), checkpoint_every_images=64)
    clock: list[float] = []

    def until(averages: object, seen: int, seconds: float) -> bool:
        clock.append(seconds)
        time.sleep(0.5)
        return seen >= 192

    run = RunDir(tmp_path / "run")
    run.create(config)
    outcome = train(config, mini(), run, fabric(), quiet=True, until=until)
    assert (outcome.images_seen, outcome.stopped_by) == (192, "until")
    assert len(clock) == 3
    assert outcome.seconds < clock[0] + 1, "three looks of half a second each are not in it"


def test_only_gans_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speedrun", "--recipe", "mnist-ae", "--out", str(tmp_path)]) == 2
    assert "the speed run is of a gan" in capsys.readouterr().err


def test_a_conditional_one_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speedrun", "--recipe", "fashion-gan", "--out", str(tmp_path)]) == 2
    assert "draws all modes by itself" in capsys.readouterr().err


def test_what_is_interrupted_is_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.speedrun.train", lambda *_, **__: Outcome(64, 1.0, "SIGINT"))
    options = [
        "--recipe",
        str(recipe(tmp_path)),
        "--data",
        str(MINI),
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main(["speedrun", *options]) == 2
    assert not list(tmp_path.rglob("record.json"))


def test_what_was_interrupted_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--recipe", str(recipe(tmp_path)), "--data", str(MINI), "--device", "cpu"]
    options += ["--seeds", "2", "--every", "128", "--whole"]
    straight, runs = tmp_path / "straight", tmp_path / "runs"
    assert main(["speedrun", *options, "--out", str(straight)]) == 0

    def interrupted(config: Config, *args: Any, until: Until, **how: Any) -> Outcome:
        """The second, by a signal that comes amid its second look."""

        def look(averages: Mapping[str, nn.Module], seen: int, seconds: float) -> bool:
            if config.seed == 1 and seen == 256:
                os.kill(os.getpid(), signal.SIGTERM)
            return until(averages, seen, seconds)

        return train(config, *args, until=look, **how)

    monkeypatch.setattr("training.speedrun.train", interrupted)
    options += ["--out", str(tmp_path), "--runs", str(runs)]
    assert main(["speedrun", *options]) == 2
    record = tmp_path / "speedrun-whole" / "record.json"
    assert [attempt.seed for attempt in Speedrun.from_json(record.read_text()).attempts] == [0]
    monkeypatch.setattr("training.speedrun.train", train)
    looks = runs / "seed-1" / "looks.json"
    looks.write_text(
        json.dumps(json.loads(looks.read_text())[:-1])
    )  # as if it had been killed amid the last one
    assert main(["speedrun", *options, "--resume"]) == 0
    found, wanted = (
        Speedrun.from_json(path.read_text()) for path in (record, straight / "speedrun-whole" / "record.json")
    )
    assert [_without_time(attempt) for attempt in found.attempts] == [
        _without_time(a) for a in wanted.attempts
    ]
    first = found.attempts[1].looks
    assert 0 < first[0].seconds < first[1].seconds < first[2].seconds
    sessions = [len(Provenance.read(RunDir(runs / f"seed-{seed}").provenance).sessions) for seed in (0, 1)]
    assert sessions == [1, 2], "what was over is left alone"


def _without_time(attempt: Attempt) -> Attempt:
    return replace(attempt, looks=tuple(replace(look, seconds=0.0) for look in attempt.looks))


def test_nothing_is_gone_on_with_that_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speedrun", "--recipe", str(recipe(tmp_path)), "--out", str(tmp_path), "--resume"]) == 2
    assert "--resume: needs --runs" in capsys.readouterr().err


def test_operations_are_counted() -> None:
    """Half the images, half of them; penalties, whose gradients have gradients, more of them."""
    config = small("gan", {"r1_gamma": 0.0, "coupling": "none"}, batch_size=32)
    with_penalty = small("gan", {"r1_gamma": 1.0, "coupling": "none", "penalty_every": 1}, batch_size=32)
    plain, more = (step_flop(c, mini(), fabric()) for c in (config, with_penalty))
    assert step_flop(replace(config, batch_size=16), mini(), fabric()) == pytest.approx(plain / 2, rel=0.01)
    assert more > 1.2 * plain
    assert plain < step_flop(_every(with_penalty, 4), mini(), fabric()) < more


def _every(config: Config, steps: int) -> Config:
    model = config.model
    assert isinstance(model, GANConfig)
    return replace(config, model=replace(model, penalty_every=steps))


def test_the_matrix_rate_is_of_this_machine() -> None:
    assert 1e9 < matrix_rate(CPU, "32-true") < 1e14


def test_the_page_reports_what_the_record_holds(tmp_path: Path) -> None:
    look = Look(images_seen=1000, seconds=10.0, modes=1000, reverse_kl_nats=0.05)
    early = replace(look, images_seen=500, seconds=5.0, modes=900)
    attempts = tuple(Attempt(s, (early, replace(look, seconds=10.0 + 2 * s))) for s in range(2))
    found = Speedrun(
        recipe="r",
        config_sha256="0" * 64,
        device="a device",
        threads=2,
        torch="2",
        commit="c",
        goal=1000,
        every_images=500,
        samples=26_000,
        minutes=5.0,
        whole=True,
        processes=3,
        step_flop=10**9,
        batch_images=10,
        matrix_flop_per_second=1e12,
        real_modes=1000,
        real_reverse_kl_nats=0.02,
        attempts=attempts,
    )
    speedrun_page.write(found, tmp_path)
    page = (tmp_path / "speedrun-whole.md").read_text()
    assert 'make speedrun ARGS="--seeds 2 --every 500 --minutes 5 --processes 3 --threads 2 --whole"' in page
    assert "(speedrun-whole/reverse_kl.png)" in page
    assert "**11.0 ± 1.4 seconds**" in page
    assert "| 0 | 10.0 | 1,000 | 1,000 | 0.050 | 1,000 modes, 0.050 nats, 1,000 images, 10 s |" in page
    assert "**0.0500 ± 0.0000 nats, 0.050 at most**" in page
    assert "3 seeds were trained beside each other." in page
    # (100 + 83.3) / 2 images/s, in steps of 10 images and 1 GFLOP
    assert "0.00917 TFLOP/s in all" in page
