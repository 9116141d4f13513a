"""Frechet distance against values that follow from its definition."""

import numpy as np
import pytest
import scipy.linalg

from training.metrics.frechet import frechet_distance

RNG = np.random.default_rng(0)


def test_equal_covariances_leave_the_squared_distance_of_the_means() -> None:
    real = RNG.normal(size=(500, 16)) @ RNG.normal(size=(16, 16))
    shift = np.zeros(16)
    shift[[0, 5]] = 3, -4
    assert frechet_distance(real, real + shift) == pytest.approx(25, rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_one_dimension_by_hand() -> None:
    # Unbiased variances 2 and 18: (0 - 1)^2 + (sqrt 2 - sqrt 18)^2 = 1 + 8.
    real, fake = np.array([[-1.0], [1.0]]), np.array([[-2.0], [4.0]])
    assert frechet_distance(real, fake) == pytest.approx(9, rel=1e-12)


def test_scaled_features_by_hand() -> None:
    # S2 = 9 S1: tr(S1 + 9 S1 - 2 * 3 S1) = 4 tr S1, and the mean moves by 2 m.
    real = RNG.normal(size=(300, 8)) + 1
    expected = 4 * np.trace(np.cov(real.T)) + 4 * np.sum(real.mean(axis=0) ** 2)
    assert frechet_distance(real, 3 * real) == pytest.approx(expected, rel=1e-9)


def test_agrees_with_the_matrix_root_where_that_is_sound() -> None:
    real = RNG.normal(size=(400, 6)) @ RNG.normal(size=(6, 6))
    fake = RNG.normal(size=(300, 6)) @ RNG.normal(size=(6, 6)) + 0.3
    S1, S2 = np.cov(real.T), np.cov(fake.T)
    root = scipy.linalg.sqrtm(S1 @ S2).real
    expected = np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(S1 + S2 - 2 * root)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-12)


def test_singular_covariances_are_exact() -> None:
    # 5 rows in 64 dimensions, in float32 and far from 0: a matrix root gives complex numbers here.
    real = (1000 + RNG.normal(size=(5, 64))).astype(np.float32)
    assert frechet_distance(real, real + np.float32(2)) == pytest.approx(4 * 64, rel=1e-6)
    # Orthogonal supports: the product of the covariances is 0, so the distance is the sum of the variances.
    x = np.array([[-1.0, 0.0], [1.0, 0.0]])
    assert frechet_distance(x, x[:, ::-1]) == pytest.approx(4, rel=1e-12)


def test_what_has_no_covariance_is_refused() -> None:
    ok = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"fake: expected \(at least 2, D\) features, got shape \(1, 2\)"):
        frechet_distance(ok, ok[:1])
    with pytest.raises(ValueError, match=r"real: expected \(at least 2, D\) features, got shape \(3,\)"):
        frechet_distance(ok[:, 0], ok)
    with pytest.raises(ValueError, match="fake: expected 2 dimensions as in real, got 1"):
        frechet_distance(ok, ok[:, :1])
    with pytest.raises(ValueError, match="real: expected finite features"):
        frechet_distance(ok + np.nan, ok)
