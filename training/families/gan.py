"""Generative adversarial network (Goodfellow et al. 2014), with the losses and cures that followed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.losses import GAN_LOSSES, gradient_penalty, zero_centred_penalty
from training.networks import (
    Coupling,
    Decoder,
    Discriminator,
    ImageShape,
    InTurn,
    ServedDiscriminator,
    class_count,
)
from training.player import Batch, Player, Progress, Scalars


@dataclass(frozen=True)
class GANConfig:
    latent_dim: int
    generator_channels: tuple[int, int]
    discriminator_channels: tuple[int, int, int]
    discriminator_features: int
    """Length of the feature vector before the logit: A of minibatch discrimination."""
    loss: Literal["minimax", "nonsaturating", "hinge", "wasserstein", "relativistic"]
    conditional: bool = False
    """On the class: of the generator by a bias of its first layer, of the discriminator by projection."""
    coupling: Coupling = "none"
    kernels: int = 32
    """Minibatch discrimination: B."""
    kernel_dim: int = 8
    """Minibatch discrimination: C."""
    spectral_norm: bool = False
    """On the discriminator (Miyato et al. 2018)."""
    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gp_lambda: float = 0.0
    """WGAN-GP's penalty."""
    penalty_every: int = 1
    """Penalties are taken every so many steps, times as strong (Karras et al. 2020, lazy regularisation)."""


class Generator(Decoder):
    """z (N, latent_dim), and labels (N,) where there are classes -> images (N, C, H, W) in [0, 1]."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.sigmoid(super().forward(z, labels))


class GAN:
    averaged: tuple[str, ...] = ("generator",)

    def __init__(self, config: GANConfig, shape: ImageShape, classes: int = 0) -> None:
        self.config = config
        self.classes = class_count(classes, conditional=config.conditional)
        self.discriminator_loss, self.generator_loss = GAN_LOSSES[config.loss]
        self.networks: dict[str, nn.Module] = {
            "generator": Generator(shape, config.generator_channels, config.latent_dim, self.classes),
            "discriminator": Discriminator(
                shape,
                config.discriminator_channels,
                config.discriminator_features,
                config.coupling,
                config.kernels,
                config.kernel_dim,
                config.spectral_norm,
                self.classes,
            ),
        }

    def step(
        self, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, Tensor]:
        """One update of the discriminator, then one of the generator, each on fresh latents."""
        penalise = progress.step % self.config.penalty_every == 0
        d = self._update_discriminator(players["generator"], players["discriminator"], batches, penalise)
        g = self._update_generator(players["generator"], players["discriminator"], batches)
        return {**d, **g}

    def _update_discriminator(
        self, generator: Player, discriminator: Player, batches: Sequence[Batch], penalise: bool
    ) -> dict[str, Tensor]:
        config = self.config

        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            reals, of = batch.images, self._labels(batch)
            with torch.no_grad():
                fakes = generator.network(self._latents(reals), *of).float()
            real = discriminator.network(reals, *of).float()
            fake = discriminator.network(fakes, *of).float()
            value = self.discriminator_loss(real, fake)
            scalars = {"loss_d": value, "logit_real": real.mean(), "logit_fake": fake.mean()}

            def critic(images: Tensor) -> Tensor:
                logits: Tensor = discriminator.plain(images, *of)
                return logits

            if penalise:
                value = value + config.penalty_every * self._penalty(critic, reals, fakes)
            return value, scalars

        return discriminator.update(batches, loss)

    def _update_generator(
        self, generator: Player, discriminator: Player, batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            images, of = batch.images, self._labels(batch)
            # The plain module: this pass trains the generator, so the discriminator's gradients need no exchange.
            with discriminator.autocast():
                fakes = generator.network(self._latents(images), *of)
                fake = discriminator.plain(fakes, *of).float()
                needs_real = self.config.loss == "relativistic"
                real = discriminator.plain(images, *of).float() if needs_real else torch.zeros_like(fake)
            value = self.generator_loss(real, fake)
            return value, {"loss_g": value}

        discriminator.plain.requires_grad_(False)
        scalars = generator.update(batches, loss)
        discriminator.plain.requires_grad_(True)
        return scalars

    def _labels(self, batch: Batch) -> tuple[Tensor, ...]:
        """What networks are told beside images or latents: fakes are of the classes of the reals beside them."""
        return (batch.labels,) if self.classes and batch.labels is not None else ()

    def _penalty(self, critic: Callable[[Tensor], Tensor], reals: Tensor, fakes: Tensor) -> Tensor:
        """The sum of the penalties asked for, in float32: their second derivatives overflow in less."""
        config = self.config
        penalty = torch.zeros((), device=reals.device)
        if config.r1_gamma:
            penalty = penalty + config.r1_gamma / 2 * zero_centred_penalty(critic, reals)
        if config.r2_gamma:
            penalty = penalty + config.r2_gamma / 2 * zero_centred_penalty(critic, fakes)
        if config.gp_lambda:
            penalty = penalty + config.gp_lambda * gradient_penalty(critic, reals, fakes)
        return penalty

    def _latents(self, images: Tensor) -> Tensor:
        return torch.randn(len(images), self.config.latent_dim, device=images.device)

    def preview(self, networks: Mapping[str, nn.Module], images: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        """Samples, of the classes in turn where there are classes."""
        generator = networks["generator"]
        out: Tensor = (InTurn(generator, self.classes) if self.classes else generator)(z)
        return out

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:
        """The discriminator sees each image among `reference`, a batch less one of training images."""
        discriminator = networks["discriminator"]
        if not isinstance(discriminator, Discriminator):
            raise TypeError(f"discriminator is a {type(discriminator).__name__}")
        return {
            "generate": networks["generator"],
            "discriminate": ServedDiscriminator(discriminator, reference),
        }
