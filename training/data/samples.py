"""What every reader of image files returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True, eq=False)
class Samples:
    """Images read from one place.

    `images` uint8 (N, C, H, W); `labels` int64 (N,) in [0, number of classes), or None;
    `class_names`: the name of each label where the files tell it.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] | None = None

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Samples":
        """The samples at `rows`, in that order, as a copy."""
        labels = None if self.labels is None else self.labels[rows]
        return Samples(self.images[rows], labels, self.class_names)
