"""What the KL term of a VAE costs and buys: rate against distortion, from no price to a price that nothing is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.config import parse
from training.datasets import Dataset, load, spread
from training.evaluate import elbo_terms
from training.metrics.aggregate_posterior import elbo_surgery
from training.metrics.elbo import active_units, bernoulli_log_likelihood_nats
from training.metrics.frechet import frechet_distance
from training.priors import fit_mixture
from training.studies.codes import Codes, decoded, encoded, log_density_nats
from training.studies.kl_page import headline, page
from training.studies.networks import train_family
from training.studies.quality import mnist_features
from training.studies.study import Arrays, Device, Outcome, Run, Study

SEEDS = (0, 1, 2)
BETAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
COMPONENTS = 10
LEAST_LOGVAR = -12.0
ELBO_SAMPLES = 1
SHOWN = 10
POINTS = 600


def plan(quick: bool) -> list[Run]:
    betas: Sequence[float] = (0.25, 8.0, 64.0) if quick else BETAS
    images, measured, samples = (4_000, 1_000, 250) if quick else (30_000, 5_000, 2_000)
    return [
        Run(
            f"beta{beta:g}-seed{seed}",
            {"train": _config(beta, images, quick), "test_images": measured, "samples": samples},
            (seed,),
        )
        for seed in (SEEDS[:1] if quick else SEEDS)
        for beta in betas
    ]


def _config(beta: float, images: int, quick: bool) -> dict[str, Any]:
    """The recipe mnist-vae with small networks, without a warm-up of the KL."""
    return {
        "name": "kl",
        "description": "",
        "family": "vae",
        "dataset": "mnist",
        "images": images,
        "batch_size": 32 if quick else 64,
        "ema_half_life_images": images // 40,
        "log_every_images": images // 20,
        "grid_every_images": images,
        "checkpoint_every_images": images,
        "optimizer": {"lr": 3e-3, "warmup_images": images // 20, "decay": "cosine"},
        "model": {
            "latent_dim": 16,
            "encoder_channels": [8, 16, 32],
            "decoder_channels": [32, 16],
            "likelihood": "bernoulli",
            "beta": beta,
        },
    }


def execute(run: Run, device: Device) -> Outcome:
    train, test = load("mnist", "train"), load("mnist", "test")
    seed, n = run.seeds[0], run.config["test_images"]
    trained, log = train_family(parse({**run.config["train"], "seed": seed}), train, device)
    operations = trained.operations(train, device)
    encode, generate = operations["encode"], operations["generate"]
    images = torch.from_numpy(spread(test.images, n))
    log_likelihood, rate, means = elbo_terms(trained, operations, images, device, ELBO_SAMPLES)
    codes = encoded(encode, images, device)
    kl = codes.kl_nats()
    order = kl.mean(0).argsort(descending=True)
    eps = torch.randn(run.config["samples"], means.shape[1], generator=torch.Generator().manual_seed(seed))
    samples = decoded(generate, eps, device)
    space, real = mnist_features(len(samples), device)
    results = {
        "rate_nats": float(rate.mean()),
        "distortion_nats": float(-log_likelihood.mean()),
        "kl_per_dimension_nats": [round(float(v), 5) for v in kl.mean(0)[order]],
        "active_units": int(active_units(means).sum()),
        **aggregate(codes, encoded(encode, torch.from_numpy(spread(train.images, n)), device), seed),
        "fd": frechet_distance(real, space(samples)[0]),
        "mean_image_distortion_nats": constant_distortion(
            images, torch.from_numpy(train.images).float().mean(0) / 255
        ),
        "least_distortion_nats": constant_distortion(images, None),
    }
    # Pictures are of the first seed alone.
    pictures = _pictures(codes, order, samples, operations, test, device) if seed == SEEDS[0] else {}
    return Outcome(results, log, pictures)


def aggregate(codes: Codes, train_codes: Codes, seed: int) -> dict[str, float]:
    """Where I(x; z) and KL(q(z) || p(z)) lie.

    The mixture of the posteriors of N test images stands for q(z): I(x; z) of N images is at most log N, so it is too
    small where images are told apart, and KL(q(z) || p(z)) too large. From below, for any density r, KL(q || p) is at
    least the mean over q(z) of log r(z) - log p(z): r is a mixture fitted to codes of training images.
    """
    rate = float(codes.kl_nats().sum(1).mean())
    assert codes.logvar is not None  # noqa: S101 - narrows the type: it has a rate
    # With noise added, codes tell no more of the image; where posteriors are points, float64 loses their densities.
    information = elbo_surgery(codes.mean, codes.logvar.clamp(min=LEAST_LOGVAR), seed).mutual_information_nats
    # Draws that the mixture was not fitted to.
    z = codes.drawn(seed + 1_000)
    fitted = fit_mixture(train_codes.drawn(seed), COMPONENTS, seed)
    gain = log_density_nats(fitted, z) - log_density_nats(None, z)
    return {
        "information_at_least_nats": information,
        "marginal_kl_at_most_nats": rate - information,
        "marginal_kl_at_least_nats": max(0.0, float(gain.mean())),
    }


def constant_distortion(images: Tensor, mean_image: Tensor | None) -> float:
    """-log p(x|z) in nats, mean over uint8 images, of a decoder that answers `mean_image` (C, H, W) to every code.

    None: of one that answers the image itself, which no decoder undercuts.
    """
    parts = [x.float() / 255 for x in torch.split(images, 1_000)]
    answers = [x if mean_image is None else mean_image.expand_as(x) for x in parts]
    pairs = zip(parts, answers, strict=True)
    return float(-torch.cat([bernoulli_log_likelihood_nats(x, p) for x, p in pairs]).mean())


def _pictures(
    codes: Codes,
    order: Tensor,
    samples: Tensor,
    operations: Mapping[str, nn.Module],
    test: Dataset,
    device: Device,
) -> Arrays:
    """Codes in the two dimensions of the greatest KL, a digit of each class, its reconstruction, samples."""
    labels = np.zeros(len(test.images), np.int64) if test.labels is None else test.labels
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in np.unique(labels)]
    digits = torch.from_numpy(test.images[first])
    # From draws, as the decoder was trained and D is measured: near a collapse z = 0 is a code that it never saw.
    rebuilt = decoded(operations["generate"], encoded(operations["encode"], digits, device).drawn(0), device)
    some = np.linspace(0, len(codes.mean) - 1, POINTS).astype(np.int64)
    return {
        "plane": codes.drawn(0)[:, order[:2]].numpy()[some].astype(np.float32),
        "plane_digits": labels[np.linspace(0, len(labels) - 1, len(codes.mean)).astype(np.int64)][
            some
        ].astype(np.uint8),
        "digits": digits[:, 0].numpy(),
        "reconstructions": rebuilt[:, 0].numpy(),
        "samples": samples[:SHOWN, 0].numpy(),
    }


STUDY = Study(
    name="kl",
    title="What the KL term costs and buys",
    claim=(
        "The KL term of a VAE is a rate, the nats that z carries about x, and -log p(x|z) a distortion; beta is the "
        "price of the one in the other (Kingma & Welling 2014; Higgins et al. 2017; Alemi et al. 2018). The "
        "encoder does not answer N(0, I) to every image because a nat of rate buys more than beta nats of "
        "likelihood; where it does not, it will: the posterior collapses."
    ),
    plan=plan,
    execute=execute,
    headline=headline,
    page=page,
)
