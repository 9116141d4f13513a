"""What fits below a half-hidden digit, without a model: the lower halves of the training digits nearest above."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from training.datasets import Dataset, load, spread
from training.studies.blur_adversarial import HALF

CHUNK = 250


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For N test digits, the K training digits whose visible halves are nearest (Euclidean), nearest first."""

    truth: npt.NDArray[np.float32]
    """(N, 28, 28) in [0, 1]: the test digits."""
    lower: npt.NDArray[np.float32]
    """(N, K, 14, 28) in [0, 1]: the neighbours' lower halves."""
    labels: npt.NDArray[np.int64]
    """(N, K)"""

    def ambiguous(self, n: int) -> npt.NDArray[np.int64]:
        """The `n` digits whose neighbours' labels have the highest entropy, highest first; in order where equal."""
        return np.asarray(np.argsort(-label_entropy_bits(self.labels), kind="stable")[:n], np.int64)

    def differing(self, i: int, n: int) -> npt.NDArray[np.int64]:
        """The nearest neighbour of each of the `n` commonest labels; the next nearest where there are fewer."""
        _, first, counts = np.unique(self.labels[i], return_index=True, return_counts=True)
        commonest = first[np.argsort(-counts, kind="stable")]
        others = np.setdiff1d(np.arange(len(self.labels[i])), commonest)
        return np.asarray(np.concatenate([commonest, others])[:n], np.int64)


def label_entropy_bits(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Entropy in bits of the labels in each row: (N, K) -> (N,)."""
    counts = (labels[:, :, None] == np.unique(labels)).sum(axis=1)
    p = counts / labels.shape[1]
    return np.asarray(-(p * np.log2(np.where(p > 0, p, 1))).sum(axis=1), np.float64)


def nearest(train: Dataset, test: Dataset, n: int, k: int) -> Neighbours:
    """Of `n` test digits, evenly spaced. Raises ValueError for data without labels."""
    if train.labels is None:
        raise ValueError(f"{train.name}: has no labels to tell which completions differ")
    known = torch.from_numpy(train.images[:, 0, :HALF]).flatten(1).float() / 255
    asked = torch.from_numpy(spread(test.images, n)[:, 0]).float() / 255
    chosen = []
    for rows in torch.split(asked[:, :HALF].flatten(1), CHUNK):
        # ||a - b||^2 without ||a||^2, which is the same for all b.
        distances = known.square().sum(1) - 2 * rows @ known.T
        chosen.append(distances.topk(k, largest=False).indices)
    index = torch.cat(chosen).numpy()
    lower = np.asarray(train.images[index, 0, HALF:] / 255, np.float32)
    return Neighbours(asked.numpy(), lower, train.labels[index])


@lru_cache(maxsize=1)
def mnist_neighbours(n: int, k: int) -> Neighbours:
    return nearest(load("mnist", "train"), load("mnist", "test"), n, k)


def completion_errors(
    completed: npt.NDArray[np.float32], neighbours: Neighbours, rows: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Mean squared errors of lower halves (R, 14, 28), given for the digits `rows`, a pixel.

    To the truth, to the mean of the K neighbours, and to the neighbours, on average: the last is least for their
    mean, and exceeds that of the mean by the error to the mean.
    """
    lower, mean = neighbours.lower[rows], neighbours.lower[rows].mean(axis=1)
    return {
        "mse_to_truth": float(np.square(completed - neighbours.truth[rows, HALF:]).mean()),
        "mse_to_mean": float(np.square(completed - mean).mean()),
        "mse_to_neighbours": float(np.square(completed[:, None] - lower).mean()),
    }
