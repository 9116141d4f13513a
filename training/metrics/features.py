"""What every metric in a feature space asks of its two sets of features."""

from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]


def checked_pair(real: Features, fake: Features, at_least: int) -> tuple[npt.NDArray[np.float64], ...]:
    """`real` (N, D) and `fake` (M, D) in float64.

    Raises ValueError when one is not a finite matrix of `at_least` rows, or when their dimensions differ.
    """
    pair = tuple(np.asarray(features, np.float64) for features in (real, fake))
    for name, features in zip(("real", "fake"), pair, strict=True):
        if features.ndim != 2 or len(features) < at_least:
            raise ValueError(
                f"{name}: expected (at least {at_least}, D) features, got shape {features.shape}"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"{name}: expected finite features, got NaN or infinity")
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(f"fake: expected {pair[0].shape[1]} dimensions as in real, got {pair[1].shape[1]}")
    return pair
