"""A tighter bound of log p(x) than the evidence lower bound: many draws of q(z|x), weighted."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.metrics.elbo import standard_normal_log_density_nats


class Bounds(NamedTuple):
    """(N,) each, in nats, float64: elbo_nats <= importance_weighted_nats for every image."""

    importance_weighted_nats: Tensor
    elbo_nats: Tensor
    """Of the same draws: the mean of the log weights."""


@torch.no_grad()
def importance_weighted_bounds(
    mean: Tensor,
    logvar: Tensor,
    log_likelihood: Callable[[int, Tensor], Tensor],
    draws: int,
    seed: int = 0,
    batch: int = 250,
    log_prior: Callable[[Tensor], Tensor] = standard_normal_log_density_nats,
) -> Bounds:
    """log of the mean of w = p(x|z) p(z) / q(z|x) over `draws` z of q(z|x) (Burda et al. 2016, eq. 8).

    Its expectation is at most log p(x), and grows to it with `draws` (theorem 1).

    Args:
        mean, logvar: (N, D) of the posteriors q(z|x) = N(mean, diag exp(logvar)).
        log_likelihood: log p(x_i | z), (B,) in nats, for the image's index i and z (B, D).
        seed: with the image's index, all that the image's noise depends on.
        batch: draws that are decoded at a time; it changes no draw.
        log_prior: log p(z), (B,) in nats, for z (B, D), float64; N(0, I) unless told.
    """
    weighted, plain = [], []
    for i in range(len(mean)):
        noise = _noise(seed, i, draws, mean.shape[1]).to(mean.device)
        z = mean[i] + torch.exp(0.5 * logvar[i]) * noise
        log_posterior = standard_normal_log_density_nats(noise.double()) - 0.5 * logvar[i].double().sum()
        likelihoods = torch.cat([log_likelihood(i, part) for part in torch.split(z, batch)])
        log_weights = likelihoods.double() + log_prior(z.double()) - log_posterior
        weighted.append(torch.logsumexp(log_weights, 0) - math.log(draws))
        plain.append(log_weights.mean())
    return Bounds(torch.stack(weighted).cpu(), torch.stack(plain).cpu())


def _noise(seed: int, index: int, draws: int, dim: int) -> Tensor:
    """(draws, dim) standard normal, on the CPU: the same whatever the device."""
    return torch.from_numpy(np.random.default_rng((seed, index)).standard_normal((draws, dim), np.float32))
