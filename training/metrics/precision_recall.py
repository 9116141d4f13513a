"""Improved precision and recall: are the samples like the data, and is the data among the samples?"""

from typing import NamedTuple

import numpy as np

from training.metrics.features import Features
from training.metrics.neighbours import centred_pair, count_inside, radii


class PrecisionRecall(NamedTuple):
    """Fractions in [0, 1]; 1 is best."""

    precision: float
    recall: float


def precision_recall(real: Features, fake: Features, k: int = 3) -> PrecisionRecall:
    """Kynkaanniemi et al. 2019, eq. 1 and 2, in the space of the given features.

    `real` (N, D), `fake` (M, D), each with more than k rows; compare values only at equal N and M.
    A manifold is the union of the balls around its points that reach to their `k`-th nearest neighbours.
    Precision is the fraction of `fake` inside the manifold of `real`, recall that of `real` inside `fake`'s.
    Raises ValueError as `neighbours.centred_pair` does.
    """
    real, fake = centred_pair(real, fake, k)
    balls_around_fake, _ = count_inside(fake, real, radii(real, k))
    balls_around_real, _ = count_inside(real, fake, radii(fake, k))
    return PrecisionRecall(float(np.mean(balls_around_fake > 0)), float(np.mean(balls_around_real > 0)))
