"""Models that encode: reconstructions, bounds of log p(x), and what the latent tells of the image."""

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.binarisation import binarise
from training.datasets import Dataset, spread
from training.families.vae import VAEConfig
from training.feature_space import BATCH, batches
from training.metrics.aggregate_posterior import elbo_surgery
from training.metrics.elbo import (
    active_units,
    bernoulli_log_likelihood_nats,
    gaussian_kl_nats,
    gaussian_log_density_nats,
    gaussian_log_likelihood_nats,
    mse,
    psnr_db,
    standard_normal_log_density_nats,
)
from training.metrics.importance_weighted import importance_weighted_bounds
from training.report import Result, seconds_since
from training.trained import Trained

SEED = 0
ELBO_SAMPLES = 8
IW_DRAWS = 5000
IW_IMAGES = 50
"""On a CPU, where more would take many minutes; CUDA takes all test images."""
IW_CUDA_BATCH = 5000
BINARISATION_SEED = 1234
"""Of the test images, where binary ones were trained on."""

Pixels = npt.NDArray[np.uint8]
"""(N, C, H, W)."""
Classes = npt.NDArray[np.int64]
"""(N,), where the model is conditional on them."""


def labelled(
    images: Tensor, labels: Classes | None, device: torch.device
) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Batches of images, each with what `generate` is told beside latents: nothing, or their classes."""
    if labels is None:
        yield from ((batch, ()) for batch in batches(images, device))
        return
    of = torch.split(torch.from_numpy(labels).to(device), BATCH)
    yield from ((batch, (part,)) for batch, part in zip(batches(images, device), of, strict=True))


@torch.no_grad()
def reconstruction(
    operations: Mapping[str, nn.Module], images: Tensor, labels: Classes | None, device: torch.device
) -> list[Result]:
    started = time.monotonic()
    generate, encode = operations["generate"], operations["encode"]
    pairs = [(x, generate(encode(x)[0], *of)) for x, of in labelled(images, labels, device)]
    errors = torch.cat([mse(x, y).cpu() for x, y in pairs])
    psnr = torch.cat([psnr_db(x, y).cpu() for x, y in pairs])
    given = "" if labels is None else ", each given its class"
    protocol = f"generate(mean of encode(x)) against x, test images{given}"
    n, seconds = len(errors), seconds_since(started)
    return [
        Result("mse", float(errors.mean()), "squared, pixels in [0, 1]", protocol, n, None, seconds),
        Result("psnr_db", float(psnr.mean()), "dB", f"{protocol}; mean over images", n, None, seconds),
    ]


@torch.no_grad()
def elbo_terms(
    trained: Trained,
    operations: Mapping[str, nn.Module],
    images: Tensor,
    device: torch.device,
    samples: int = ELBO_SAMPLES,
    labels: Classes | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x|z) (N,), mean over `samples` draws of q(z|x); KL(q(z|x) || p(z)) (N,); means (N, D). Nats.

    The KL is exact for a prior N(0, I); for a learned one it is the mean over the same draws.
    """
    generator, log_prior = torch.Generator(device).manual_seed(SEED), learned_log_prior(operations)
    likelihoods, kls, means = [], [], []
    for batch, of in labelled(images, labels, device):
        mean, logvar = operations["encode"](batch)
        draws, rates = [], []
        for _ in range(samples):
            noise = torch.randn(mean.shape, generator=generator, device=device)
            z = mean + torch.exp(0.5 * logvar) * noise
            draws.append(_log_likelihood(trained, batch, operations["generate"](z, *of)))
            if log_prior is not None:
                rates.append(gaussian_log_density_nats(z.double(), mean, logvar) - log_prior(z.double()))
        exact = gaussian_kl_nats(mean.double(), logvar.double()).sum(1)
        likelihoods.append(torch.stack(draws).mean(0).cpu())
        kls.append((torch.stack(rates).mean(0) if rates else exact).cpu())
        means.append(mean.cpu())
    return torch.cat(likelihoods), torch.cat(kls), torch.cat(means)


def learned_log_prior(operations: Mapping[str, nn.Module]) -> Callable[[Tensor], Tensor] | None:
    """log p(z), (B,) in nats, float64, for z (B, D) on any device; None where the prior is N(0, I)."""
    density = operations.get("log_prior")
    if density is None:
        return None
    device = next(density.parameters()).device
    return lambda z: density(z.float().to(device)).to(z.device, torch.float64)


def observed(trained: Trained, images: Pixels) -> tuple[Pixels, str]:
    """What the model is a density of, uint8, and in words: the images, or one draw of those that they are means of."""
    model = trained.config.model
    if not (isinstance(model, VAEConfig) and model.pixels == "binarised"):
        return images, ""
    generator = torch.Generator().manual_seed(BINARISATION_SEED)
    binary = binarise(torch.from_numpy(images).float() / 255, generator)
    return (255 * binary).byte().numpy(), f"; pixels binarised at random (seed {BINARISATION_SEED})"


def stddev(trained: Trained) -> float | None:
    """The learned standard deviation of a Gaussian likelihood, in units of pixels in [0, 1]; None for others."""
    model = trained.config.model
    if isinstance(model, VAEConfig) and model.likelihood == "gaussian":
        return float(trained.networks["vae"].get_parameter("log_stddev").exp())
    return None


def _log_likelihood(trained: Trained, images: Tensor, p: Tensor) -> Tensor:
    sigma = stddev(trained)
    if sigma is None:
        return bernoulli_log_likelihood_nats(images, p)
    return gaussian_log_likelihood_nats(images, p, sigma)


def elbo(
    trained: Trained, operations: Mapping[str, nn.Module], test: Dataset, device: torch.device
) -> list[Result]:
    """Of the `observed` test images, as all that follows."""
    started = time.monotonic()
    images, how = observed(trained, test.images)
    log_likelihood, kl, means = elbo_terms(
        trained, operations, torch.from_numpy(images), device, labels=trained.told(test)
    )
    given = ", each given its class" if trained.classes else ""
    protocol = f"mean over test images{given}, {ELBO_SAMPLES} samples of q(z|x) each{how}"
    n, seconds = len(means), seconds_since(started)
    values = {
        "elbo_nats": float((log_likelihood - kl).mean()),
        "log_likelihood_nats": float(log_likelihood.mean()),
        "kl_nats": float(kl.mean()),
    }
    active = Result(
        "active_units",
        int(active_units(means).sum()),
        f"of {means.shape[1]}",
        "Var over test x of E[z|x] > 0.01",
        n,
        None,
        seconds,
    )
    return [*(Result(k, v, "nats", protocol, n, SEED, seconds) for k, v in values.items()), active]


@torch.no_grad()
def kl_parts(
    trained: Trained, operations: Mapping[str, nn.Module], test: Dataset, device: torch.device
) -> list[Result]:
    """kl_nats = mutual_information_nats + marginal_kl_nats; with a learned prior, up to the error of other draws."""
    started = time.monotonic()
    images, how = observed(trained, test.images)
    posteriors = [operations["encode"](batch) for batch in batches(torch.from_numpy(images), device)]
    mean, logvar = (torch.cat(parts).cpu() for parts in zip(*posteriors, strict=True))
    parts, n = elbo_surgery(mean, logvar, SEED, log_prior=learned_log_prior(operations)), len(mean)
    seconds = seconds_since(started)
    mixture = f"q(z) the mixture of the posteriors of {n:,} test images, a draw of each{how}"
    return [
        Result(
            "mutual_information_nats",
            parts.mutual_information_nats,
            "nats",
            f"I(x; z), {mixture}: at most log {n:,} = {math.log(n):.2f}",
            n,
            SEED,
            seconds,
        ),
        Result(
            "marginal_kl_nats",
            parts.marginal_kl_nats,
            "nats",
            f"KL(q(z) || p(z)), {mixture}",
            n,
            SEED,
            seconds,
        ),
    ]


@torch.no_grad()
def importance_weighted(
    trained: Trained,
    operations: Mapping[str, nn.Module],
    test: Dataset,
    elbo_nats: float,
    device: torch.device,
) -> list[Result]:
    """IW_IMAGES of the test images, evenly spaced; on CUDA all of them.

    Args:
        elbo_nats: mean over all test images. The bound's gap to it varies far less from image to image than either.
    """
    started = time.monotonic()
    on_cuda = device.type == "cuda"
    observations, how = observed(trained, test.images)
    count, told = len(observations) if on_cuda else IW_IMAGES, trained.told(test)
    images = torch.from_numpy(spread(observations, count))
    x = torch.cat(list(batches(images, device)))
    labels = None if told is None else torch.from_numpy(spread(told, count)).to(device)
    posteriors = [operations["encode"](batch) for batch in batches(images, device)]
    mean, logvar = (torch.cat(parts) for parts in zip(*posteriors, strict=True))

    def log_likelihood(index: int, z: Tensor) -> Tensor:
        of = () if labels is None else (labels[index].expand(len(z)),)
        return _log_likelihood(trained, x[index], operations["generate"](z, *of))

    batch = IW_CUDA_BATCH if on_cuda else BATCH
    log_prior = learned_log_prior(operations) or standard_normal_log_density_nats
    bounds = importance_weighted_bounds(mean, logvar, log_likelihood, IW_DRAWS, SEED, batch, log_prior)
    values, gaps = bounds.importance_weighted_nats, bounds.importance_weighted_nats - bounds.elbo_nats
    n, seconds, name = len(values), seconds_since(started), f"iw{IW_DRAWS}"
    pixels = x[0].numel()
    # A density over [0, 1] becomes a probability of 256 grey levels, 1/256 apart: 8 bits more a pixel.
    grey_level_bits = 0.0 if stddev(trained) is None else 8.0
    density = "p(x|y)" if trained.classes else "p(x)"
    protocol = (
        f"importance-weighted bound of log {density}, {IW_DRAWS:,} draws of q(z|x), mean over {n:,} test images"
        + ("" if n == len(observations) else ", evenly spaced")
        + how
    )

    def result(suffix: str, value: float, unit: str, protocol: str) -> Result:
        return Result(f"{name}_{suffix}", value, unit, protocol, n, SEED, seconds)

    return [
        result("nats", float(values.mean()), "nats", protocol),
        result("nats_standard_error", _standard_error(values), "nats", f"of {name}_nats, over its images"),
        result(
            "bits_per_dim",
            -float(values.mean()) / (pixels * math.log(2)) + grey_level_bits,
            "bits",
            f"{protocol}, a pixel",
        ),
        result("gap_nats", float(gaps.mean()), "nats", f"{name}_nats less the ELBO of the same draws"),
        result(
            "gap_nats_standard_error", _standard_error(gaps), "nats", f"of {name}_gap_nats, over its images"
        ),
        result(
            "all_nats",
            elbo_nats + float(gaps.mean()),
            "nats",
            f"elbo_nats of all test images and {name}_gap_nats, whose standard error it has",
        ),
    ]


def _standard_error(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))
