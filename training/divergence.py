"""Losses and weights that are no longer finite: counted without waiting for a GPU, and named."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoint import last_checkpoint
from training.errors import TrainingError

NON_FINITE_STEPS = 10
"""Steps in a row with a non-finite loss after which a run stops."""


class Watch:
    """Counts the steps in a row with a non-finite scalar, and keeps which was the first."""

    def __init__(self, checkpoint: Path, batch_size: int, device: torch.device) -> None:
        self._checkpoint, self._batch_size = checkpoint, batch_size
        self._names: tuple[str, ...] = ()
        self._first = torch.zeros((), dtype=torch.bool, device=device)
        self.steps = torch.zeros((), dtype=torch.int64, device=device)
        """Reading the value waits for the GPU."""

    def note(self, scalars: Mapping[str, Tensor]) -> None:
        """The scalars of a step; every step has those of the same names."""
        self._names = tuple(scalars)
        finite = torch.stack([value.isfinite() for value in scalars.values()])
        self.steps = torch.where(finite.all(), 0, self.steps + 1)
        # A few steps later all of them are.
        self._first = torch.where(self.steps == 1, ~finite, self._first)

    def check(self, step: int, images_seen: int, allowed: int) -> None:
        """After step `step`. Raises TrainingError when more than `allowed` steps in a row were not finite."""
        if (steps := int(self.steps)) > allowed:
            names = [name for name, first in zip(self._names, self._first.tolist(), strict=True) if first]
            since = steps - 1
            raise self.error(" and ".join(names), step - since, images_seen - since * self._batch_size)

    def error(self, what: str, step: int, images_seen: int) -> TrainingError:
        return TrainingError(
            f"{what}: not finite since step {step:,} ({images_seen:,} images); {last_checkpoint(self._checkpoint)}; "
            "lower optimizer.lr, lengthen optimizer.warmup_images or add a penalty, and begin again with another --out"
        )
