"""Rate against distortion: the direction of the study, and its numbers against cases worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.recipes import MINI
from training.studies import kl_figures
from training.studies.codes import Codes
from training.studies.kl import STUDY, aggregate, constant_distortion
from training.studies.runner import run_study
from training.studies.study import Environment, Outcome, Record, Run


def test_a_higher_price_buys_less_rate_and_more_distortion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MINI)
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "data"))
    records = run_study(STUDY, tmp_path, quick=True)
    cheap, dear, prohibitive = (record.outcome.results for record in records)
    assert cheap["rate_nats"] > 2 * dear["rate_nats"] > 2 * prohibitive["rate_nats"]
    assert cheap["distortion_nats"] + 5 < dear["distortion_nats"]
    assert cheap["active_units"] > dear["active_units"] >= prohibitive["active_units"] == 0
    assert prohibitive["rate_nats"] < 0.05
    assert all(r["distortion_nats"] > r["least_distortion_nats"] for r in (cheap, dear, prohibitive))
    text = (tmp_path / "kl.md").read_text()
    for picture in ("rate_distortion", "dimensions", "surgery", "posteriors", "pictures"):
        assert (tmp_path / "kl" / f"{picture}.png").exists()
        assert f"kl/{picture}.png" in text
    assert "Posterior collapse" in text


def test_distortion_of_constant_answers_by_hand() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    # A half for every pixel: log 2 each. The images themselves, of black and white: 0, but for the clipping.
    assert constant_distortion(images, torch.full((1, 1, 1), 0.5)) == pytest.approx(math.log(2))
    assert constant_distortion(images, None) == pytest.approx(0, abs=1e-5)


def test_codes_that_are_the_prior_s_carry_nothing_and_miss_nothing() -> None:
    n = 600
    same = Codes(torch.zeros(n, 2), torch.zeros(n, 2))
    found = aggregate(same, same, 0)
    assert found["information_at_least_nats"] == pytest.approx(0, abs=1e-6)
    assert found["marginal_kl_at_most_nats"] == pytest.approx(0, abs=1e-6)
    assert found["marginal_kl_at_least_nats"] < 0.1
    # All codes at (3, 0), of standard deviation 1: z says nothing of the image, and KL(q(z) || p(z)) = 9 / 2.
    away = Codes(torch.tensor([[3.0, 0.0]]).repeat(n, 1), torch.zeros(n, 2))
    found = aggregate(away, away, 0)
    assert found["information_at_least_nats"] == pytest.approx(0, abs=1e-6)
    assert found["marginal_kl_at_most_nats"] == pytest.approx(4.5, abs=1e-6)
    assert 4.0 < found["marginal_kl_at_least_nats"] < 4.8


def test_codes_without_noise_tell_images_apart() -> None:
    n = 200
    points = Codes(
        100 * torch.randn(n, 2, generator=torch.Generator().manual_seed(0)), torch.full((n, 2), -80.0)
    )
    found = aggregate(points, points, 0)
    assert found["information_at_least_nats"] == pytest.approx(math.log(n), abs=1e-3)
    # Of each image (mean^2 + logvar's 80 - 1) / 2 nats a dimension.
    rate = float(0.5 * (points.mean.double().square() + 79).sum(1).mean())
    assert found["marginal_kl_at_most_nats"] == pytest.approx(rate - math.log(n), rel=1e-6)


def test_an_autoencoder_has_no_aggregate_posterior_of_gaussians() -> None:
    codes = Codes(torch.zeros(4, 2), None)
    with pytest.raises(ValueError, match="logvar"):
        aggregate(codes, codes, 0)


def test_the_slope_between_two_prices() -> None:
    records = [
        _record(beta, {"rate_nats": rate, "distortion_nats": distortion})
        for beta, rate, distortion in (
            (2.0, 10.0, 90.0),
            (0.0, 99.0, 50.0),
            (1.0, 15.0, 82.0),
            (1.0, 13.0, 80.0),
        )
    ]
    (chord,) = kl_figures.chords(records)
    assert (chord.low, chord.high) == (1.0, 2.0)
    assert chord.rate_nats == pytest.approx(4)
    assert chord.distortion_nats == pytest.approx(9)
    assert chord.nats_per_nat == pytest.approx(2.25)


def _record(beta: float, results: dict[str, Any]) -> Record:
    environment = Environment("cpu", 1, "2", "3", "c")
    return Record(Run("r", {"train": {"model": {"beta": beta}}}), Outcome(results, []), 1.0, environment)
