"""How well a score tells real images from generated ones, and how honest its probability is."""

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
    probabilities, is_real = np.asarray(probabilities, np.float64), np.asarray(is_real, bool)
    if probabilities.ndim != 1 or probabilities.shape != is_real.shape or not len(is_real):
        raise ValueError(f"expected two equal shapes (N,), got {probabilities.shape} and {is_real.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities: expected values in [0, 1]")
    return float(
        binary_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(is_real).int(), bins, "l1")
    )


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
