"""Variational autoencoder (Kingma & Welling 2014): q(z|x) = N(mean, diag exp(logvar)), p(z) = N(0, I)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.losses import free_bits
from training.metrics.elbo import gaussian_kl_nats, gaussian_log_likelihood_nats
from training.networks import Decoder, Encoder, ImageShape
from training.player import Batch, Player, Progress, Scalars


@dataclass(frozen=True)
class VAEConfig:
    latent_dim: int
    encoder_channels: tuple[int, int, int]
    decoder_channels: tuple[int, int]
    likelihood: Literal["bernoulli", "gaussian"]
    """gaussian: one standard deviation for all pixels, learned (Rybkin et al. 2021, sigma-VAE)."""
    beta: float = 1.0
    """Weight of the KL term (Higgins et al. 2017); 1 is the ELBO."""
    kl_warmup_images: int = 0
    """beta grows linearly from 0 over these images (Bowman et al. 2016)."""
    free_bits_nats: float = 0.0
    """KL that each latent dimension may use at no cost."""


class VAENetwork(nn.Module):
    def __init__(self, config: VAEConfig, shape: ImageShape) -> None:
        super().__init__()
        self.encoder = Encoder(shape, config.encoder_channels, config.latent_dim, heads=2)
        self.decoder = Decoder(shape, config.decoder_channels, config.latent_dim)
        if config.likelihood == "gaussian":
            self.log_stddev = nn.Parameter(torch.tensor(math.log(0.3)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, H, W) in [0, 1] -> logits of p(x|z)'s mean at one z ~ q(z|x), and q's mean and logvar (N, D)."""
        mean, logvar = self.encoder(images)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.decoder(z), mean, logvar


class VAE:
    averaged: tuple[str, ...] = ("vae",)

    def __init__(self, config: VAEConfig, shape: ImageShape) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = {"vae": VAENetwork(config, shape)}

    def step(
        self, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, Tensor]:
        """Minimise the negative ELBO (eq. 10 of the paper, one sample), in nats an image."""
        player = players["vae"]
        warmup = self.config.kl_warmup_images
        beta = self.config.beta * (min(1.0, progress.images_seen / warmup) if warmup else 1.0)

        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            logits, mean, logvar = player.network(batch.images)
            kl = gaussian_kl_nats(mean.float(), logvar.float())  # (N, D)
            log_likelihood = self._log_likelihood(player.plain, logits.float(), batch.images).mean()
            elbo = log_likelihood - kl.sum(1).mean()
            scalars = {"elbo_nats": elbo, "log_likelihood_nats": log_likelihood, "kl_nats": kl.sum(1).mean()}
            return beta * free_bits(kl, self.config.free_bits_nats) - log_likelihood, scalars

        return player.update(batches, loss)

    def _log_likelihood(self, network: nn.Module, logits: Tensor, images: Tensor) -> Tensor:
        """log p(x|z), (N,), in nats. Grey pixels are the Bernoulli's mean: the expectation over binarised images."""
        if self.config.likelihood == "bernoulli":
            return -binary_cross_entropy_with_logits(logits, images, reduction="none").flatten(1).sum(1)
        stddev = network.get_parameter("log_stddev").exp()
        return gaussian_log_likelihood_nats(images, torch.sigmoid(logits), stddev)

    def preview(self, networks: Mapping[str, nn.Module], images: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        """Samples from the prior."""
        return torch.sigmoid(networks["vae"].get_submodule("decoder")(z))

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:  # noqa: ARG002
        network = networks["vae"]
        return {
            "encode": network.get_submodule("encoder"),
            "generate": nn.Sequential(network.get_submodule("decoder"), nn.Sigmoid()),
        }
