"""A network and the optimiser that trains it: what a family's step moves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

Scalars = Mapping[str, Tensor]


class Batch(NamedTuple):
    """`images` (N, C, H, W) float32 in [0, 1]; `labels` (N,) int64, or None where the data has none."""

    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Progress:
    """How far the run is, counted before the step. `step` starts at 0."""

    step: int
    images_seen: int
    fraction: float
    """Of the run's images, in [0, 1)."""


class Player:
    """Wraps `network` and `optimizer` for the devices at hand. Several players can share a batch (a GAN)."""

    def __init__(self, network: nn.Module, optimizer: Optimizer, fabric: Fabric) -> None:
        self.plain = network
        self.optimizer: Optimizer
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self._fabric = fabric

    def update(
        self,
        batches: Sequence[Batch],
        loss: Callable[[Batch], tuple[Tensor, Scalars]],
        helpers: Sequence["Player"] = (),
    ) -> dict[str, Tensor]:
        """One optimiser step on the mean loss of `batches` (micro-batches of equal size).

        Args:
            loss: micro-batch -> (scalar to minimise, scalars to log).
            helpers: others that the loss goes through: they take a step on it, too.

        Returns:
            The logged scalars, mean over the micro-batches, detached.
        """
        moved = (self, *helpers)
        for player in moved:
            player.optimizer.zero_grad(set_to_none=True)
        logged: list[Scalars] = []
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            with ExitStack() as alone:
                for player in moved:
                    alone.enter_context(self._fabric.no_backward_sync(player.network, enabled=not last))
                value, scalars = loss(batch)
                self._fabric.backward(value / len(batches))
            logged.append(scalars)
        for player in moved:
            player.optimizer.step()
        return {
            key: torch.stack([scalars[key].detach().float() for scalars in logged]).mean()
            for key in logged[0]
        }

    def autocast(self) -> AbstractContextManager[None]:
        """The run's precision, for passes through `plain`."""
        context: AbstractContextManager[None] = self._fabric.autocast()
        return context
