"""The parts of the evidence lower bound, and plain reconstruction errors, as tensors, an image a row.

elbo_nats = log_likelihood_nats - gaussian_kl_nats(mean, logvar).sum(1), where the prior is N(0, I)
"""

import math

import torch
from torch import Tensor

PROBABILITY_FLOOR = 1e-6
"""Bernoulli probabilities are kept this far from 0 and 1, where float32 could not tell them apart."""


def gaussian_kl_nats(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) of each latent dimension, in nats, >= 0.

    `mean`, `logvar` (the log of the variance, not of the standard deviation) and the result are (B, D): sum
    over dim 1 for the KL of an image, average over dim 0 for that of a dimension.
    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean**2 + torch.expm1(logvar) - logvar)


def gaussian_log_density_nats(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mean, diag exp(logvar)), in nats: (..., D), and what broadcasts to it twice -> (...)."""
    squares = (z - mean).square() * torch.exp(-logvar)
    return -0.5 * (squares + logvar + math.log(2 * math.pi)).sum(-1)


def standard_normal_log_density_nats(z: Tensor) -> Tensor:
    """log N(z; 0, I), in nats: (..., D) -> (...)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def active_units(means: Tensor, threshold: float = 0.01) -> Tensor:
    """Which latent dimensions carry something about the image: Var_x(E[z|x]) > `threshold`, bool (D,).

    `means` (N, D), N >= 2, are the posterior means of N images. Burda et al. 2016, sec. 5.2, with their
    threshold; the usual figure is the sum. Raises ValueError for another shape.
    """
    if means.ndim != 2 or len(means) < 2:
        raise ValueError(f"means: expected (N >= 2, D), got {tuple(means.shape)}")
    return means.double().var(dim=0) > threshold


def bernoulli_log_likelihood_nats(x: Tensor, probability: Tensor) -> Tensor:
    """log p(x|z) = sum of x log p + (1 - x) log(1 - p) over pixels, (B,), in nats, <= 0.

    `x` and `probability` (B, ...) in [0, 1]; p is clipped to [1e-6, 1 - 1e-6]. Kingma & Welling 2014,
    appendix C.1. For grey x it is the usual cross-entropy and no normalised density (Loaiza-Ganem &
    Cunningham 2019), so compare it only with values of the same kind. Sums in float64.
    """
    p = probability.double().clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    x = x.double()
    return (x * p.log() + (1 - x) * torch.log1p(-p)).flatten(1).sum(1)


def gaussian_log_likelihood_nats(x: Tensor, mean: Tensor, stddev: Tensor | float) -> Tensor:
    """log p(x|z) = sum of log N(x; mean, stddev^2) over pixels, (B,), in nats: a density, which may exceed 0.

    `x`, `mean` (B, ...) in [0, 1]; `stddev` > 0, a number or what broadcasts to `mean`.
    Kingma & Welling 2014, appendix C.2. Sums in float64.
    """
    sigma = torch.as_tensor(stddev, dtype=torch.float64, device=x.device)
    standardised = (x.double() - mean.double()) / sigma
    log_density = -0.5 * standardised**2 - sigma.log() - 0.5 * math.log(2 * math.pi)
    return log_density.flatten(1).sum(1)


def mse(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean squared error over the pixels of each image, (B,), in squared units of the pixels. Float64."""
    return (x.double() - reconstruction.double()).square().flatten(1).mean(1)


def psnr_db(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, (B,), in dB: -10 log10(mse) for pixels in [0, 1].

    Infinite for equal images: average mse, or look at the median, where that can be.
    """
    return -10 * mse(x, reconstruction).log10()
