"""Networks of several seeds trained side by side as one: the first axis of every tensor is the seed.

Nothing crosses that axis: losses are summed over seeds and Adam works number by number, so each seed's network is
the one that it would have been alone.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One source of randomness a seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def normal(sources: Sequence[torch.Generator], *shape: int) -> Tensor:
    """(S, *shape)."""
    return torch.stack([torch.randn(shape, generator=source) for source in sources])


class StackedLinear(nn.Module):
    """S affine maps, drawn as nn.Linear draws its one: (S, N, inputs) -> (S, N, outputs)."""

    def __init__(self, inputs: int, outputs: int, sources: Sequence[torch.Generator]) -> None:
        super().__init__()
        bound = inputs**-0.5
        draws = [torch.rand(inputs + 1, outputs, generator=source) for source in sources]
        weights = bound * (2 * torch.stack(draws) - 1)
        self.weight = nn.Parameter(weights[:, 1:].clone())
        self.bias = nn.Parameter(weights[:, :1].clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class StackedMLP(nn.Module):
    """S perceptrons with leaky ReLU (slope 0.2) or tanh: (S, N, sizes[0]) -> (S, N, sizes[-1])."""

    def __init__(
        self,
        sizes: Sequence[int],
        sources: Sequence[torch.Generator],
        activation: Literal["leaky-relu", "tanh"] = "leaky-relu",
        gain: float = 1.0,
    ) -> None:
        """`gain` multiplies the first weights of all layers but the last."""
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = leaky if activation == "leaky-relu" else torch.tanh
        layers = [StackedLinear(inputs, outputs, sources) for inputs, outputs in pairwise(sizes)]
        with torch.no_grad():
            for layer in layers[:-1]:
                layer.weight.mul_(gain)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


def leaky(x: Tensor) -> Tensor:
    return leaky_relu(x, 0.2)
