"""Calibration by an increasing, piecewise linear function of the logit: where a straight line is not enough."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from training.metrics.scoring import SMALLEST_SLOPE, Scores

Floats = npt.NDArray[np.float64]
SEGMENTS = 6


class Knots(NamedTuple):
    """A function of the logit through these points, straight between and beyond them. Both rise strictly."""

    logit: Floats
    log_odds: Floats

    def __call__(self, logits: Scores) -> Floats:
        """log p / (1 - p) of "real", of the shape of `logits`."""
        logits = np.asarray(logits, np.float64)
        slopes = np.diff(self.log_odds) / np.diff(self.logit)
        below, above = np.minimum(logits - self.logit[0], 0), np.maximum(logits - self.logit[-1], 0)
        inside = np.interp(logits, self.logit, self.log_odds)
        log_odds: Floats = inside + below * slopes[0] + above * slopes[-1]
        return log_odds


def monotone_scaling(logits: Scores, is_real: npt.NDArray[np.bool_], segments: int = SEGMENTS) -> Knots:
    """The function of most likelihood whose `segments` hold equally many of the logits.

    `logits` (N,), `is_real` (N,), on images that trained neither network. `scoring.platt_scaling` is its case of one
    segment, with the same weights (both kinds count alike), the same trace of regularisation, and slopes of
    1e-6 or more, so that no order is reversed. Logits that are all equal get 1/2. Raises ValueError for NaN,
    unequal shapes, or when either kind is missing.
    """
    logits, is_real = np.asarray(logits, np.float64), np.asarray(is_real, bool)
    if logits.ndim != 1 or logits.shape != is_real.shape or not np.isfinite(logits).all():
        raise ValueError(f"expected two equal shapes (N,), finite, got {logits.shape} and {is_real.shape}")
    if is_real.all() or not is_real.any():
        raise ValueError("is_real: expected 2 classes, got one")
    x: Floats = np.unique(np.quantile(logits, np.linspace(0, 1, segments + 1))).astype(np.float64)
    if len(x) < 2:
        return Knots(x[0] + np.array([0.0, 1.0]), np.array([0.0, SMALLEST_SLOPE]))
    unit = float(logits.std())
    # The way that a logit goes in each segment; the first and the last segment have no end.
    ends = np.concatenate([[-np.inf], x[1:-1], [np.inf]])
    ways = (np.clip(logits[:, None], ends[:-1], ends[1:]) - np.maximum(ends[:-1], x[0])) / unit
    weights = np.where(is_real, 0.5 / is_real.sum(), 0.5 / (~is_real).sum())

    def loss(parameters: Floats) -> tuple[float, Any]:
        intercept, slopes = parameters[0], parameters[1:]
        log_odds = intercept + ways @ slopes
        residual = weights * (expit(log_odds) - is_real)
        ridge = 1e-6 / len(logits)
        value = (
            weights @ np.logaddexp(0, np.where(is_real, -log_odds, log_odds)) + ridge / 2 * slopes @ slopes
        )
        return float(value), np.concatenate([[residual.sum()], residual @ ways + ridge * slopes])

    start = np.ones(len(x))
    bounds = [(None, None), *[(SMALLEST_SLOPE * unit, None)] * (len(x) - 1)]
    options = {"maxiter": 1000, "maxfun": 10_000, "ftol": 1e-14, "gtol": 1e-9}
    fit = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Knots(x, fit[0] + np.concatenate([[0.0], np.cumsum(fit[1:] / unit * np.diff(x))]))
