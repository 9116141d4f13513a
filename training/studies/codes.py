"""Codes of images, and the density that a prior gives them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from training.feature_space import BATCH, batches
from training.metrics.elbo import gaussian_kl_nats
from training.priors import Mixture


class Codes(NamedTuple):
    """Of N images: of a VAE, the parameters of q(z|x) = N(mean, diag exp(logvar))."""

    mean: Tensor
    """(N, D), on the CPU."""
    logvar: Tensor | None
    """(N, D); None for an autoencoder, whose code is the mean."""

    def drawn(self, seed: int) -> Tensor:
        """A code of each image, (N, D)."""
        if self.logvar is None:
            return self.mean
        noise = torch.randn(self.mean.shape, generator=torch.Generator().manual_seed(seed))
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl_nats(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) of each dimension, (N, D), float64; raises ValueError for an autoencoder's."""
        if self.logvar is None:
            raise ValueError("codes: a VAE's are needed, which have a logvar")
        return gaussian_kl_nats(self.mean.double(), self.logvar.double())


@torch.no_grad()
def encoded(encode: nn.Module, images: Tensor, device: torch.device) -> Codes:
    """The codes of uint8 images (N, C, H, W)."""
    outputs = [[part.cpu() for part in encode(batch)] for batch in batches(images, device)]
    mean, *logvar = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return Codes(mean, logvar[0] if logvar else None)


@torch.no_grad()
def decoded(generate: nn.Module, codes: Tensor, device: torch.device) -> Tensor:
    """Images (N, C, H, W) of codes (N, D), in 8 bits as the data is, on the CPU."""
    parts = [generate(part.to(device)) for part in torch.split(codes, BATCH)]
    return torch.cat([(part * 255).round().to(torch.uint8).cpu() for part in parts])


def log_density_nats(prior: Mixture | None, z: Tensor) -> Tensor:
    """log density of codes (N, D) under a fitted prior, or under N(0, I) for None; (N,), nats."""
    if prior is None:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    normals = MultivariateNormal(prior.means, scale_tril=prior.factors)
    density: Tensor = MixtureSameFamily(Categorical(prior.weights), normals).log_prob(z)  # type: ignore[no-untyped-call]
    return density
