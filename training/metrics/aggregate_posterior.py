"""The KL term of the evidence lower bound taken apart: what z tells of the image, and where the prior is missed."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from training.metrics.elbo import gaussian_kl_nats, gaussian_log_density_nats

SMALLEST_LOGVAR = -20.0
"""Narrower posteriors count as this wide where q(z) is computed, whose terms would else cancel to nothing."""
CHUNK_ELEMENTS = 1 << 23
"""Of the (samples, N) matrix of densities: 64 MiB at a time."""


class ElboSurgery(NamedTuple):
    """In nats an image; kl_nats = mutual_information_nats + marginal_kl_nats."""

    kl_nats: float
    """Mean of KL(q(z|x) || p(z)): exact where the prior is N(0, I)."""
    mutual_information_nats: float
    """I(x; z) for x drawn from the N images: from 0 to log N, whatever the latent could tell of more images."""
    marginal_kl_nats: float
    """KL(q(z) || p(z)) of the aggregate posterior q(z) = mean of q(z|x) from the prior."""
    standard_error_nats: float
    """Of both estimated parts, from the draws; where the prior is not N(0, I), of the first alone."""


@torch.no_grad()
def elbo_surgery(
    mean: Tensor,
    logvar: Tensor,
    seed: int = 0,
    samples: int = 1,
    log_prior: Callable[[Tensor], Tensor] | None = None,
) -> ElboSurgery:
    """Hoffman & Johnson 2016, "ELBO surgery", eq. 6, for posteriors N(mean, diag exp(logvar)).

    `mean`, `logvar` (N, D) of N images; `samples` draws of each posterior. I(x; z) is the mean of
    log q(z|x) - log q(z), in which q(z) is the mixture of all N posteriors; the rest of the KL is KL(q(z) || p(z)),
    so an error of the draws moves nats from one part to the other. Computed in float64, N^2 `samples` densities.
    `log_prior`: log p(z), (N,) for z (N, D), and the KL is of the draws, too; None: N(0, I), of which it is exact.
    Raises ValueError for shapes that differ or are no matrix.
    """
    if mean.ndim != 2 or mean.shape != logvar.shape or not len(mean):
        raise ValueError(
            f"mean, logvar: expected equal shapes (N, D), got {tuple(mean.shape)} and {tuple(logvar.shape)}"
        )
    mean, logvar = mean.double(), logvar.double()
    kl = float(gaussian_kl_nats(mean, logvar).sum(1).mean())
    logvar = logvar.clamp(min=SMALLEST_LOGVAR)
    n, dim = mean.shape
    generator = torch.Generator().manual_seed(seed)
    differences, rates = [], []
    for _ in range(samples):
        noise = torch.randn(n, dim, generator=generator, dtype=torch.float64).to(mean.device)
        z = mean + torch.exp(0.5 * logvar) * noise
        own = gaussian_log_density_nats(z, mean, logvar)
        differences.append(own - log_mixture_density(z, mean, logvar))
        if log_prior is not None:
            rates.append((own - log_prior(z)).mean())
    if rates:
        kl = float(torch.stack(rates).mean())
    # Of an image's draws the mean, so that the error is that of N independent values.
    per_image = torch.stack(differences).mean(0)
    information = float(per_image.mean())
    error = float(per_image.std(correction=min(1, n - 1))) / math.sqrt(n)
    return ElboSurgery(kl, information, kl - information, error)


def log_mixture_density(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log of the mean over n of N(z; mean_n, diag exp(logvar_n)), (M,), nats, for `z` (M, D) and (N, D), float64."""
    precision = torch.exp(-logvar)
    # (z - mean)^2 precision = z^2 precision - 2 z (mean precision) + mean^2 precision: one product of matrices.
    weights = torch.cat([-0.5 * precision, mean * precision], 1).T  # (2 D, N)
    constants = -0.5 * (mean.square() * precision + logvar + math.log(2 * math.pi)).sum(1) - math.log(
        len(mean)
    )
    parts = [
        torch.logsumexp(torch.addmm(constants, torch.cat([part.square(), part], 1), weights), 1)
        for part in torch.split(z, max(1, CHUNK_ELEMENTS // len(mean)))
    ]
    return torch.cat(parts)
