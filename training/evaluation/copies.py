"""Whether samples are copies of training images: those nearest to them, beside those nearest to test images."""

import time

import numpy as np
import torch
from torch import Tensor

from training.metrics.nearest import Nearest, nearest
from training.report import Result, seconds_since

NEIGHBOURS = 3
SHOWN = 8
QUANTILE = 0.001
"""As near as so many of the test images: a copy, as far as distances tell. (Blurred images are nearer to all.)"""


def copies(images: Tensor, train: Tensor, test: Tensor, source: str, seed: int) -> list[Result]:
    """Of uint8 images (N, C, H, W). `source`: what they are."""
    started = time.monotonic()
    found, held_out = (nearest(x, train, 1).distances[:, 0] for x in (images, test))
    threshold = float(np.quantile(held_out, QUANTILE))
    n, seconds = len(images), seconds_since(started)
    of = f"{n:,} {source.rstrip(',')}"
    median = "median distance to the nearest training image (root mean squared, pixels in [0, 1])"
    return [
        Result(
            "nearest_train10k", float(np.median(found)), "pixel values", f"{median} of {of}", n, seed, seconds
        ),
        Result(
            "nearest_train10k_test",
            float(np.median(held_out)),
            "pixel values",
            f"{median} of {len(test):,} test images",
            len(test),
            None,
            seconds,
        ),
        Result(
            "copies10k",
            float(np.mean(found <= threshold)),
            "fraction",
            f"{of}: as near to a training image as the nearest {QUANTILE:.1%} of the test images",
            n,
            seed,
            seconds,
        ),
    ]


def neighbours(images: Tensor, train: Tensor) -> Tensor:
    """Rows of eight (64, C, H, W) uint8: a sample and the three training images that are nearest to it, twice.

    On the left the first samples; on the right those of all that are nearest to a training image.
    """
    first = images[:SHOWN]
    order = np.argsort(nearest(images, train, 1).distances[:, 0], kind="stable")
    suspects = images[torch.from_numpy(order[:SHOWN])]
    return torch.cat(
        [_rows(part, train, nearest(part, train, NEIGHBOURS)) for part in (first, suspects)], 1
    ).flatten(0, 1)


def _rows(samples: Tensor, train: Tensor, found: Nearest) -> Tensor:
    """(N, 1 + k, C, H, W)."""
    return torch.cat([samples[:, None], train[torch.from_numpy(found.indices)]], 1)
