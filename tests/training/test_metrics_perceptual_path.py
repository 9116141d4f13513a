"""Perceptual path length of a linear generator seen as it is, where every step's length is known."""

import numpy as np
import pytest

from training.metrics.perceptual_path import perceptual_path_length, slerp

RNG = np.random.default_rng(0)


def test_slerp_by_hand() -> None:
    a, b = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 4.0]])
    root = np.sqrt(0.5)
    np.testing.assert_allclose(slerp(a, b, np.array([0.5, 0.5])), [[root, root], [2 * root, 4 * root]])
    np.testing.assert_allclose(slerp(a, b, np.array([0.0, 1.0])), [a[0], b[1]], atol=1e-12)
    third = slerp(a[:1], b[:1], np.array([1 / 3]))
    np.testing.assert_allclose(third, [[np.cos(np.pi / 6), np.sin(np.pi / 6)]])


def test_an_isometry_moves_as_fast_as_the_arc() -> None:
    """Unit vectors at a right angle: the arc is pi / 2 long, and the generator makes it 3 times as long."""
    dim, epsilon = 8, 1e-4
    orthogonal, _ = np.linalg.qr(RNG.normal(size=(dim, dim)))
    a, b = np.tile(np.eye(dim)[0], (200, 1)), np.tile(np.eye(dim)[1], (200, 1))
    t = RNG.random(200)
    start, end = (3 * slerp(a, b, at) @ orthogonal for at in (t, t + epsilon))
    assert perceptual_path_length(start, end, epsilon) == pytest.approx(9 * (np.pi / 2) ** 2, rel=1e-6)


def test_a_linear_generator_has_its_mean_squared_gain() -> None:
    """Without outliers of note: the mean over paths of |A dz/dt|^2, derived by hand."""
    gains = np.array([1.0, 2.0])
    a, b = np.tile([1.0, 0.0], (1000, 1)), np.tile([0.0, 1.0], (1000, 1))
    t = (np.arange(1000) + 0.5) / 1000
    start, end = (slerp(a, b, at) * gains for at in (t, t + 1e-5))
    # |dz/dt|^2 (1 sin^2 + 4 cos^2), whose mean over the arc is (pi / 2)^2 (1 + 4) / 2; the tails are symmetric.
    assert perceptual_path_length(start, end, 1e-5) == pytest.approx((np.pi / 2) ** 2 * 2.5, rel=1e-3)


def test_tails_are_dropped() -> None:
    start, end = np.zeros((1000, 1)), np.full((1000, 1), 2.0)
    end[:9], end[-9:] = 1e6, 0
    assert perceptual_path_length(start, end, 1.0) == pytest.approx(4, rel=1e-12)
    end[:30] = 1e6
    assert perceptual_path_length(start, end, 1.0) > 1e6


def test_unequal_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="end: expected 3 rows as in start, got 2"):
        perceptual_path_length(np.zeros((3, 2)), np.zeros((2, 2)), 1e-4)
