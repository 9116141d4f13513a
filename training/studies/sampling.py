"""An autoencoder is no generator until its codes have a known distribution; afterwards it is one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config import parse
from training.datasets import Dataset, load, spread
from training.metrics.frechet import frechet_distance
from training.priors import Mixture, fit_mixture
from training.studies.codes import decoded, encoded, log_density_nats
from training.studies.networks import train_family
from training.studies.quality import mnist_features, quality
from training.studies.sampling_page import headline, page
from training.studies.study import Arrays, Device, Outcome, Run, Study

SEEDS = (0, 1, 2)
FAMILIES = ("ae", "vae")
COMPONENTS = (1, 10, 64)
"""Of the fitted mixtures: a Gaussian; that of Ghosh et al.; that of the published models."""
DRAWN = "mixture10"
"""Whose components are drawn as ellipses."""
SHOWN = 48
POINTS = 1_200
HELD_OUT = 1_000
"""Added to a seed: draws for test images must not be those that a prior was fitted to."""


def plan(quick: bool) -> list[Run]:
    images, fitted, samples, neighbours = (
        (10_000, 1_000, 500, 200) if quick else (80_000, 20_000, 10_000, 5_000)
    )
    compared = {"samples": samples, "neighbour_samples": neighbours}
    measured = {**compared, "fitted_codes": fitted, "components": list(COMPONENTS)}
    runs = [
        Run(f"{family}-seed{seed}", {"train": _config(family, images, quick), **measured}, (seed,))
        for seed in (SEEDS[:1] if quick else SEEDS)
        for family in FAMILIES
    ]
    return [Run("training-images", compared), *runs]


def _config(family: str, images: int, quick: bool) -> dict[str, Any]:
    """The recipes mnist-ae and mnist-vae, shorter and with fewer channels."""
    model: dict[str, Any] = {"latent_dim": 16, "encoder_channels": [16, 32, 64], "decoder_channels": [64, 32]}
    if quick:
        model |= {"encoder_channels": [8, 16, 32], "decoder_channels": [32, 16]}
    if family == "vae":
        model |= {"likelihood": "bernoulli", "kl_warmup_images": images // 12}
    return {
        "name": f"sampling-{family}",
        "description": "",
        "family": family,
        "dataset": "mnist",
        "images": images,
        "batch_size": 32 if quick else 64,
        "ema_half_life_images": images // 50,
        "log_every_images": images // 20,
        "grid_every_images": images,
        "checkpoint_every_images": images,
        "optimizer": {"lr": 5e-3 if quick else 2e-3, "warmup_images": images // 40, "decay": "cosine"},
        "model": model,
    }


def execute(run: Run, device: Device) -> Outcome:
    train, test = load("mnist", "train"), load("mnist", "test")
    n, neighbours = run.config["samples"], run.config["neighbour_samples"]
    space, real = mnist_features(n, device)
    if "train" not in run.config:
        fake, _ = space(torch.from_numpy(spread(train.images, n)))
        return Outcome(quality(real, fake, neighbours), [])
    seed = run.seeds[0]
    trained, log = train_family(parse({**run.config["train"], "seed": seed}), train, device)
    operations = trained.operations(train, device)
    generate, encode = operations["generate"], operations["encode"]
    codes, held_out, reconstructed = (
        encoded(encode, torch.from_numpy(images), device)
        for images in (
            spread(train.images, run.config["fitted_codes"]),
            spread(test.images, POINTS),
            spread(test.images, n),
        )
    )
    fitted_codes, test_codes = codes.drawn(seed), held_out.drawn(seed + HELD_OUT)
    priors = fit(fitted_codes, run.config["components"], seed)
    results: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, prior in priors.items():
        eps = torch.randn(n, fitted_codes.shape[1], generator=torch.Generator().manual_seed(seed))
        images = decoded(generate, eps if prior is None else prior(eps), device)
        results[name] = quality(real, space(images)[0], neighbours)
        results[name]["code_log_density_nats"] = float(log_density_nats(prior, test_codes).mean())
        arrays[f"samples_{name}"] = images[:SHOWN, 0].numpy()
    rebuilt = decoded(generate, reconstructed.drawn(seed), device)
    results["reconstructions_fd"] = frechet_distance(real, space(rebuilt)[0])
    results["code_sd"] = [float(v) for v in fitted_codes.std(0)]
    # Pictures are of the first seed alone.
    pictures = {**arrays, **plane(priors, fitted_codes, test_codes, test)} if seed == SEEDS[0] else {}
    return Outcome(results, log, pictures)


def fit(codes: Tensor, components: Sequence[int], seed: int) -> dict[str, Mixture | None]:
    """Where to draw codes from, in the order of the page: N(0, I) (None), mixtures fitted to `codes` (N, D)."""
    return {"normal": None} | {f"mixture{k}": fit_mixture(codes, k, seed) for k in components}


@torch.no_grad()
def plane(priors: Mapping[str, Mixture | None], codes: Tensor, test_codes: Tensor, test: Dataset) -> Arrays:
    """Test codes and draws of each prior on the first two principal axes of the codes, and the mixture DRAWN there."""
    centre = codes.mean(0)
    axes = torch.linalg.svd(codes - centre, full_matrices=False).Vh[:2]  # (2, D)
    eps = torch.randn(POINTS, codes.shape[1], generator=torch.Generator().manual_seed(0))
    draws = {name: eps if prior is None else prior(eps) for name, prior in priors.items()}
    points = {f"plane_{name}": (z - centre) @ axes.T for name, z in draws.items()}
    points["plane_codes"] = (test_codes - centre) @ axes.T
    if (mixture := priors[DRAWN]) is not None:
        flat = axes @ mixture.factors  # (K, 2, D)
        points |= {"mixture_means": (mixture.means - centre) @ axes.T, "mixture_covariances": flat @ flat.mT}
    labels = np.zeros(0, np.int64) if test.labels is None else test.labels
    return {name: array.numpy().astype(np.float32) for name, array in points.items()} | {
        "digits": labels[np.linspace(0, len(labels) - 1, len(test_codes)).astype(np.int64)].astype(np.uint8)
    }


STUDY = Study(
    name="sampling",
    title="Where do codes come from? Sampling a plain autoencoder and a VAE",
    claim=(
        "An autoencoder's decoder is trained on its codes alone, whose distribution nobody chose: decoded from "
        "N(0, I) it is no generator. A density fitted to the codes afterwards makes the same decoder one (Ghosh et "
        "al. 2020). A VAE's KL term pulls its codes to N(0, I), yet not all the way, so it gains too, but less (Dai & "
        "Wipf 2019)."
    ),
    plan=plan,
    execute=execute,
    headline=headline,
    page=page,
)
