"""Piecewise linear calibration on scores whose odds are known."""

import numpy as np
import pytest
from scipy.special import expit

from tests.training.test_metrics_scoring import logits_of_known_odds
from training.metrics.monotone_scaling import Knots, monotone_scaling
from training.metrics.scoring import expected_calibration_error, platt_scaling


def test_knots_are_joined_by_lines_that_go_on() -> None:
    knots = Knots(np.array([0.0, 1.0, 3.0]), np.array([-1.0, 1.0, 2.0]))
    np.testing.assert_allclose(knots(np.array([-1.0, 0.5, 2.0, 5.0])), [-3.0, 0.0, 1.5, 3.0])


def test_one_segment_is_platt_scaling() -> None:
    logits, is_real = logits_of_known_odds(4000)
    slope, intercept = platt_scaling(logits, is_real)
    knots = monotone_scaling(logits, is_real, segments=1)
    np.testing.assert_allclose(knots(logits), slope * logits + intercept, atol=1e-3)


def bent(n: int) -> tuple[np.ndarray, np.ndarray]:
    """log odds = 2 x below 0 and x / 4 above it: no straight line is right."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, n)
    return x, rng.random(n) < expit(np.where(x < 0, 2 * x, x / 4))


def test_a_bend_is_found_where_platt_scaling_is_wrong() -> None:
    logits, is_real = bent(40000)
    held_out, answers = logits[20000:], is_real[20000:]
    slope, intercept = platt_scaling(logits[:20000], is_real[:20000])
    # Both kinds count alike, so the odds are those of equal numbers.
    knots = monotone_scaling(logits[:20000], is_real[:20000])
    share = np.log(is_real[:20000].mean() / (1 - is_real[:20000].mean()))
    assert expected_calibration_error(expit(slope * held_out + intercept + share), answers) > 0.04
    assert expected_calibration_error(expit(knots(held_out) + share), answers) < 0.02
    truth = np.where(held_out < 0, 2 * held_out, held_out / 4)
    assert np.abs(knots(held_out) + share - truth).mean() < 0.08


def test_it_always_rises() -> None:
    logits, is_real = logits_of_known_odds(400)
    for kinds in (is_real, ~is_real, np.random.default_rng(0).random(400) < 0.5):
        knots = monotone_scaling(logits, kinds)
        assert np.all(np.diff(knots.log_odds) > 0)
        assert np.isfinite(knots.log_odds).all()
    # Logits that rank real below fake say nothing.
    np.testing.assert_allclose(expit(monotone_scaling(logits, ~is_real)(logits)), 0.5, atol=1e-3)


def test_logits_that_are_split_or_equal() -> None:
    split = np.array([-2.0, -1.0, 1.0, 2.0])
    knots = monotone_scaling(split, split > 0)
    assert np.isfinite(knots.log_odds).all()
    assert knots(np.array([-1.0]))[0] < -3
    assert knots(np.array([1.0]))[0] > 3
    equal = monotone_scaling(np.ones(4), split > 0)
    np.testing.assert_allclose(equal(np.ones(2)), 0, atol=1e-5)


def test_the_unit_of_the_logits_does_not_matter() -> None:
    logits, is_real = logits_of_known_odds(2000)
    small, large = monotone_scaling(logits, is_real), monotone_scaling(logits * 1e3, is_real)
    np.testing.assert_allclose(large(logits * 1e3), small(logits), atol=1e-3)


def test_both_kinds_and_numbers_are_needed() -> None:
    with pytest.raises(ValueError, match="2 classes"):
        monotone_scaling(np.array([1.0, 2.0]), np.array([True, True]))
    with pytest.raises(ValueError, match="finite"):
        monotone_scaling(np.array([1.0, np.nan]), np.array([True, False]))
