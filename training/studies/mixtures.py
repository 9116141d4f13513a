"""Mixtures of Gaussians: data whose density is known in closed form."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Spherical Gaussians of one `sd` at `means` (K points in D dimensions), drawn with `weights` (K, sum 1)."""

    means: tuple[tuple[float, ...], ...]
    sd: float
    weights: tuple[float, ...]

    @property
    def centres(self) -> Tensor:
        """(K, D)."""
        return torch.tensor(self.means)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D)."""
        chosen = torch.multinomial(torch.tensor(self.weights), n, replacement=True, generator=generator)
        return self.centres[chosen] + self.sd * torch.randn(n, len(self.means[0]), generator=generator)

    def density(self, x: Tensor) -> Tensor:
        """(N, D) -> (N,), float64."""
        centres = self.centres.double()
        squares = (x.double()[:, None] - centres).square().sum(-1)  # (N, K)
        norm = (2 * math.pi * self.sd**2) ** (centres.shape[1] / 2)
        weights = torch.tensor(self.weights, dtype=torch.float64)
        out: Tensor = (weights * torch.exp(-squares / (2 * self.sd**2))).sum(-1) / norm
        return out


def uniform(means: list[tuple[float, ...]], sd: float) -> Mixture:
    return Mixture(tuple(means), sd, (1 / len(means),) * len(means))


def ring(modes: int = 8, radius: float = 1.0, sd: float = 0.01) -> Mixture:
    """The ring of VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018)."""
    angles = [2 * math.pi * i / modes for i in range(modes)]
    return uniform([(radius * math.cos(a), radius * math.sin(a)) for a in angles], sd)


def grid(side: int = 5, spacing: float = 2.0, sd: float = 0.05) -> Mixture:
    """The grid of the same two papers, centred on 0."""
    places = [spacing * (i - (side - 1) / 2) for i in range(side)]
    return uniform([(x, y) for x in places for y in places], sd)
