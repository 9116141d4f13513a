"""Stacked-MNIST (Metz et al. 2017, "Unrolled GANs"): three digits as the colours of one image, so 1000 modes."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from training.data.samples import Samples, Split
from training.errors import DataError

COLOURS = 3
TRIPLES: Mapping[Split, int] = {"train": 128_000, "test": 10_000}
"""Of the training digits as many as Lin et al. 2018 (PacGAN) take."""
_SEEDS: Mapping[Split, int] = {"train": 0, "test": 1}


def stack(digits: Samples, split: Split) -> Samples:
    """Grey images (N, 1, H, W) of ten classes -> (TRIPLES[split], 3, H, W), drawn with replacement, of 1000 classes.

    A triple of the digits a, b, c is of class 100 a + 10 b + c. Raises DataError for images of another kind.
    """
    if digits.images.shape[1] != 1 or digits.labels is None or digits.labels.max() > 9:
        raise DataError(
            f"expected grey images with labels to stack, found shape {digits.images.shape}; give digits"
        )
    n = TRIPLES[split]
    # numpy promises the raw bits of a bit generator for good.
    drawn = np.random.PCG64(_SEEDS[split]).random_raw(COLOURS * n) % np.uint64(len(digits.images))
    rows = drawn.astype(np.int64).reshape(n, COLOURS)
    return Samples(digits.images[rows, 0], together([digits.labels[rows[:, i]] for i in range(COLOURS)]))


def together(digits: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """The digits of each colour, (N,) each -> classes of the triples (N,)."""
    hundreds, tens, ones = digits
    return np.asarray(100 * hundreds + 10 * tens + ones, np.int64)
