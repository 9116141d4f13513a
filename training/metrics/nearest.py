"""The images of a set that are nearest to others, pixel by pixel."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

CHUNK = 500


class Nearest(NamedTuple):
    distances: npt.NDArray[np.float64]
    """(N, k), root mean squared difference of pixels in [0, 1], the smallest first."""
    indices: npt.NDArray[np.int64]
    """(N, k), in the set that was searched."""


def nearest(images: Tensor, among: Tensor, k: int) -> Nearest:
    """The `k` of `among` (M, C, H, W) that are nearest to each of `images` (N, C, H, W), both uint8; k <= M."""
    queries, points = (x.flatten(1).numpy().astype(np.float32) for x in (images, among))
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
    distances, indices = [], []
    for start in range(0, len(queries), CHUNK):
        part = queries[start : start + CHUNK]
        index = search.kneighbors(part, return_distance=False)
        # The search's own distances are differences of large numbers: that of a copy is not 0.
        exact = np.sqrt(np.square(part[:, None] - points[index]).mean(2, dtype=np.float64)) / 255
        order = exact.argsort(1, kind="stable")
        distances.append(np.take_along_axis(exact, order, 1))
        indices.append(np.take_along_axis(index, order, 1))
    return Nearest(np.concatenate(distances), np.concatenate(indices).astype(np.int64))
