"""How well a score tells real images from generated ones, and how honest its probability is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torchmetrics.functional.classification import binary_calibration_error

Scores = npt.NDArray[np.floating]
SMALLEST_SLOPE = 1e-6
"""What stands for "no slope" where one above 0 is needed."""


def auroc(real_logits: Scores, fake_logits: Scores) -> float:
    """Probability that a real image scores above a generated one, ties counted half; 0.5 is a coin's.

    `real_logits` (N,), `fake_logits` (M,), larger for real. Raises ValueError for empty or NaN scores.
    """
    is_real = np.repeat([1, 0], [len(real_logits), len(fake_logits)])
    return float(roc_auc_score(is_real, np.concatenate([real_logits, fake_logits])))


def expected_calibration_error(
    probabilities: Scores, is_real: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between the stated probability of "real" and its frequency, in [0, 1]; 0 is best.

    `probabilities` (N,) of being real, `is_real` (N,); `bins` of equal width. Guo et al. 2017, sec. 2, in its
    binary form: the bins are over P(real), not over the confidence in the likelier class.
    Raises ValueError for unequal shapes, no values or values outside [0, 1].
    """
    p, real = _checked(probabilities, is_real)
    return float(binary_calibration_error(torch.from_numpy(p), torch.from_numpy(real).int(), bins, "l1"))


def calibration_error_floor(probabilities: Scores, bins: int = 15, draws: int = 200, seed: int = 0) -> float:
    """The expected calibration error that so many values show if they are right: the mean over drawn answers.

    It is above 0 because the frequency in a bin of few values is never quite its probability.
    """
    rng = np.random.default_rng(seed)
    p = np.ascontiguousarray(probabilities, np.float64)
    return float(np.mean([expected_calibration_error(p, rng.random(len(p)) < p, bins) for _ in range(draws)]))


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Of the bins that hold a value, in order, (B,) each."""

    probability: npt.NDArray[np.float64]
    """Mean stated probability of "real"."""
    frequency: npt.NDArray[np.float64]
    """Fraction that is real."""
    count: npt.NDArray[np.int64]


def reliability_curve(
    probabilities: Scores, is_real: npt.NDArray[np.bool_], bins: int = 15
) -> ReliabilityCurve:
    """The bins of `expected_calibration_error`, whose value is the gaps' mean, weighted by the counts.

    Raises ValueError as that does.
    """
    p, real = _checked(probabilities, is_real)
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    held = count > 0
    stated, found = (np.bincount(bin_of, x, minlength=bins)[held] / count[held] for x in (p, real))
    return ReliabilityCurve(stated, found, count[held])


def _checked(
    probabilities: Scores, is_real: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    p, real = np.ascontiguousarray(probabilities, np.float64), np.asarray(is_real, bool)
    if p.ndim != 1 or p.shape != real.shape or not len(real):
        raise ValueError(f"expected two equal shapes (N,), got {p.shape} and {real.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities: expected values in [0, 1]")
    return p, real


def temperature_scaling(logits: Scores, is_real: npt.NDArray[np.bool_]) -> float:
    """The slope, 1 / temperature, such that sigmoid(slope * logit) is the probability of "real".

    Guo et al. 2017, section 4.2: `platt_scaling` without an intercept, with its weights, limits and errors. It
    changes how sure a score is, and never which of the two it is for.
    """
    scaler = StandardScaler(with_mean=False)
    scaled = scaler.fit_transform(np.asarray(logits, np.float64).reshape(-1, 1))
    fit = LogisticRegression(C=1e6, class_weight="balanced", fit_intercept=False, tol=1e-8, max_iter=1000)
    fit.fit(scaled, np.asarray(is_real, bool))
    return max(float(fit.coef_[0, 0] / scaler.scale_[0]), SMALLEST_SLOPE)


def platt_scaling(logits: Scores, is_real: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, intercept) such that sigmoid(slope * logit + intercept) is the probability of "real".

    `logits` (N,), `is_real` (N,), on images that trained neither network. Logistic regression (Platt 1999,
    without his smoothed targets), both kinds weighted alike, so that p / (1 - p) estimates the density ratio
    p_data / p_model whatever their numbers. A trace of regularisation keeps the slope finite where a threshold
    splits the kinds. The slope stays above 0, so no order is reversed: logits that rank real below fake get
    (1e-6, 0), about 1/2. Raises ValueError for NaN, unequal shapes, or when either kind is missing.
    """
    scaler = StandardScaler()
    standardised = scaler.fit_transform(np.asarray(logits, np.float64).reshape(-1, 1))
    fit = LogisticRegression(C=1e6, class_weight="balanced", tol=1e-8, max_iter=1000)
    fit.fit(standardised, np.asarray(is_real, bool))
    slope = float(fit.coef_[0, 0] / scaler.scale_[0])
    intercept = float(fit.intercept_[0] - slope * scaler.mean_[0])
    return (slope, intercept) if slope > 0 else (SMALLEST_SLOPE, 0.0)
