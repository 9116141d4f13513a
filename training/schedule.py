"""What a step of a run uses: its learning rate and its batch. Functions of counters alone, so resuming is exact."""

from functools import lru_cache

import torch
from torch import Tensor

from training.annealing import half_cosine
from training.config import Config, OptimizerConfig
from training.player import Batch


def learning_rate(config: OptimizerConfig, images_seen: int, images: int) -> float:
    """Linear warm-up, then constant, or half a cosine down to 0 at `images`."""
    if images_seen < config.warmup_images:
        return config.lr * images_seen / config.warmup_images
    if config.decay == "constant":
        return config.lr
    progress = (images_seen - config.warmup_images) / max(1, images - config.warmup_images)
    return half_cosine(config.lr, 0.0, min(1.0, progress))


def micro_batches(
    images: Tensor, labels: Tensor | None, config: Config, step: int, rank: int, ranks: int
) -> list[Batch]:
    """The part of step `step` that device `rank` of `ranks` trains on, in `config.accumulate` micro-batches.

    `images` is uint8 (N, C, H, W), N >= batch_size. What does not fill a batch at an epoch's end is left out.
    """
    epoch, position = divmod(step, len(images) // config.batch_size)
    chosen = _order(len(images), epoch, config.seed)[position * config.batch_size :][: config.batch_size]
    mine = chosen[rank::ranks].to(images.device)
    return [
        Batch(images[index].float() / 255, None if labels is None else labels[index])
        for index in mine.chunk(config.accumulate)
    ]


@lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int) -> Tensor:
    """The permutation of the images in an epoch."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
