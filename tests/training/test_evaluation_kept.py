"""Samples that a calibrated score keeps, where the true ratio is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.evaluation.kept import kept
from training.evaluation.samples import Reference
from training.feature_space import FeatureSpace, Seen
from training.report import Calibration

CPU = torch.device("cpu")
WIDTH, APART = 0.1, 0.05
"""Of the first pixel, in samples and in data."""


class Generator(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (0.5 + WIDTH * z).clamp(0, 1).reshape(-1, 1, 2, 2)


class Pixels(nn.Module):
    """As a classifier of one class, whose features are the pixels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(images), 1), images.flatten(1)


class Discriminator(nn.Module):
    """Half the true log ratio of N(0.5 + APART, WIDTH^2) to N(0.5, WIDTH^2), plus `offset`."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        return (images[:, 0, 0, 0] - 0.5 - APART / 2) * APART / WIDTH**2 / 2 + self.offset


@pytest.fixture
def against() -> Reference:
    rng = np.random.default_rng(5)
    features = rng.normal([0.5 + APART, 0.5, 0.5, 0.5], WIDTH, (10_000, 4)).astype(np.float32)
    data = Seen(features, np.ones((10_000, 1), np.float32))
    return Reference(FeatureSpace("pixels", "", Pixels(), CPU), data, data, ("one",))


TWICE = Calibration({}, ((-1.0, -2.0), (1.0, 2.0)), "nothing")


def test_what_is_kept_is_nearer_to_the_data_by_as_much_as_the_ratio_says(against: Reference) -> None:
    rate, distance = kept(Discriminator(), TWICE, Generator(), 4, against, CPU)
    assert (rate.name, distance.name, distance.n) == ("kept_fraction", "fd10k_kept", 10_000)
    # The density kept is the lesser of the two, so its weight is 2 Phi(-d / 2), d the distance in deviations.
    assert rate.value == pytest.approx(math.erfc(APART / WIDTH / 2 / math.sqrt(2)), abs=0.012)
    # It is symmetric about the middle, so the mean goes half of the way; the rest of it is the variance.
    assert 0.9 * (APART / 2) ** 2 < distance.value < 1.5 * (APART / 2) ** 2


def test_a_score_that_keeps_next_to_nothing_ends(against: Reference) -> None:
    (rate,) = kept(Discriminator(-20.0), TWICE, Generator(), 4, against, CPU)
    assert rate.name == "kept_fraction"
    assert rate.value == 0
    assert rate.n == 40_000
