"""Rejection sampling by the discriminator: the direction of the study, and that its rule is the service's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service import latents, rejection
from service.folder import ModelsFolder
from tests.service import finished
from tests.training.recipes import MINI
from training.evaluation.kept import is_kept
from training.studies.rejection import DIGITS, STUDY, TRIPLES, VAE, fractions
from training.studies.runner import run_study
from training.studies.served import served
from training.trained import MODELS


def test_a_score_makes_the_gan_of_triples_better_and_is_set_right_in_each_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MINI)
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "data"))
    records = {record.run.name: record.outcome.results for record in run_study(STUDY, tmp_path, quick=True)}
    triples, digits = records["triples-seed1"], records["digits-seed1"]
    assert triples["served"]["0.5"]["fd"] < triples["served"]["1"]["fd"] < 0.9 * triples["plain"]["fd"]
    assert 0.2 < triples["served"]["0.5"]["acceptance_rate"] < triples["served"]["1"]["acceptance_rate"] < 0.6
    assert digits["by_class"]["0.5"]["fd"] < 0.75 * digits["uncorrected"]["0.5"]["fd"]
    assert digits["served"]["0.5"]["fd"] < 0.9 * digits["uncorrected"]["0.5"]["fd"]
    for rule in ("uncorrected", "by_class", "served"):
        assert 0.9 < digits[rule]["mean_ratio"] < 1.15
        assert 0.4 < digits[rule]["0.5"]["acceptance_rate"] < 0.55
        assert 0.7 < digits[rule]["1"]["acceptance_rate"] < 0.9
    before, now = (digits["class_mean_ratio"][rule] for rule in ("uncorrected", "served"))
    assert max(before) > 1.7 * min(before)
    assert max(now) / min(now) < max(before) / min(before)
    text = (tmp_path / "rejection.md").read_text()
    for picture in ("distances.png", "classes.png", "triples.png", "digits.png"):
        assert (tmp_path / "rejection" / picture).exists()
        assert f"rejection/{picture}" in text
    assert "13.75" in text


@pytest.mark.parametrize("name", [DIGITS, TRIPLES])
def test_the_rule_is_the_services(name: str) -> None:
    """Score, calibration and decision: the study's and the service's, of the published model."""
    folder = MODELS / name
    model = ModelsFolder(folder.parents[1]).registry.get(folder.parent.name, int(folder.name))
    seeds = range(500, 700)
    kept = finished.keep(model, model, seeds, 40, 0.6)
    images = finished.sample(model, seeds)
    gan = served(name)
    log_odds = gan.calibration()(gan.logits(images.transpose(0, 3, 1, 2)))
    chosen = np.flatnonzero(is_kept(log_odds, latents.uniforms(seeds), 0.6))[:40]
    assert [seeds[i] for i in chosen] == kept.seeds


def test_fractions_of_labels() -> None:
    assert fractions(np.array([3, 3, 0, 9])).tolist() == [0.25, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.25]


def test_kept_in_proportion_to_the_ratio_up_to_one() -> None:
    uniform = (np.arange(1000) + 0.5) / 1000
    for ratio, keep, rate in ((0.5, 1.0, 0.5), (0.5, 0.4, 0.2), (3.0, 0.25, 0.75), (3.0, 0.5, 1.0)):
        kept = is_kept(np.full(1000, np.log(ratio)), uniform, keep)
        assert kept.mean() == pytest.approx(rate)
        assert np.array_equal(kept, rejection.is_kept(np.full(1000, ratio), uniform, keep))


def test_samples_are_those_of_the_seed() -> None:
    gan = served(DIGITS)
    first, again, other = (gan.sample(3, torch.Generator().manual_seed(seed), "normal") for seed in (1, 1, 2))
    assert first.shape == (3, 1, 28, 28)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    fitted, normal = (
        served(VAE).sample(3, torch.Generator().manual_seed(1), prior) for prior in ("fitted", "normal")
    )
    assert not np.array_equal(fitted, normal)
