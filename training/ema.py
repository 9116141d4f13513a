"""Exponential moving average of weights."""

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step_images: int, half_life_images: float) -> None:
    """average <- average + (1 - decay) (network - average), decay = 2^(-step_images / half_life_images).

    Buffers (batch-norm statistics) are averages already and are copied.
    """
    decay = 0.5 ** (step_images / half_life_images) if half_life_images > 0 else 0.0
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)


def ramped_half_life(half_life_images: float, images_seen: int) -> float:
    """A half-life that grows with the run, so that the first weights are forgotten (Karras et al. 2022, EDM)."""
    return min(half_life_images, 0.05 * images_seen)
