"""Of a thousand modes, how many do the samples reach? The protocol of PacGAN (Lin et al. 2018)."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from training.datasets import Dataset, spread
from training.evaluation.samples import SEED, sample
from training.feature_space import FeatureSpace
from training.metrics.modes import reverse_kl_nats
from training.report import Result, seconds_since

SAMPLES = 26_000


def reached(space: FeatureSpace, images: Tensor, kinds: int) -> tuple[int, float]:
    """Modes with at least one image, as the classifier sees them, and KL(images || all modes alike) in nats."""
    _, labels = space(images)
    counts = np.bincount(labels, minlength=kinds)
    return int(np.count_nonzero(counts)), reverse_kl_nats(counts)


def modes(
    space: FeatureSpace, served: nn.Module, latent_dim: int, train: Dataset, device: torch.device
) -> list[Result]:
    """Of samples, and of as many real images: no generator can be expected to do better."""
    kinds, results = len(train.class_names or ()), []
    sources: tuple[tuple[str, str, Callable[[], Tensor], int | None], ...] = (
        ("", "samples", lambda: sample(served, latent_dim, SAMPLES, SEED, device), SEED),
        ("_train", "training images", lambda: torch.from_numpy(spread(train.images, SAMPLES)), None),
    )
    for suffix, what, drawn, seed in sources:
        started = time.monotonic()
        images = drawn()
        found, divergence = reached(space, images, kinds)
        n, seconds = len(images), seconds_since(started)
        of = f"{n:,} {what}, as {space.name} sees them"
        results += [
            Result(f"modes26k{suffix}", found, f"of {kinds:,}", f"modes with one of {of}", n, seed, seconds),
            Result(
                f"reverse_kl26k{suffix}_nats",
                divergence,
                "nats",
                f"KL(samples || all modes alike) of the modes of {of}",
                n,
                seed,
                seconds,
            ),
        ]
    return results
