"""Families: what is trained, by which step, and what it becomes in a bundle. One file each."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from training.families.ae import AE, AEConfig
from training.families.classifier import ClassifierConfig, ClassifierFamily
from training.families.gan import GAN, GANConfig
from training.families.vae import VAE, VAEConfig
from training.networks import ImageShape
from training.player import Batch, Player, Progress

FamilyConfig = AEConfig | VAEConfig | GANConfig | ClassifierConfig

CONFIGS: dict[str, type[FamilyConfig]] = {
    "ae": AEConfig,
    "vae": VAEConfig,
    "gan": GANConfig,
    "classifier": ClassifierConfig,
}


class Family(Protocol):
    """What the loop knows of a family."""

    networks: dict[str, nn.Module]
    """Trained networks by player name."""
    averaged: tuple[str, ...]
    """Names of those that are evaluated and exported as a weight average."""
    helpers: tuple[str, ...]
    """Names of those that others are trained by, and that no bundle has."""

    def step(
        self, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, Tensor]:
        """One training step on micro-batches; returns scalars to log."""

    def preview(self, networks: Mapping[str, nn.Module], images: Tensor, z: Tensor) -> Tensor:
        """Pictures (M, C, H, W) in [0, 1] that show how far the run is, for fixed `images` and normal `z`."""

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:
        """What the bundle offers, by the operation's name; these modules are evaluated and exported.

        `reference` (R, C, H, W) are training images, for operations that need some (a coupled discriminator).
        """


def latent_dim(config: FamilyConfig) -> int:
    """Length of the latent; for a classifier, of its features."""
    return config.features if isinstance(config, ClassifierConfig) else config.latent_dim


def build(config: FamilyConfig, shape: ImageShape, classes: int) -> Family:
    """New networks for images of `shape` (C, H, W), from torch's global random state."""
    match config:
        case AEConfig():
            return AE(config, shape)
        case VAEConfig():
            return VAE(config, shape, classes)
        case GANConfig():
            return GAN(config, shape, classes)
        case ClassifierConfig():
            return ClassifierFamily(config, shape, classes)
