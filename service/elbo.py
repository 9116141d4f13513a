"""Lower bounds of log p(x) under a variational autoencoder, in nats, for each image by itself."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service import latents
from service.manifest import Likelihood
from service.steps import Steps

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
LogPrior = Callable[[Floats], Steps[Doubles]]
"""Latents (N, dim) to log p(z), (N,), nats."""

# Samples of z for an image: enough that the noise is small beside the differences between images.
SAMPLES = 8
# A Bernoulli mean of exactly 0 or 1 would make one wrong pixel infinitely unlikely.
_BERNOULLI_MARGIN = 1e-6
# Of images times draws that are decoded together: few draws of many images, or many of one.
_ROWS_AT_ONCE = 256


def elbo_nats(
    x: Doubles,
    mean: Floats,
    logvar: Floats,
    decode: Callable[[Floats], Steps[Doubles]],
    likelihood: Likelihood,
    log_prior: LogPrior | None = None,
    *,
    samples: int = SAMPLES,
) -> Steps[Doubles]:
    """A lower bound of log p(x): Kingma & Welling 2014, eq. 10, with L = `samples`.

    The noise is drawn from fixed seeds and is the same for every image: the bound is a function of the image.

    Args:
        x: images, (N, D), in [0, 1].
        mean, logvar: of q(z|x), (N, dim).
        decode: latents (N, dim) to the means of p(x|z), (N, D).
        likelihood: the form of p(x|z).
        log_prior: latents (N, dim) to log p(z), (N,), with which the KL is that of the draws; None: N(0, I), exactly.
        samples: 1 or more.

    Returns:
        (N,), nats, summed over pixels.
    """
    mean64, logvar64 = mean.astype(np.float64), logvar.astype(np.float64)
    stddev = np.exp(0.5 * logvar64)
    total = np.zeros(len(x))
    for eps in latents.from_seeds(range(samples), mean.shape[1]):
        z = (mean64 + stddev * eps).astype(np.float32)
        total += log_likelihood_nats(x, (yield from decode(z)), likelihood)
        if log_prior is not None:
            total += (yield from log_prior(z)) - _log_posterior(eps.astype(np.float64), logvar64)
    bound: Doubles = total / samples
    return bound if log_prior is not None else bound - kl_nats(mean64, logvar64)


def importance_weighted_nats(
    x: Doubles,
    mean: Floats,
    logvar: Floats,
    decode: Callable[[Floats], Steps[Doubles]],
    likelihood: Likelihood,
    log_prior: LogPrior | None = None,
    *,
    k: int,
) -> Steps[Doubles]:
    """The importance weighted bound, log of the mean of k weights: Burda et al. 2016, eq. 8.

    w_j = p(x|z_j) p(z_j) / q(z_j|x), with z_j drawn from q(z|x). In expectation the bound rises with k towards
    log p(x); with k = 1 it is the ELBO of one draw, the KL drawn too. Draw j has the noise of seed j for every image:
    the bound is a function of the image, and a larger k goes on from the draws of a smaller one.

    Args:
        x, mean, logvar, likelihood, log_prior: as for `elbo_nats`.
        decode: latents (j N, dim), N for the first draw, then N for the next, to means (j N, D).
        k: 1 or more.

    Returns:
        (N,), nats.
    """
    mean64, logvar64 = mean.astype(np.float64), logvar.astype(np.float64)
    stddev = np.exp(0.5 * logvar64)
    at_once = max(1, _ROWS_AT_ONCE // len(x))
    log_weights = np.empty((len(x), k))
    for start in range(0, k, at_once):
        seeds = range(start, min(start + at_once, k))
        eps = latents.from_seeds(seeds, mean.shape[1]).astype(np.float64)
        z = mean64 + stddev * eps[:, None]
        rows = z.reshape(-1, z.shape[-1])
        means = (yield from decode(rows.astype(np.float32))).reshape(*z.shape[:2], -1)
        if log_prior is None:
            priors = _log_normal(z)
        else:
            priors = (yield from log_prior(rows.astype(np.float32))).reshape(z.shape[:2])
        for j, eps_j, prior_j, mean_j in zip(seeds, eps, priors, means, strict=True):
            log_ratio = prior_j - _log_posterior(eps_j, logvar64)
            log_weights[:, j] = log_likelihood_nats(x, mean_j, likelihood) + log_ratio
    largest = log_weights.max(axis=1, keepdims=True)
    bound: Doubles = largest[:, 0] + np.log(np.exp(log_weights - largest).mean(axis=1))
    return bound


def _log_posterior(eps: Doubles, logvar: Doubles) -> Doubles:
    """log q(z|x) of z = mean + exp(logvar / 2) eps: (dim,) and (N, dim) -> (N,)."""
    density: Doubles = _log_normal(eps) - 0.5 * logvar.sum(axis=1)
    return density


def _log_normal(z: Doubles) -> Doubles:
    """log N(z; 0, I), (..., dim) -> (...)."""
    density: Doubles = -0.5 * (np.square(z) + math.log(2 * math.pi)).sum(axis=-1)
    return density


def kl_nats(mean: Doubles, logvar: Doubles) -> Doubles:
    """KL(N(mean, exp(logvar)) || N(0, I)), (N, dim) -> (N,); Kingma & Welling 2014, appendix B."""
    divergence: Doubles = 0.5 * (np.exp(logvar) + np.square(mean) - 1 - logvar).sum(axis=1)
    return divergence


def log_likelihood_nats(x: Doubles, mean: Doubles, likelihood: Likelihood) -> Doubles:
    """log p(x|z), (N, D), (N, D) -> (N,): Bernoulli, or the Gaussian density of pixels in [0, 1]."""
    if likelihood.stddev is None:
        p = np.clip(mean, _BERNOULLI_MARGIN, 1 - _BERNOULLI_MARGIN)
        pixels = x * np.log(p) + (1 - x) * np.log1p(-p)
    else:
        standardised = (x - mean) / likelihood.stddev
        pixels = -0.5 * np.square(standardised) - math.log(likelihood.stddev * math.sqrt(2 * math.pi))
    total: Doubles = pixels.sum(axis=1)
    return total


def bits_per_dim(elbo: Doubles, dims: int, likelihood: Likelihood) -> Doubles:
    """The bound as bits to code one of `dims` pixel values; smaller is better.

    A density over [0, 1] becomes a probability of 256 grey levels, 1/256 apart: 8 bits more a pixel.
    """
    grey_level_bits = 0.0 if likelihood.stddev is None else math.log2(256)
    bits: Doubles = -elbo / (dims * math.log(2)) + grey_level_bits
    return bits
