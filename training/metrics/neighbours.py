"""Balls around points that reach to the k-th nearest neighbour: a set of features seen as a manifold."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from training.metrics.features import Features, checked_pair

WORKING_MEMORY_MIB = 256


def centred_pair(real: Features, fake: Features, k: int) -> tuple[npt.NDArray[np.float64], ...]:
    """`real` and `fake` moved so that the mean of `real` is 0, which changes no distance but its rounding.

    Raises ValueError for k < 1, fewer than k + 1 rows, features that are not finite or of unequal dimension.
    """
    if k < 1:
        raise ValueError(f"k: expected 1 or more, got {k}")
    real, fake = checked_pair(real, fake, at_least=k + 1)
    mean = real.mean(axis=0)
    return real - mean, fake - mean


def radii(points: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.float64]:
    """Euclidean distance (N,) of each of `points` (N, D) to its k-th nearest among the others."""
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors()
    return np.asarray(distances[:, -1], np.float64)


def count_inside(
    points: npt.NDArray[np.float64], centres: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many balls hold each of `points` (M,), and how many points each ball holds (N,).

    Ball i is closed, around `centres[i]` with `radius[i]`. Computed in row chunks of WORKING_MEMORY_MIB.
    """
    per_point = []
    per_ball = np.zeros(len(centres), np.int64)
    for distances in pairwise_distances_chunked(points, centres, working_memory=WORKING_MEMORY_MIB):
        inside = distances <= radius
        per_point.append(inside.sum(axis=1))
        per_ball += inside.sum(axis=0)
    return np.concatenate(per_point), per_ball
