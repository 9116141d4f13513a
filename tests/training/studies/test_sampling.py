"""Where codes come from: the direction of the study, and its densities against values known by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.recipes import MINI
from training.priors import Mixture
from training.studies.codes import Codes, decoded, encoded, log_density_nats
from training.studies.quality import quality
from training.studies.runner import run_study
from training.studies.sampling import STUDY


def test_fitted_codes_make_the_autoencoder_a_better_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MINI)
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "data"))
    records = {record.run.name: record for record in run_study(STUDY, tmp_path, quick=True)}
    results = records["ae-seed0"].outcome.results
    assert results["mixture10"]["fd"] < 0.9 * results["normal"]["fd"]
    assert results["mixture10"]["code_log_density_nats"] > results["normal"]["code_log_density_nats"]
    assert records["training-images"].outcome.results["fd"] < results["mixture10"]["fd"]
    text = (tmp_path / "sampling.md").read_text()
    for picture in ("distances.png", "samples.png", "codes.png"):
        assert (tmp_path / "sampling" / picture).exists()
        assert f"sampling/{picture}" in text
    assert "0.18" in text  # Ghosh et al.: 10.66 / 58.73
    assert "0.92" in text  # 17.66 / 19.21


def test_the_density_of_a_code_by_hand() -> None:
    z = torch.tensor([[1.0, 0.0]])
    assert float(log_density_nats(None, z)) == pytest.approx(-0.5 - math.log(2 * math.pi))
    # One component at (1, 0) with standard deviations 2 and 1, one so far away that it adds nothing.
    mixture = Mixture(
        torch.tensor([0.25, 0.75]),
        torch.tensor([[1.0, 0.0], [100.0, 0.0]]),
        torch.stack([torch.diag(torch.tensor([2.0, 1.0])), torch.eye(2)]),
    )
    expected = math.log(0.25) - math.log(2 * math.pi) - math.log(2)
    assert float(log_density_nats(mixture, z)) == pytest.approx(expected, abs=1e-5)


def test_codes_of_a_vae_are_drawn_and_those_of_an_autoencoder_are_not() -> None:
    mean = torch.full((20_000, 1), 3.0)
    assert torch.equal(Codes(mean, None).drawn(0), mean)
    drawn = Codes(mean, torch.full((20_000, 1), math.log(4.0))).drawn(0)
    assert float(drawn.mean()) == pytest.approx(3, abs=0.05)
    assert float(drawn.std()) == pytest.approx(2, abs=0.05)
    assert not torch.equal(drawn, Codes(mean, torch.zeros(20_000, 1)).drawn(1))


def test_images_are_encoded_in_0_to_1_and_decoded_to_8_bits() -> None:
    class Encode(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images.flatten(1), images.flatten(1) + 1

    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    codes = encoded(Encode(), images, torch.device("cpu"))
    assert codes.mean.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert codes.logvar is not None
    assert codes.logvar.flatten().tolist() == pytest.approx([1, 1.2, 2])
    assert decoded(nn.Unflatten(1, (1, 1, 1)), codes.mean, torch.device("cpu")).flatten().tolist() == [
        0,
        51,
        255,
    ]


def test_equal_sets_are_of_perfect_quality_and_far_ones_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 3, generator=generator).numpy()
    same = quality(features, features, 30)
    assert same["fd"] == pytest.approx(0, abs=1e-9)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    # Moved by 10 in each of 3 dimensions, with the same covariance: FD is the squared distance of the means.
    far = quality(features, features + 10, 30)
    assert far["fd"] == pytest.approx(300, rel=1e-4)
    assert (far["precision"], far["recall"], far["coverage"]) == (0, 0, 0)
