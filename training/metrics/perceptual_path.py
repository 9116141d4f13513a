"""Perceptual path length: how far features move while the latent takes a small step along an arc."""

from typing import Any

import numpy as np
import numpy.typing as npt

from training.metrics.features import Features, checked_pair

Floats = npt.NDArray[np.floating[Any]]
TAIL = 0.01


def perceptual_path_length(start: Features, end: Features, epsilon: float) -> float:
    """Mean squared feature distance a squared step, without the lowest and the highest 1 %.

    `start`, `end` (N, D): features of the images at t and at t + `epsilon` of N paths of length 1 in t.
    Karras et al. 2019, section 4.1; where images change fast at a few places of a path, the mean is large.
    Raises ValueError as `features.checked_pair` does, and for unequal N.
    """
    start, end = checked_pair(start, end, at_least=1)
    if len(start) != len(end):
        raise ValueError(f"end: expected {len(start)} rows as in start, got {len(end)}")
    distances = np.sum((end - start) ** 2, axis=1) / epsilon**2
    low, high = np.quantile(distances, [TAIL, 1 - TAIL])
    return float(distances[(distances >= low) & (distances <= high)].mean())


def slerp(a: Floats, b: Floats, t: Floats) -> npt.NDArray[np.float64]:
    """Points on the great arcs from `a` (N, D) at t = 0 to `b` (N, D) at 1, for `t` (N,): Shoemake 1985.

    The angle is that of the directions, so that latents of two lengths are joined too. Neither may be 0, nor
    may they be parallel: draws of N(0, I) are not.
    """
    a, b, t = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(t, np.float64)[:, None]
    cosine = (a * b).sum(1, keepdims=True) / np.linalg.norm(a, axis=1, keepdims=True)
    angle = np.arccos(np.clip(cosine / np.linalg.norm(b, axis=1, keepdims=True), -1, 1))
    arc: npt.NDArray[np.float64] = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return arc
