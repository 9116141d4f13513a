"""What discriminators trained to optimality give a frozen generator: the gradients, and their noise."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.optim import Adam

from training.config import Config
from training.datasets import Dataset
from training.families.gan import GAN, GANConfig
from training.losses import minimax_discriminator, minimax_generator, nonsaturating_generator
from training.networks import Discriminator, ImageShape
from training.player import Player, Progress
from training.schedule import micro_batches

LOSSES = {"minimax": minimax_generator, "nonsaturating": nonsaturating_generator}
SHAPE: ImageShape = (1, 28, 28)


def aged_generators(
    config: Config, train: Dataset, ages_images: Sequence[int], device: torch.device
) -> Iterator[tuple[int, nn.Module]]:
    """The generator of one GAN as its training passes each of `ages_images` (ascending), without weight average.

    It normalises by batch, and trains on when the next age is asked for.
    """
    images = torch.from_numpy(train.images).to(device)
    fabric = Fabric(accelerator=device.type, devices=1)
    torch.manual_seed(config.seed)
    family = GAN(gan_model(config), SHAPE)
    options = config.optimizer
    players = {
        name: Player(network, Adam(network.parameters(), lr=options.lr, betas=options.betas), fabric)
        for name, network in family.networks.items()
    }
    random_state = torch.get_rng_state()
    step = 0
    for age in ages_images:
        # What is done with the generator between two ages must not change the next.
        torch.set_rng_state(random_state)
        while step * config.batch_size < age:
            batches = micro_batches(images, None, config, step, 0, 1)
            seen = step * config.batch_size
            family.step(players, batches, Progress(step, seen, seen / config.images))
            step += 1
        random_state = torch.get_rng_state()
        yield age, players["generator"].plain


def train_discriminators(
    model: GANConfig,
    generator: nn.Module,
    train: Dataset,
    test: Dataset,
    noise_sd: float,
    options: Mapping[str, Any],
    device: torch.device,
) -> list[dict[str, float]]:
    """Two fresh discriminators against one frozen generator; a row at step 0 and at each log-spaced step.

    They share nothing but the task, so where both near the optimum, what differs between the gradients that they
    give is the error of a discriminator, whose effect Arjovsky & Bottou 2017, theorem 2.6, is about:
    `agreement_*` is the cosine between the two. The rest of a row is of the first: `loss_d` (nats; 2 log 2 at
    chance) and `d_of_fake` (mean D(G(z))), of images not trained on, and `gradient_statistics`. With `noise_sd`,
    real and generated images carry Gaussian noise (of pixels in [0, 1]) wherever they are judged.
    """
    reals = torch.from_numpy(train.images).to(device)
    unseen = torch.from_numpy(test.images[: options["test_images"]]).to(device).float() / 255
    batch_size = options["batch_size"]
    latents = torch.randn(options["probe_batches"], batch_size, model.latent_dim, device=device)
    channels, features = model.discriminator_channels, model.discriminator_features
    pair = [Discriminator(SHAPE, channels, features, "none", 1, 1, normalise=False).to(device) for _ in "ab"]
    optimizers = [Adam(discriminator.parameters(), lr=options["lr"]) for discriminator in pair]

    def judge(discriminator: Discriminator, images: Tensor) -> Tensor:
        noisy = images + noise_sd * torch.randn_like(images) if noise_sd else images
        logits: Tensor = discriminator(noisy)
        return logits

    def update(discriminator: Discriminator, optimizer: Adam) -> None:
        chosen = torch.randint(len(reals), (batch_size,)).to(device)
        with torch.no_grad():
            fakes = generator(torch.randn(batch_size, model.latent_dim, device=device))
        real, fake = judge(discriminator, reals[chosen].float() / 255), judge(discriminator, fakes)
        optimizer.zero_grad(set_to_none=True)
        minimax_discriminator(real, fake).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def probe() -> dict[str, float]:
        first, second = (batch_gradients(generator, partial(judge, d), latents) for d in pair)
        with torch.no_grad():
            fake = torch.cat([judge(pair[0], generator(z)) for z in latents])
            loss = minimax_discriminator(judge(pair[0], unseen), fake).item()
        row = {"loss_d": loss, "d_of_fake": torch.sigmoid(fake).mean().item()}
        for name in LOSSES:
            row |= {f"{key}_{name}": value for key, value in gradient_statistics(first[name]).items()}
            means = first[name].mean(0), second[name].mean(0)
            row[f"agreement_{name}"] = cosine_similarity(*means, dim=0).item()
        return row

    due = log_spaced(options["steps"], options["points"])
    rows = [{"step": 0, **probe()}]
    # A sure discriminator has gradients so small that their squares, in Adam, are denormal: that is slow.
    torch.set_flush_denormal(True)
    for step in range(1, options["steps"] + 1):
        for discriminator, optimizer in zip(pair, optimizers, strict=True):
            update(discriminator, optimizer)
        if step in due:
            rows.append({"step": step, **probe()})
    torch.set_flush_denormal(False)
    return rows


def batch_gradients(
    generator: nn.Module, judge: Callable[[Tensor], Tensor], latents: Tensor
) -> dict[str, Tensor]:
    """Each loss's gradient in the generator's parameters, (K, P) float64, a row a batch of `latents` (K, B, D).

    `judge` turns images into logits.
    """
    parameters = list(generator.parameters())
    rows: dict[str, list[Tensor]] = {name: [] for name in LOSSES}
    for z in latents:
        logits = judge(generator(z))
        for name, loss in LOSSES.items():
            parts = torch.autograd.grad(loss(logits, logits), parameters, retain_graph=True)
            rows[name].append(torch.cat([part.flatten() for part in parts]))
    return {name: torch.stack(gradients).double() for name, gradients in rows.items()}


def gradient_statistics(gradients: Tensor) -> dict[str, float]:
    """Size and noise of the gradients (K, P) of K >= 2 batches.

    `norm` is that of their mean; `sd` the root of their variance (K - 1) summed over P; `cosine` the mean cosine
    between the gradients of two batches.
    """
    k = len(gradients)
    directions = gradients / gradients.norm(dim=1, keepdim=True)
    return {
        "norm": gradients.mean(0).norm().item(),
        "sd": gradients.var(0).sum().sqrt().item(),
        # The squared sum of K unit vectors is K and twice the cosine of each pair.
        "cosine": (directions.sum(0).square().sum().item() - k) / (k * (k - 1)),
    }


def log_spaced(last: int, points: int) -> list[int]:
    """1, ..., `last`: at most `points` whole numbers, evenly spaced in their logarithm."""
    return sorted({round(math.exp(i / (points - 1) * math.log(last))) for i in range(points)})


def gan_model(config: Config) -> GANConfig:
    if not isinstance(config.model, GANConfig):
        raise TypeError(f"{config.name}: expected the config of a GAN, found {config.family}")
    return config.model
