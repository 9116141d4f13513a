"""What others would train: that it learns, that all have the same time, and what the table says of it."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.recipes import MINI, mini, small, toml
from training.__main__ import main
from training.config import load_json
from training.errors import ConfigError, TrainingError
from training.evaluation import samples
from training.loop import Outcome
from training.peers import compare, dcgan, mlp_vae, ours, page, pythae_vae
from training.peers.made import Made, Task
from training.run_dir import RunDir
from training.trained import load_trained

CPU = torch.device("cpu")


def task(folder: Path, seconds: float) -> Task:
    return Task(mini(), seconds, seed=0, device=CPU, scratch=folder)


@pytest.mark.parametrize("train", [dcgan.train, mlp_vae.train], ids=["dcgan", "mlp_vae"])
def test_a_peer_has_its_time_and_draws_images(train: Callable[[Task], Made], tmp_path: Path) -> None:
    started = time.monotonic()
    made = train(task(tmp_path, 1.0))
    assert 1.0 <= made.seconds <= time.monotonic() - started < 30
    drawn = made.draw(7)
    assert (drawn.shape, drawn.dtype) == ((7, 1, 28, 28), torch.uint8)
    assert torch.equal(drawn, made.draw(7))
    assert made.images_seen > 0
    # A DCGAN's first layer alone has 100 x 128 x 49 weights; 784 x 200 are those of the VAE's.
    assert made.parameters > 156_800


def test_the_textbook_vae_learns_a_density(tmp_path: Path) -> None:
    def bound_nats(seconds: float) -> float:
        density = mlp_vae.train(task(tmp_path, seconds)).density
        assert density is not None
        return compare.bound_nats(density, mini("test"), CPU, draws=20, images=20)

    # Fair coins for all pixels are at 784 log 2 = 543 nats.
    assert bound_nats(0.0) == pytest.approx(-543, abs=15)
    assert bound_nats(4.0) > -300


def test_ours_end_with_the_time_and_a_rate_that_came_down(tmp_path: Path) -> None:
    recipe = tmp_path / "little.toml"
    recipe.write_text(toml(small("vae", {"pixels": "binarised"})))
    made = ours.train(str(recipe))(task(tmp_path, 5.0))
    assert made.density is not None
    assert made.draw(3).shape == (3, 1, 28, 28)
    assert made.seconds < 8.0
    budget = load_json(RunDir(tmp_path / "run").config).images
    # As many as fit by the speed of a trial, not the 256 of the recipe; and about so many were seen.
    assert budget > 512
    assert made.images_seen > budget / 2


def test_a_shorter_run_is_warmed_up_in_the_same_part_of_it() -> None:
    config = small("vae", {"kl_warmup_images": 100}, images=2000, ema_half_life_images=64)
    short = ours.shortened(config, 500)
    assert short == small("vae", {"kl_warmup_images": 25}, images=500, ema_half_life_images=16)
    assert ours.shortened(config, 4000) == replace(config, images=4000)
    gan = small("gan", images=2000, ema_half_life_images=64)
    assert ours.shortened(gan, 500) == small("gan", images=500, ema_half_life_images=16)


def test_ours_are_drawn_as_they_are_served(tmp_path: Path) -> None:
    recipe = tmp_path / "little.toml"
    recipe.write_text(toml(small("vae")))
    made = ours.train(str(recipe))(task(tmp_path, 5.0))
    trained = load_trained(tmp_path / "run", mini(), CPU)
    assert trained.prior is not None
    served = trained.served(trained.operations(mini(), CPU))
    assert torch.equal(made.draw(3), samples.sample(served, 4, 3, samples.SEED, CPU))
    assert made.seconds < 8.0


def test_pythae_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This environment has no pythae.
    monkeypatch.setattr(pythae_vae, "PYTHON", Path(sys.executable))
    with pytest.raises(TrainingError, match="No module named 'pythae'"):
        pythae_vae.train(task(tmp_path, 1.0))


def test_ours_that_a_signal_ends_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "train_run", lambda *_args, **_options: Outcome(64, 1.0, "SIGTERM"))
    recipe = tmp_path / "little.toml"
    recipe.write_text(toml(small("vae")))
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        ours.train(str(recipe))(task(tmp_path, 1.0))


def test_pythae_without_its_environment_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pythae_vae, "PYTHON", pythae_vae.ROOT / ".venv-peers" / "none" / "bin" / "python")
    with pytest.raises(ConfigError, match=r"is missing: `make peers` installs pythae"):
        pythae_vae.train(task(tmp_path, 1.0))


def test_rows_are_kept_and_the_page_names_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SAMPLES", 300)
    trained = []

    def train(which: str) -> Callable[[Task], Made]:
        def made(given: Task) -> Made:
            trained.append((which, given.seconds))
            real = torch.from_numpy(given.data.images)
            return Made(lambda n: real[:n] if which == "ours" else 255 - real[:n], 5, 64, 29.6)

        return made

    rows = [compare.Entry("mnist", "GAN", name, name == "ours", train(name)) for name in ("theirs", "ours")]
    monkeypatch.setattr(compare, "ENTRIES", rows)
    monkeypatch.setattr(compare, "load", lambda _name, split: mini(split))
    options = ["--out", str(tmp_path), "--device", "cpu"]
    assert main(["peers", *options, "--minutes", "0.5"]) == 0
    assert trained == [("theirs", 30.0), ("ours", 30.0)]
    own, theirs = (
        line
        for line in (tmp_path / "peers.md").read_text().splitlines()
        if "ours" in line or "theirs" in line
    )
    assert own.startswith("| **ours** | 5 | 30 | 64 |")  # the better first
    assert theirs.startswith("| theirs |")
    assert main(["peers", *options, "--minutes", "0.5"]) == 0
    assert len(trained) == 2  # nothing is trained again
    assert main(["peers", *options, "--minutes", "0.5", "--only", "other"]) == 2
    found = compare.read(tmp_path / "peers" / "record.json")
    assert [row.name for row in found] == ["theirs", "ours"]
    assert "1 at a time" in (tmp_path / "peers.md").read_text()
    page.write([replace(found[0], modes=9, reverse_kl_nats=0.5, iw_nats=-80.0)], tmp_path / "one.md")
    assert "| 9 | 0.500 | 80.0 |" in (tmp_path / "one.md").read_text()


def test_rows_are_trained_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MINI, target_is_directory=True)
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "data"))
    options = ["--out", str(tmp_path), "--device", "cpu", "--threads", "1", "--processes", "2"]
    rows = ["--only", "textbook VAE", "mnist-vae"]
    monkeypatch.setattr(compare, "ENTRIES", [e for e in compare.ENTRIES if e.dataset == "mnist"])
    assert main(["peers", *options, *rows, "--minutes", "0.05"]) == 0
    found = compare.read(tmp_path / "peers" / "record.json")
    assert [row.name for row in found] == ["mnist-vae", "textbook VAE"]
    for row in found:
        assert (row.processes, row.threads) == (2, 1)
        assert row.seconds == pytest.approx(3.0, abs=2.0)
        assert row.fd10k > 0
    text = (tmp_path / "peers.md").read_text()
    assert "2 at a time, 1 thread(s) each" in text
    assert 'make peers ARGS="--minutes 0.05 --processes 2 --threads 1"' in text
