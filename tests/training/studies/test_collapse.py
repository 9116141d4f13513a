"""More modes with the cure than without; and the parts of the study against what can be derived."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from training.studies.collapse import STUDY
from training.studies.collapse_digits import mode_histogram, stacked
from training.studies.collapse_film import as_bytes, relief
from training.studies.collapse_points import gamma, measure
from training.studies.mixtures import Mixture, grid, ring
from training.studies.runner import run_study


def test_the_cure_finds_more_modes(tmp_path: Path) -> None:
    records = {record.run.name: record for record in run_study(STUDY, tmp_path, quick=True)}
    real, plain, cure = (
        records[f"ring-{name}"].outcome.results for name in ("real", "minimax", "relativistic-r1-r2")
    )
    assert real["modes"] == [8, 8]
    assert min(real["high_quality"]) > 0.98
    assert sum(cure["modes"]) > sum(plain["modes"])
    assert sum(cure["reverse_kl_nats"]) < sum(plain["reverse_kl_nats"])
    assert "published" in (tmp_path / "collapse.md").read_text()
    assert (tmp_path / "collapse" / "points.png").exists()
    with Image.open(tmp_path / "collapse" / "collapse.webp") as film:
        frames = sum(1 for _ in ImageSequence.Iterator(film))
    assert frames == len(records["film-minimax"].outcome.log)


def test_ring_and_grid_are_those_of_the_papers() -> None:
    a, b = ring().centres[:2]
    assert len(ring().means) == 8
    assert float((a - b).norm()) == pytest.approx(2 * math.sin(math.pi / 8), abs=1e-6)
    assert sorted(grid().means)[:2] == [(-4.0, -4.0), (-4.0, -2.0)]
    assert len(set(grid().means)) == 25
    assert (ring().sd, grid().sd) == (0.01, 0.05)


def test_samples_of_a_mixture_have_its_moments_and_density() -> None:
    mixture = Mixture(((0.0,), (4.0,)), 0.5, (0.25, 0.75))
    x = mixture.sample(40_000, torch.Generator().manual_seed(0))
    assert float(x.mean()) == pytest.approx(3, abs=0.05)
    assert float(x.var()) == pytest.approx(0.25 * 0.75 * 16 + 0.25, abs=0.06)
    peak = 0.75 / (0.5 * math.sqrt(2 * math.pi))
    assert float(mixture.density(torch.tensor([[4.0]]))) == pytest.approx(peak, rel=1e-6)


def test_a_collapsed_generator_is_measured_as_one() -> None:
    points = np.tile(np.array(ring().means[2], np.float32), (1, 100, 1))
    points[0, :20] = 5  # far from every mode
    row = measure(points, ring())
    assert row["modes"] == [1]
    assert row["high_quality"] == [pytest.approx(0.8)]


def test_gamma_ends_where_it_should() -> None:
    config = {"gamma": [1.0, 0.01]}
    assert gamma(config, 0) == 1
    assert gamma(config, 0.4) == pytest.approx(0.1)
    assert gamma(config, 0.8) == gamma(config, 1) == pytest.approx(0.01)


def test_modes_of_stacked_digits() -> None:
    counts = mode_histogram([np.array([0, 1, 1]), np.array([0, 2, 2]), np.array([7, 3, 3])])
    assert counts.shape == (1000,)
    assert (counts[7], counts[123], counts.sum()) == (1, 2, 3)


def test_each_colour_is_a_digit_of_its_own() -> None:
    digits = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 1, 28, 28)
    images = stacked(digits, 500, torch.Generator().manual_seed(0))
    assert images.shape == (500, 3, 28, 28)
    colours = images[:, :, 0, 0]
    assert [len(set(colours[:, i].tolist())) for i in range(3)] == [10, 10, 10]
    assert 0.02 < float((colours[:, 0] == colours[:, 1]).float().mean()) < 0.2


def test_bytes_and_relief_of_a_film() -> None:
    assert as_bytes(torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0])).tolist() == [0, 0, 128, 255, 255]
    assert relief(torch.tensor([5.0, -1e6, 7.0])).tolist() == [128, 0, 255]
