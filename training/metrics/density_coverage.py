"""Density and coverage: precision and recall that a few outliers of either set cannot inflate."""

from typing import NamedTuple

import numpy as np

from training.metrics.features import Features
from training.metrics.neighbours import centred_pair, count_inside, radii


class DensityCoverage(NamedTuple):
    """`density` >= 0, about 1 for equal distributions and above 1 for samples in the thick of the data;
    `coverage` in [0, 1], 1 is best."""

    density: float
    coverage: float


def density_coverage(real: Features, fake: Features, k: int = 5) -> DensityCoverage:
    """Naeem et al. 2020, sec. 3, in the space of the given features.

    `real` (N, D), `fake` (M, D), each with more than k rows. Around each of `real` lies a ball that reaches
    to its `k`-th nearest neighbour in `real`. Density is how many balls hold a sample, on average, over k;
    coverage is the fraction of the balls that hold one or more.
    Raises ValueError as `neighbours.centred_pair` does.
    """
    real, fake = centred_pair(real, fake, k)
    balls_around_fake, fakes_in_ball = count_inside(fake, real, radii(real, k))
    return DensityCoverage(float(np.mean(balls_around_fake)) / k, float(np.mean(fakes_in_ball > 0)))
