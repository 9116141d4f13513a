"""A prior that is learned with its model: a normalizing flow, which turns normal noise into latents and back.

Where q(z|x) may be fitted to the prior alone, the prior is also fitted to it: the marginal KL that N(0, I) leaves is
paid for nothing (Hoffman & Johnson 2016; Chen et al. 2017, "Variational lossy autoencoder", section 3.2).
"""

import torch
from torch import Tensor, nn

from training.metrics.elbo import standard_normal_log_density_nats

DIM_STEP = 32
"""Both halves are then whole vectors of 16, as `priors` says of _LANES: with 5 entries, a row of the exported density
has other last bits alone than in a batch."""
SCALE_LIMIT = 2.0
"""Of a layer's log scale, either way: a new flow may not blow up in its first steps."""


class Coupling(nn.Module):
    """One half of the latent scales and shifts the other (Dinh et al. 2017, "Real NVP", eq. 7 and 8).

    Before it the entries are put into another order: `order` (dim,), whose first half is kept.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor, width: int) -> None:
        super().__init__()
        dim = len(order)
        self.halves = [dim // 2, dim - dim // 2]
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        last = nn.Linear(width, 2 * self.halves[1])
        nn.init.zeros_(last.weight)  # the identity, at first
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(
            nn.Linear(self.halves[0], width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            last,
        )

    def forward(self, eps: Tensor) -> Tensor:
        """(N, dim) -> (N, dim)."""
        kept, moved = torch.split(eps[:, self.order], self.halves, dim=1)
        log_scale, shift = self._of(kept)
        return torch.cat([kept, moved * torch.exp(log_scale) + shift], dim=1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, dim) -> eps (N, dim), and what the inverse adds to a log density, (N,)."""
        kept, moved = torch.split(z, self.halves, dim=1)
        log_scale, shift = self._of(kept)
        eps = torch.cat([kept, (moved - shift) * torch.exp(-log_scale)], dim=1)
        return eps[:, self.back], -log_scale.sum(1)

    def _of(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = torch.split(self.net(kept), self.halves[1], dim=1)
        return SCALE_LIMIT * torch.tanh(raw / SCALE_LIMIT), shift


class Flow(nn.Module):
    """Standard normal noise eps -> latents z, by `layers` couplings; N(0, I) itself before it has learned."""

    def __init__(self, dim: int, layers: int, width: int) -> None:
        """`dim` 2 or more; `width`: of the two hidden layers of each coupling."""
        super().__init__()
        self.layers = nn.ModuleList(Coupling(_order(dim, index), width) for index in range(layers))

    def forward(self, eps: Tensor) -> Tensor:
        """(N, dim) -> (N, dim)."""
        for layer in self.layers:
            eps = layer(eps)
        return eps

    def log_density(self, z: Tensor) -> Tensor:
        """log p(z) of z = flow(eps), eps ~ N(0, I), in nats: (N, dim) -> (N,)."""
        change = torch.zeros((), dtype=z.dtype, device=z.device)
        for layer in reversed(self.layers):
            z, added = layer.inverse(z)  # type: ignore[operator]  # a Module's methods are not typed
            change = change + added
        return standard_normal_log_density_nats(z) + change


def _order(dim: int, index: int) -> Tensor:
    """Every other layer moves what the one before it kept: two move each entry. The others begin at random."""
    if index % 2:
        return torch.arange(dim).roll(-(dim // 2))
    return torch.randperm(dim, generator=torch.Generator().manual_seed(index))


class LogDensity(nn.Module):
    """A flow's density as a graph."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, z: Tensor) -> Tensor:
        """(N, dim) -> (N,), nats."""
        return self.flow.log_density(z)
