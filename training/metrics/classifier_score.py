"""How sure a classifier is of each sample, and how many classes it sees in all."""

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr


def classifier_score(probabilities: npt.NDArray[np.floating]) -> float:
    """exp of the mutual information of sample and class, from 1 to the number of classes; the data's own is best.

    `probabilities` (N, classes): p(class | sample), rows of sum 1. Salimans et al. 2016, section 4, whose classifier
    is Inception: values of different classifiers do not compare. All N at once, not a mean over splits. Computed
    in float64. Raises ValueError for another shape, and for rows that are no distribution.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p):
        raise ValueError(f"probabilities: expected (N, classes) with N >= 1, got {p.shape}")
    if not (p >= 0).all() or not np.allclose(p.sum(1), 1, atol=1e-4):
        raise ValueError("probabilities: expected rows of non-negative numbers with sum 1")
    return float(np.exp(rel_entr(p, p.mean(0)).sum(1).mean()))
