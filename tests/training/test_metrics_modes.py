"""Mode counts and reverse KL against cases worked out by hand."""

import math

import numpy as np
import pytest

from training.metrics.modes import mode_counts, reverse_kl_nats

CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_counts_by_hand() -> None:
    points = np.array([[0.0, 0.9], [0.0, 1.1], [9.5, 0.0], [6.0, 0.0], [0.0, 4.0]])
    counts = mode_counts(points, CENTRES, radius=1.0)
    assert counts.nearest.tolist() == [3, 2, 0]
    assert counts.high_quality.tolist() == [1, 1, 0]
    assert counts.captured == 2
    assert counts.high_quality_fraction == pytest.approx(2 / 5)


def test_a_mode_that_only_far_samples_come_near_to_is_not_captured() -> None:
    counts = mode_counts(np.array([[0.0, 8.0], [0.0, 0.0]]), CENTRES, radius=1.0)
    assert counts.nearest.tolist() == [1, 0, 1]
    assert counts.captured == 1


def test_reverse_kl_by_hand() -> None:
    assert reverse_kl_nats(np.array([5, 5, 5, 5])) == pytest.approx(0)
    assert reverse_kl_nats(np.array([7, 0, 0, 0])) == pytest.approx(math.log(4))
    # 3/4 log(3/4 / (1/2)) + 1/4 log(1/4 / (1/2))
    assert reverse_kl_nats(np.array([3, 1])) == pytest.approx(0.75 * math.log(1.5) - 0.25 * math.log(2))


def test_reverse_kl_is_from_the_samples_to_the_data() -> None:
    counts, data = np.array([1, 1]), np.array([9, 1])
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert reverse_kl_nats(counts, data) == pytest.approx(expected)
    assert reverse_kl_nats(np.array([1, 0]), data) == pytest.approx(math.log(1 / 0.9))
    assert reverse_kl_nats(np.array([1, 1]), np.array([1, 0])) == math.inf
