"""The generator's gradient vanishes, or turns noisy, where the discriminator is optimal."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.config import parse
from training.datasets import load
from training.studies import vanishing_page
from training.studies.study import Device, Outcome, Run, Study
from training.studies.vanishing_probe import aged_generators, gan_model, train_discriminators


def plan(quick: bool) -> list[Run]:
    config = {
        "gan": {
            "name": "vanishing",
            "description": "A small non-saturating GAN, whose generator is frozen at several ages.",
            "family": "gan",
            "dataset": "mnist",
            "images": 640 if quick else 64_000,
            "batch_size": 64,
            "optimizer": {"lr": 1e-3, "betas": [0.5, 0.999]},
            "model": {
                "latent_dim": 32,
                "generator_channels": [32, 16],
                "discriminator_channels": [16, 32, 32],
                "discriminator_features": 64,
                "loss": "nonsaturating",
            },
        },
        "ages_images": [640] if quick else [0, 12_800, 64_000],
        "noise_sds": [0.0, 0.5],
        "probe": {
            "steps": 40 if quick else 300,
            "points": 4 if quick else 11,
            "batch_size": 64,
            "lr": 1e-3,
            "probe_batches": 3 if quick else 6,
            "test_images": 256 if quick else 1_000,
        },
    }
    return [Run(f"seed{seed}", config, (seed,)) for seed in range(1 if quick else 3)]


def execute(run: Run, device: Device) -> Outcome:
    seed = run.seeds[0]
    gan = parse({**run.config["gan"], "seed": seed})
    train, test = load(gan.dataset, "train"), load(gan.dataset, "test")
    log: list[dict[str, Any]] = []
    sheets = []
    for age, generator in aged_generators(gan, train, run.config["ages_images"], device):
        for noise_sd in run.config["noise_sds"]:
            torch.manual_seed(1_000 + seed)
            probe = run.config["probe"]
            rows = train_discriminators(gan_model(gan), generator, train, test, noise_sd, probe, device)
            log += [{"age_images": age, "noise_sd": noise_sd, **row} for row in rows]
        z = torch.randn(64, gan_model(gan).latent_dim, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            sheets.append((generator(z.to(device))[:24, 0] * 255).round().byte().cpu())
    return Outcome(summary(log), log, {"samples": torch.stack(sheets).numpy()})


def summary(log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`<age>/<noise sd>` -> each number at the first, at its highest and at the last logged step."""
    results = {}
    for age, sd in dict.fromkeys((row["age_images"], row["noise_sd"]) for row in log):
        rows = [row for row in log if (row["age_images"], row["noise_sd"]) == (age, sd)]
        keys = [key for key in rows[0] if key not in {"age_images", "noise_sd", "step"}]
        results[f"{age}/{sd}"] = {
            key: [rows[0][key], max(row[key] for row in rows), rows[-1][key]] for key in keys
        }
    return results


STUDY = Study(
    name="vanishing",
    title="An optimal discriminator gives the generator no gradient, or a noisy one",
    claim="Where the discriminator is sure, log(1 - D(G(z))) is flat, and -log D(G(z)) is not (Goodfellow et al. "
    "2014, section 3). As data and samples lie on different thin manifolds, a perfect discriminator exists: near it "
    "the first loss's gradient vanishes (Arjovsky & Bottou 2017, theorem 2.4, figure 2), and the second's grows and "
    "follows the discriminator's errors (theorem 2.6, figure 3). Noise on the images of both kinds makes the "
    "distributions overlap and takes the perfect discriminator away (their section 3; Sonderby et al. 2017).",
    plan=plan,
    execute=execute,
    headline=vanishing_page.headline,
    page=vanishing_page.page,
)
