"""Generative adversarial network (Goodfellow et al. 2014), with the losses and cures that followed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from training.annealing import half_cosine
from training.losses import GAN_LOSSES, gradient_penalty
from training.networks import (
    Coupling,
    Decoder,
    Discriminator,
    ImageShape,
    InTurn,
    Judgement,
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
    class_weight: float = 0.0
    """Of a cross-entropy: the discriminator learns the class of reals, the generator that fakes are seen as theirs.

    (Odena et al. 2017, AC-GAN; there the discriminator learns the class of fakes, too.)
    """
    reconstruction_weight: float = 0.0
    """Of the mean squared error of reals that a decoder, half as wide as the generator, draws from the discriminator's
    features (Liu et al. 2021, FastGAN, section 3.2): else these may come to hold nothing that tells digits apart."""
    coupling: Coupling = "none"
    kernels: int = 32
    """Minibatch discrimination: B."""
    kernel_dim: int = 8
    """Minibatch discrimination: C."""
    spectral_norm: bool = False
    """On the discriminator (Miyato et al. 2018)."""
    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gamma_left: float = 1.0
    """Of both gammas at the end of the run: half a cosine leads there (Huang et al. 2024, R3GAN: a tenth)."""
    gp_lambda: float = 0.0
    """WGAN-GP's penalty."""
    latent_scale: float = 1.0
    """Of latents, once it is trained: from N(0, I) times less than 1, images are drawn that are truer and vary less.

    (Brock et al. 2019, BigGAN, section 3.1, by truncation; Kingma & Dhariwal 2018, Glow, section 6, by temperature.)
    """
    penalty_every: int = 1
    """Penalties are taken every so many steps, times as strong (Karras et al. 2020, lazy regularisation)."""

    def __post_init__(self) -> None:
        if self.class_weight and not self.conditional:
            raise ValueError(
                f"class_weight = {self.class_weight}: of a conditional model, so conditional must be true"
            )
        if not self.latent_scale:
            raise ValueError("latent_scale = 0.0: must be positive, all images of a class would be one")


class Generator(Decoder):
    """z (N, latent_dim), and labels (N,) where there are classes -> images (N, C, H, W) in [0, 1]."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.sigmoid(super().forward(z, labels))


class OfScaledLatents(nn.Module):
    """A generator as it is evaluated and served: z ~ N(0, I), (N, latent_dim), is multiplied by `scale`."""

    def __init__(self, generator: nn.Module, scale: float) -> None:
        super().__init__()
        self.generator, self.scale = generator, scale

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        out: Tensor = self.generator(self.scale * z, labels)
        return out


class GAN:
    averaged: tuple[str, ...] = ("generator",)
    helpers: tuple[str, ...] = ()

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
                classes=self.classes,
                classifies=config.class_weight > 0,
            ),
        }
        if config.reconstruction_weight:
            self.helpers = ("decoder",)
            a, b = config.generator_channels
            self.networks["decoder"] = Generator(shape, (a // 2, b // 2), config.discriminator_features)

    def step(
        self, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, Tensor]:
        """One update of the discriminator, then one of the generator, each on fresh latents."""
        d = self._update_discriminator(players, batches, progress)
        g = self._update_generator(players["generator"], players["discriminator"], batches)
        return {**d, **g}

    def _update_discriminator(
        self, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, Tensor]:
        generator, discriminator = players["generator"], players["discriminator"]
        helpers = [players[name] for name in self.helpers]
        config, penalise = self.config, progress.step % self.config.penalty_every == 0
        gamma_left = half_cosine(1.0, config.gamma_left, progress.fraction)

        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            reals, of = batch.images, self._labels(batch)
            with torch.no_grad():
                fakes = generator.network(self._latents(reals), *of).float()
            real, fake = self.judge(discriminator.network, reals, fakes, of, penalise=penalise)
            value = self.discriminator_loss(real.logits, fake.logits)
            scalars = {"loss_d": value, "logit_real": real.logits.mean(), "logit_fake": fake.logits.mean()}
            if real.classes is not None:
                scalars["class_real_nats"] = cross_entropy(real.classes, of[0])
                value = value + config.class_weight * scalars["class_real_nats"]
            for decoder in helpers:
                scalars["reconstruction_mse"] = mse_loss(decoder.network(real.features), reals)
                value = value + config.reconstruction_weight * scalars["reconstruction_mse"]
            for gamma, judged in ((config.r1_gamma, real), (config.r2_gamma, fake)):
                if gamma and judged.slopes is not None:
                    value = value + config.penalty_every * gamma_left * gamma / 2 * judged.slopes.mean()
            if config.gp_lambda and penalise:
                critic = partial(self._plain, discriminator, of)
                penalty = gradient_penalty(critic, reals, fakes)
                value = value + config.penalty_every * config.gp_lambda * penalty
            return value, scalars

        return discriminator.update(batches, loss, helpers)

    def _update_generator(
        self, generator: Player, discriminator: Player, batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            images, of = batch.images, self._labels(batch)
            # Not the wrapped module: this pass trains the generator, the discriminator's gradients need no exchange.
            fakes = generator.network(self._latents(images), *of)
            with discriminator.autocast():
                fake: Judgement = discriminator.plain(fakes, *of, judge=True)
            needs_real = self.config.loss == "relativistic"
            real = self._plain(discriminator, of, images) if needs_real else torch.zeros_like(fake.logits)
            value = self.generator_loss(real, fake.logits)
            scalars = {"loss_g": value}
            if fake.classes is not None:
                scalars["class_fake_nats"] = cross_entropy(fake.classes, of[0])
                value = value + self.config.class_weight * scalars["class_fake_nats"]
            return value, scalars

        discriminator.plain.requires_grad_(False)
        scalars = generator.update(batches, loss)
        discriminator.plain.requires_grad_(True)
        return scalars

    def _labels(self, batch: Batch) -> tuple[Tensor, ...]:
        """What networks are told beside images or latents: fakes are of the classes of the reals beside them."""
        return (batch.labels,) if self.classes and batch.labels is not None else ()

    def judge(
        self,
        discriminator: nn.Module,
        reals: Tensor,
        fakes: Tensor,
        of: tuple[Tensor, ...],
        *,
        penalise: bool = False,
    ) -> tuple[Judgement, Judgement]:
        """What is said of both: in one pass, unless logits depend on their batch or slopes are asked of one side only.

        `penalise`: with the slopes, where there is a gamma for them.
        """
        r1, r2 = penalise and self.config.r1_gamma > 0, penalise and self.config.r2_gamma > 0
        if self.config.coupling != "none" or r1 != r2:
            real = discriminator(reals, *of, judge=True, slopes=r1)
            return real, discriminator(fakes, *of, judge=True, slopes=r2)
        twice = (labels.repeat(2) for labels in of)
        return _halves(discriminator(torch.cat([reals, fakes]), *twice, judge=True, slopes=r1))

    def _plain(self, discriminator: Player, of: tuple[Tensor, ...], images: Tensor) -> Tensor:
        """Logits in the run's precision, by the module itself."""
        with discriminator.autocast():
            logits: Tensor = discriminator.plain(images, *of)
        return logits

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
        generator, scale = networks["generator"], self.config.latent_scale
        return {
            "generate": generator if scale == 1 else OfScaledLatents(generator, scale),
            "discriminate": ServedDiscriminator(discriminator, reference),
        }


def _halves(judged: Judgement) -> tuple[Judgement, Judgement]:
    def part(rows: slice) -> Judgement:
        logits, classes, slopes, features = judged
        return Judgement(
            logits[rows],
            None if classes is None else classes[rows],
            None if slopes is None else slopes[rows],
            features[rows],
        )

    n = len(judged.logits) // 2
    return part(slice(None, n)), part(slice(n, None))
