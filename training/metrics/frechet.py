"""Frechet distance between the Gaussians that share mean and covariance with two sets of features."""

import numpy as np
import numpy.typing as npt

from training.metrics.features import Features, checked_pair


def frechet_distance(real: Features, fake: Features) -> float:
    """||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), in squared units of the features; 0 is best.

    `real` (N, D), `fake` (M, D); means m and unbiased covariances S in float64.
    Dowson & Landau 1982; Heusel et al. 2017, eq. 6, whose features are Inception's: values of different
    features do not compare. Raises ValueError below 2 rows and for features that are not finite.

    With S = R^T R the eigenvalues of S1 S2 are the squared singular values of R1 R2^T, so the root has their
    sum as its trace: no matrix root, nothing complex, and exact for singular covariances (N <= D) too.
    """
    real, fake = checked_pair(real, fake, at_least=2)
    R1, R2 = _covariance_factor(real), _covariance_factor(fake)
    means = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)
    covariances = np.sum(R1**2) + np.sum(R2**2) - 2 * np.linalg.norm(R1 @ R2.T, "nuc")
    # The covariance term is never negative but for rounding.
    return float(means + max(covariances, 0.0))


def _covariance_factor(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """R (min(N, D), D) with R^T R = the covariance of `features` (N, D)."""
    centred = features - features.mean(axis=0)
    return np.asarray(np.linalg.qr(centred / np.sqrt(len(features) - 1), mode="r"))
