"""Which modes of the data samples fall on, and how evenly (Srivastava et al. 2017, VEEGAN; Lin et al. 2018, PacGAN)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import entropy


class ModeCounts(NamedTuple):
    nearest: npt.NDArray[np.int64]
    """(K,): samples nearer to this centre than to any other."""
    high_quality: npt.NDArray[np.int64]
    """(K,): those of them that lie within the radius."""

    @property
    def captured(self) -> int:
        """Modes with at least one high-quality sample."""
        return int(np.count_nonzero(self.high_quality))

    @property
    def high_quality_fraction(self) -> float:
        return float(self.high_quality.sum() / self.nearest.sum())


def mode_counts(
    points: npt.NDArray[np.floating], centres: npt.NDArray[np.floating], radius: float
) -> ModeCounts:
    """`points` (N, D), N >= 1, against the modes' `centres` (K, D); both papers take a `radius` of 3 sd."""
    distances = np.linalg.norm(points[:, None] - centres, axis=-1)  # (N, K)
    mode = distances.argmin(1)
    near = distances.min(1) <= radius
    return ModeCounts(
        np.bincount(mode, minlength=len(centres)), np.bincount(mode[near], minlength=len(centres))
    )


def reverse_kl_nats(
    counts: npt.NDArray[np.integer], reference: npt.NDArray[np.number] | None = None
) -> float:
    """KL(samples || data) of two histograms over modes, each of any sum; `reference` None: all modes alike.

    0 where they agree, log(K / k) for samples spread evenly over k of K even modes.
    """
    return float(entropy(counts, np.ones(len(counts)) if reference is None else reference))
