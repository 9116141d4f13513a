"""How evenly samples spread over the classes that a classifier sees in them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import entropy


class ClassBalance(NamedTuple):
    """`fractions` (K,) sum to 1; `smallest` and `largest` are the extremes among them."""

    fractions: npt.NDArray[np.float64]
    smallest: float
    largest: float
    entropy_nats: float
    """log(K) when all classes are equally frequent, 0 when there is one."""
    kl_nats: float
    """KL(samples || reference): 0 for equal frequencies, infinite for a class that the reference lacks."""


def class_balance(
    labels: npt.NDArray[np.integer], n_classes: int, reference: npt.NDArray[np.number] | None = None
) -> ClassBalance:
    """The class balance of samples with the given `labels` (N,), each the most probable class of one sample.

    `reference` (n_classes,) holds frequencies to compare with, such as the data's, of any sum; None: uniform.
    Raises ValueError for no labels, labels outside [0, n_classes), or a reference that is not of n_classes.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels: expected shape (N,) with N >= 1, got {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels: expected integers in [0, {n_classes}), got {labels.min()} to {labels.max()}"
        )
    if reference is None:
        reference = np.ones(n_classes)
    elif reference.shape != (n_classes,):
        raise ValueError(f"reference: expected shape ({n_classes},), got {reference.shape}")
    fractions = np.bincount(labels, minlength=n_classes) / len(labels)
    return ClassBalance(
        fractions=fractions,
        smallest=float(fractions.min()),
        largest=float(fractions.max()),
        entropy_nats=float(entropy(fractions)),
        kl_nats=float(entropy(fractions, reference)),
    )
