"""AUROC, calibration error and Platt scaling on scores whose answer is known."""

import math

import numpy as np
import pytest
from scipy.special import expit

from training.metrics.scoring import (
    auroc,
    calibration_error_floor,
    expected_calibration_error,
    platt_scaling,
    reliability_curve,
    temperature_scaling,
)


def test_auroc_counts_the_pairs_that_are_in_order() -> None:
    # Pairs (real, fake): 3 > 2, 3 > 0, 1 < 2, 1 > 0, and 2 = 2 counts half, 2 > 0: 4.5 of 6.
    assert auroc(np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0])) == pytest.approx(4.5 / 6)
    assert auroc(np.array([1.0, 2.0]), np.array([-1.0])) == 1.0
    assert auroc(np.array([-1.0]), np.array([1.0, 2.0])) == 0.0
    with pytest.raises(ValueError, match="NaN"):
        auroc(np.array([math.nan]), np.array([1.0]))


def test_calibration_error_by_hand() -> None:
    # Two bins of 0.5. Below: mean 0.2, frequency 1/2, 2 values. Above: mean 0.8, frequency 1, 3 values.
    probabilities = np.array([0.1, 0.3, 0.7, 0.8, 0.9])
    is_real = np.array([False, True, True, True, True])
    expected = (2 * 0.3 + 3 * 0.2) / 5
    assert expected_calibration_error(probabilities, is_real, bins=2) == pytest.approx(expected, rel=1e-9)
    # One bin sees the averages alone: 0.56 against 0.8.
    assert expected_calibration_error(probabilities, is_real, bins=1) == pytest.approx(0.24, rel=1e-9)


def test_calibration_error_at_the_ends_of_the_range() -> None:
    ends = np.array([0.0, 1.0, 1.0])
    assert expected_calibration_error(ends, np.array([False, True, True])) == 0
    assert expected_calibration_error(ends, np.array([True, False, False])) == 1


@pytest.mark.parametrize(
    ("probabilities", "is_real", "message"),
    [
        ([0.5, 1.2], [True, False], r"expected values in \[0, 1\]"),
        ([0.5, math.nan], [True, False], r"expected values in \[0, 1\]"),
        ([0.5], [True, False], r"got \(1,\) and \(2,\)"),
        ([], [], r"got \(0,\)"),
    ],
)
def test_what_is_no_probability_is_refused(
    probabilities: list[float], is_real: list[bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(np.array(probabilities), np.array(is_real))


def test_the_reliability_curve_by_hand() -> None:
    probabilities = np.array([0.1, 0.3, 0.7, 0.8, 0.9, 1.0])
    is_real = np.array([False, True, True, True, True, False])
    curve = reliability_curve(probabilities, is_real, bins=2)
    np.testing.assert_allclose(curve.probability, [0.2, 0.85])
    np.testing.assert_allclose(curve.frequency, [0.5, 0.75])
    np.testing.assert_array_equal(curve.count, [2, 4])
    # Four bins of a quarter: the third is empty after 0.7, and left out.
    assert reliability_curve(probabilities[:2], is_real[:2], bins=4).count.tolist() == [1, 1]


def test_the_reliability_curve_has_the_calibration_error_in_it() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(1000)
    is_real = rng.random(1000) < probabilities**2
    curve = reliability_curve(probabilities, is_real)
    error = np.abs(curve.probability - curve.frequency) @ curve.count / 1000
    assert error == pytest.approx(expected_calibration_error(probabilities, is_real), rel=1e-9)
    assert error > 0.1


def test_the_floor_of_the_calibration_error() -> None:
    # One bin: the mean of |frequency - 1/2| over binomial draws is sqrt(2 / pi) sd, here 0.5 / 20.
    floor = calibration_error_floor(np.full(400, 0.5), bins=1, draws=2000)
    assert floor == pytest.approx(np.sqrt(2 / np.pi) * 0.5 / 20, rel=0.05)
    assert calibration_error_floor(np.array([0.0, 1.0])) == 0


def logits_of_known_odds(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Real x from N(1, 1), fake from N(-1, 1): log p_data / p_model = 2 x. The logits are x / 4 + 3."""
    rng = np.random.default_rng(0)
    is_real = np.arange(n) % 2 == 0
    return (rng.normal(size=n) + np.where(is_real, 1, -1)) / 4 + 3, is_real


def test_platt_scaling_finds_the_true_odds() -> None:
    logits, is_real = logits_of_known_odds(40000)
    slope, intercept = platt_scaling(logits, is_real)
    assert slope == pytest.approx(8, rel=0.03)
    assert intercept == pytest.approx(-24, rel=0.03)

    before = expected_calibration_error(expit(logits), is_real)
    after = expected_calibration_error(expit(slope * logits + intercept), is_real)
    assert before > 0.4
    assert after < 0.01


def test_temperature_scaling_finds_the_slope_where_there_is_no_offset() -> None:
    logits, is_real = logits_of_known_odds(40000)
    assert temperature_scaling(logits - 3, is_real) == pytest.approx(8, rel=0.03)
    # It keeps 0 where it is: with the offset of 3 left in, no slope is right.
    slope = temperature_scaling(logits, is_real)
    assert slope < 0.2
    assert expected_calibration_error(expit(slope * logits), is_real) < 0.1
    assert temperature_scaling(logits - 3, ~is_real) == 1e-6


def test_temperature_scaling_weighs_both_kinds_alike() -> None:
    logits, is_real = logits_of_known_odds(40000)
    keep = np.sort(np.concatenate([np.flatnonzero(is_real), np.flatnonzero(~is_real)[::10]]))
    assert temperature_scaling(logits[keep] - 3, is_real[keep]) == pytest.approx(8, rel=0.05)


def test_the_odds_do_not_depend_on_how_many_fakes_were_shown() -> None:
    logits, is_real = logits_of_known_odds(40000)
    few = np.flatnonzero(~is_real)[::10]
    keep = np.sort(np.concatenate([np.flatnonzero(is_real), few]))
    slope, intercept = platt_scaling(logits[keep], is_real[keep])
    # Unweighted, log 10 = 2.3 more.
    assert intercept + 3 * slope == pytest.approx(0, abs=0.1)


def test_the_slope_stays_finite_and_positive() -> None:
    logits = np.array([-2.0, -1.0, 1.0, 2.0])
    slope, intercept = platt_scaling(logits, logits > 0)
    assert 5 < slope < 1e4
    assert intercept == pytest.approx(0, abs=1e-3)
    assert platt_scaling(logits, logits < 0) == (1e-6, 0.0)
    assert platt_scaling(np.ones(4), logits > 0) == (1e-6, 0.0)


def test_the_unit_of_the_logits_does_not_matter() -> None:
    logits, is_real = logits_of_known_odds(2000)
    slope, intercept = platt_scaling(logits, is_real)
    assert platt_scaling(logits * 1e4, is_real) == pytest.approx((slope / 1e4, intercept), rel=1e-6)


def test_platt_scaling_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="2 classes"):
        platt_scaling(np.array([1.0, 2.0]), np.array([True, True]))
