"""The images of a set that are nearest to others, pixel by pixel."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

SEARCHED_BYTES = 1 << 28
"""Of float32 pixels, at a time."""


class Nearest(NamedTuple):
    distances: npt.NDArray[np.float64]
    """(N, k), root mean squared difference of pixels in [0, 1], the smallest first."""
    indices: npt.NDArray[np.int64]
    """(N, k), in the set that was searched."""


def nearest(images: Tensor, among: Tensor, k: int) -> Nearest:
    """The `k` of `among` (M, C, H, W) that are nearest to each of `images` (N, C, H, W), both uint8; k <= M."""
    # Whole numbers, whose products are exact: a copy is at 0.
    queries, points = images.flatten(1).float().numpy(), among.flatten(1)
    rows = max(k, SEARCHED_BYTES // (4 * queries.shape[1]))
    distances: npt.NDArray[np.float64] = np.empty((len(queries), 0))
    indices: npt.NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(points), rows):
        part = points[start : start + rows].float().numpy()
        search = NearestNeighbors(n_neighbors=min(k, len(part)), algorithm="brute").fit(part)
        found, at = search.kneighbors(queries)
        distances, indices = np.hstack([distances, found]), np.hstack([indices, start + at])
        best = distances.argsort(1, kind="stable")[:, :k]
        distances = np.take_along_axis(distances, best, 1)
        indices = np.take_along_axis(indices, best, 1)
    return Nearest(distances / (255 * queries.shape[1] ** 0.5), indices)
