"""Precision, recall, density and coverage on points whose neighbours can be counted by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from training.metrics import neighbours
from training.metrics.density_coverage import density_coverage
from training.metrics.precision_recall import precision_recall


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_precision_and_recall_by_hand() -> None:
    # k = 1. Real balls: 0 +- 1, 1 +- 1, 10 +- 9 -> [-1, 2] and [1, 19]; 3 and 5 of the three fakes are inside.
    # Fake balls: 3 +- 2, 5 +- 2, 30 +- 25 -> [1, 7] and [5, 55]; 1 (on the edge) and 10 are inside.
    scores = precision_recall(column(0, 1, 10), column(3, 5, 30), k=1)
    assert scores == pytest.approx((2 / 3, 2 / 3))
    # A far real outlier of radius 99 takes in every fake, while no fake ball reaches back.
    scores = precision_recall(column(0, 1, 100), column(50, 51, 52), k=1)
    assert scores == (1.0, 0.0)


def test_density_and_coverage_by_hand() -> None:
    # k = 1, real balls [-1, 1], [0, 2], [1, 19]. Fakes 1.5, 1.6 and 30 lie in 2, 2 and 0 of them: density
    # 4 / 3. Two balls of three hold a fake.
    scores = density_coverage(column(0, 1, 10), column(1.5, 1.6, 30), k=1)
    assert scores == pytest.approx((4 / 3, 2 / 3))
    # k = 2 divides by k: real balls 0 +- 10, 1 +- 9, 10 +- 10 all hold 1.5; 30 is in none.
    scores = density_coverage(column(0, 1, 10), column(1.5, 1.5, 30), k=2)
    assert scores == pytest.approx((6 / 3 / 2, 1))


def two_modes(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=(n, 8)) + np.where(rng.random(n) < 0.5, 0, 100)[:, None]


def test_a_collapse_lowers_recall_and_coverage_but_not_precision() -> None:
    rng = np.random.default_rng(0)
    real = two_modes(rng, 1000)
    collapsed = rng.normal(size=(1000, 8))
    same = two_modes(rng, 1000)

    precision, recall = precision_recall(real, same)
    assert precision > 0.75
    assert recall > 0.75
    precision, recall = precision_recall(real, collapsed)
    assert precision > 0.75
    assert recall < 0.55
    precision, recall = precision_recall(collapsed, real)
    assert precision < 0.55
    assert recall > 0.75

    density, coverage = density_coverage(real, same)
    assert density == pytest.approx(1, abs=0.1)
    assert coverage > 0.9
    density, coverage = density_coverage(real, collapsed)
    assert density == pytest.approx(1, abs=0.1)
    assert 0.4 < coverage < 0.6


def test_equal_sets_score_one() -> None:
    points = two_modes(np.random.default_rng(1), 200)
    assert precision_recall(points, points) == (1.0, 1.0)
    assert density_coverage(points, points).coverage == 1.0


def test_coverage_of_equal_distributions_is_what_the_paper_derives() -> None:
    # Naeem et al. 2020, lemma 2: for N = M large, E[coverage] -> 1 - 1 / 2^k, whatever the distribution.
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(2, 4000, 4))
    assert density_coverage(real, fake, k=1).coverage == pytest.approx(1 / 2, abs=0.03)
    assert density_coverage(real, fake, k=3).coverage == pytest.approx(7 / 8, abs=0.03)


def test_chunks_agree_with_the_whole_distance_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    # Far from the origin, where distances made of inner products would be noise.
    points, centres = rng.normal(size=(2, 700, 16)) + 1e6
    radius = np.sort(cdist(centres, centres), axis=1)[:, 4]
    inside = cdist(points, centres) <= radius
    scores = density_coverage(centres, points, k=4)
    assert scores == pytest.approx((inside.sum() / 4 / 700, inside.any(axis=0).mean()), rel=1e-12)

    monkeypatch.setattr(neighbours, "WORKING_MEMORY_MIB", 1)
    assert density_coverage(centres, points, k=4) == scores


def test_too_few_points_and_a_senseless_k_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fake: expected \(at least 4, D\) features, got shape \(3, 1\)"):
        precision_recall(column(1, 2, 3, 4), column(1, 2, 3))
    with pytest.raises(ValueError, match="k: expected 1 or more, got 0"):
        density_coverage(column(1, 2), column(1, 2), k=0)
