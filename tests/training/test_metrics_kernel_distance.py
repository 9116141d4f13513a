"""Kernel distance against sums that are worked out by hand, and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from training.metrics.kernel_distance import kernel_distance

RNG = np.random.default_rng(0)


def test_two_points_each_by_hand() -> None:
    # k = (x y + 1)^3. Within real: k(0, 1) = 1; within fake: k(1, 2) = 27; across: (1 + 1 + 8 + 27) / 4.
    real, fake = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert kernel_distance(real, fake) == pytest.approx(1 + 27 - 2 * 37 / 4, rel=1e-12)


def test_the_kernel_divides_by_the_dimension() -> None:
    # All real at (2, 0), all fake at (0, 2): k = (4 / 2 + 1)^3 = 27 within, 1 across.
    real, fake = np.tile([2.0, 0.0], (3, 1)), np.tile([0.0, 2.0], (5, 1))
    assert kernel_distance(real, fake) == pytest.approx(27 + 27 - 2, rel=1e-12)


def test_agrees_with_torchmetrics_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = RNG.normal(size=(60, 8)), RNG.normal(size=(60, 8)) + 0.5
    expected = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(fake)))
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr("training.metrics.kernel_distance.ROWS", 7)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-10)


def test_it_has_no_bias() -> None:
    """Of sets of one distribution the mean is 0; with the diagonals left in it would be about 0.3."""
    values = [kernel_distance(*RNG.normal(size=(2, 40, 8))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(400)
    assert np.std(values) / np.sqrt(400) < 0.01
    assert min(values) < 0 < max(values)


def test_sees_what_mean_and_covariance_do_not() -> None:
    """Both have mean 0 and variance 1; the third moments are 0 and 1.5, and k holds (x y)^3 once."""
    even, skewed = np.tile([[-1.0], [1.0]], (2500, 1)), np.tile([[-0.5]] * 4 + [[2.0]], (1000, 1))
    assert kernel_distance(even, skewed) == pytest.approx(1.5**2, abs=0.02)


def test_what_has_no_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fake: expected \(at least 2, D\)"):
        kernel_distance(np.zeros((3, 2)), np.zeros((1, 2)))
