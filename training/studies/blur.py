"""Why samples of a VAE are blurred and those of a GAN are not: sharpness, spectra, and half-hidden digits."""

from typing import Any

from training.studies import blur_page
from training.studies.blur_runs import execute
from training.studies.study import Run, Study

LOG_EVERY_IMAGES = 6_400
"""The default of a recipe; a shorter run would log nothing."""
SMALL = {"encoder_channels": [16, 32, 32], "decoder_channels": [32, 16]}
CRITIC = {"discriminator_channels": [16, 32, 32], "discriminator_features": 64}


def plan(quick: bool) -> list[Run]:
    samples = 200 if quick else 5_000
    images = 2_400 if quick else 25_600
    asked = {"n": 200 if quick else 1_000, "k": 30, "ambiguous": 20 if quick else 100}
    runs = [
        Run("data", {"kind": "data", "samples": samples}),
        Run("neighbours", {"kind": "neighbours", "asked": asked}),
        *(
            Run(name, {"kind": "published", "samples": samples, "model": name})
            for name in ("mnist-vae", "mnist-gan")
        ),
    ]
    for seed in range(1 if quick else 3):
        runs += [
            Run(f"{name}-{seed}", {"kind": "family", "samples": samples, "recipe": recipe}, (seed,))
            for name, recipe in _recipes(images).items()
        ]
        vae_gan = _adversarial(images, 5.0, {"latent_dim": 16})
        runs.append(
            Run(f"vae-gan-{seed}", {"kind": "vae-gan", "samples": samples, "model": vae_gan}, (seed,))
        )
        for name, weight in {"mse": 0.0, "adversarial": 5.0}.items():
            model = _adversarial(images, weight, {"latent_dim": 64, "noise_dim": 16})
            config = {"kind": "completion", "asked": asked, "model": model}
            runs.append(Run(f"completion-{name}-{seed}", config, (seed,)))
    return runs


def _recipes(images: int) -> dict[str, dict[str, Any]]:
    """What the families train: the decoder is the same in all."""
    common = {"description": "", "dataset": "mnist", "images": images, "batch_size": 32}
    if images < LOG_EVERY_IMAGES:
        common["log_every_images"] = images // 2
    recipes = {
        f"vae-{likelihood}": {
            **common,
            "family": "vae",
            "ema_half_life_images": 5_000,
            "optimizer": {"lr": 2e-3, "warmup_images": 1_600, "decay": "cosine"},
            "model": {**SMALL, "latent_dim": 16, "likelihood": likelihood},
        }
        for likelihood in ("gaussian", "bernoulli")
    }
    gan = {"latent_dim": 64, "generator_channels": SMALL["decoder_channels"], "loss": "nonsaturating"}
    recipes["gan"] = {
        **common,
        "family": "gan",
        "ema_half_life_images": 5_000,
        "optimizer": {"lr": 1e-3, "betas": [0.5, 0.99]},
        "model": {**CRITIC, **gan},
    }
    return {name: {**recipe, "name": name} for name, recipe in recipes.items()}


def _adversarial(images: int, weight: float, extra: dict[str, Any]) -> dict[str, Any]:
    steps = {"images": images, "batch_size": 32, "lr": 2e-3, "lr_discriminator": 1e-3, "betas": [0.5, 0.99]}
    return {**SMALL, **CRITIC, **steps, "adversarial_weight": weight, **extra}


STUDY = Study(
    name="blur",
    title="A pixel likelihood gives the mean of what fits, an adversary makes the model choose",
    claim="The decoder that maximises a Gaussian or Bernoulli likelihood of pixels gives their mean under all images "
    "that fit the latent (for squared error the conditional mean, Bishop 2006, section 1.5.5): where several "
    "fit, that is their average, which is blurred and like none of them. A discriminator would tell an average "
    "from an image, so a GAN has to choose, and so has a VAE with an adversarial term (Larsen et al. 2016).",
    plan=plan,
    execute=execute,
    headline=blur_page.headline,
    page=blur_page.page,
)
