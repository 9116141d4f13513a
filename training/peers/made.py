"""What comes of a training, whoever wrote it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.datasets import Dataset
from training.metrics.elbo import standard_normal_log_density_nats


@dataclass(frozen=True)
class Density:
    """A VAE of binary images, for the importance weighted bound of its log p(x)."""

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Images (N, C, H, W) -> mean and logvar of q(z|x), (N, D)."""
    generate: Callable[[Tensor], Tensor]
    """z (N, D) -> means of the pixels (N, C, H, W), in [0, 1]."""
    log_prior: Callable[[Tensor], Tensor] = standard_normal_log_density_nats


@dataclass(frozen=True)
class Made:
    draw: Callable[[int], Tensor]
    """So many samples, (n, C, H, W) uint8 on the CPU."""
    parameters: int
    images_seen: int
    seconds: float
    """Of training."""
    density: Density | None = None


@dataclass(frozen=True)
class Task:
    """What is to be trained on; `scratch` is a folder for files."""

    data: Dataset
    seconds: float
    """Of training, at most."""
    seed: int
    device: torch.device
    scratch: Path


Train = Callable[[Task], Made]
