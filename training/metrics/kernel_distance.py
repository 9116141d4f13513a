"""Kernel distance: the squared maximum mean discrepancy of two sets of features, without bias."""

import numpy as np
import numpy.typing as npt

from training.metrics.features import Features, checked_pair

ROWS = 1000
"""Of a kernel matrix at a time: 80 MB where it has 10,000 columns."""


def kernel_distance(real: Features, fake: Features) -> float:
    """Unbiased MMD^2 with the kernel k(x, y) = (x.y / D + 1)^3; 0 is best, and below 0 by chance alone.

    `real` (N, D), `fake` (M, D), 2 rows or more each: all pairs, not a mean over subsets.
    Gretton et al. 2012, eq. 3; the kernel is KID's (Binkowski et al. 2018, section 3), whose features are
    Inception's: values of different features do not compare. Raises ValueError as `features.checked_pair` does.
    """
    real, fake = checked_pair(real, fake, at_least=2)
    return _mean_of_pairs(real) + _mean_of_pairs(fake) - 2 * _sum(real, fake) / (len(real) * len(fake))


def _mean_of_pairs(x: npt.NDArray[np.float64]) -> float:
    """The mean of k(x_i, x_j) over i != j."""
    diagonal = float(np.sum((np.sum(x * x, axis=1) / x.shape[1] + 1) ** 3))
    return (_sum(x, x) - diagonal) / (len(x) * (len(x) - 1))


def _sum(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    total = 0.0
    for start in range(0, len(x), ROWS):
        kernel = x[start : start + ROWS] @ y.T / x.shape[1] + 1
        total += float(np.sum(kernel * kernel * kernel))
    return total
