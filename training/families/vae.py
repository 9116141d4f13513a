"""Variational autoencoder (Kingma & Welling 2014): q(z|x) = N(mean, diag exp(logvar)), p(z) = N(0, I)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.binarisation import binarise
from training.losses import free_bits, importance_weighted_bound
from training.metrics.elbo import gaussian_kl_nats, gaussian_log_likelihood_nats
from training.networks import Decoder, Encoder, ImageShape
from training.player import Batch, Player, Progress, Scalars
from training.residual import ResidualDecoder, ResidualEncoder


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
    blocks: int = 0
    """Residual blocks at each of two resolutions (`training.residual`); 0: plain convolutions."""
    pixels: Literal["grey", "binarised"] = "grey"
    """binarised: a Bernoulli likelihood of binary images, drawn anew at each step. Grey ones are means of them."""
    importance_samples: int = 1
    """Draws of q(z|x) an image: above 1 the importance weighted bound of Burda et al. 2016 is maximised."""

    def __post_init__(self) -> None:
        if self.pixels == "binarised" and self.likelihood != "bernoulli":
            raise ValueError(
                f"likelihood = {self.likelihood!r}: binarised pixels have a bernoulli likelihood"
            )
        if self.importance_samples > 1 and self.free_bits_nats:
            raise ValueError("free_bits_nats: of the evidence lower bound, so importance_samples must be 1")


class Drawn(NamedTuple):
    """`logits` (K N, C, H, W) of p(x|z)'s mean, `z` (K, N, D), and q(z|x)'s `mean` and `logvar` (N, D)."""

    logits: Tensor
    z: Tensor
    mean: Tensor
    logvar: Tensor


class VAENetwork(nn.Module):
    def __init__(self, config: VAEConfig, shape: ImageShape) -> None:
        super().__init__()
        self.draws = config.importance_samples
        self.encoder: nn.Module
        self.decoder: nn.Module
        dim, blocks = config.latent_dim, config.blocks
        if blocks:
            self.encoder = ResidualEncoder(shape, config.encoder_channels, dim, heads=2, blocks=blocks)
            self.decoder = ResidualDecoder(shape, config.decoder_channels, dim, blocks)
        else:
            self.encoder = Encoder(shape, config.encoder_channels, dim, heads=2)
            self.decoder = Decoder(shape, config.decoder_channels, dim)
        if config.likelihood == "gaussian":
            self.log_stddev = nn.Parameter(torch.tensor(math.log(0.3)))

    def forward(self, images: Tensor) -> Drawn:
        """(N, C, H, W) in [0, 1] -> K draws of q(z|x) for each, and what p(x|z) is there."""
        mean, logvar = self.encoder(images)
        noise = torch.randn(self.draws, *mean.shape, dtype=mean.dtype, device=mean.device)
        z = mean + torch.exp(0.5 * logvar) * noise
        return Drawn(self.decoder(z.flatten(0, 1)), z, mean, logvar)


class VAE:
    averaged: tuple[str, ...] = ("vae",)

    def __init__(self, config: VAEConfig, shape: ImageShape) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = {"vae": VAENetwork(config, shape)}

    def step(
        self, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, Tensor]:
        """Minimise a negative bound of log p(x), in nats an image: the ELBO (eq. 10 of the paper, one draw), or with
        several draws the importance weighted one."""
        player, config = players["vae"], self.config
        warmup = config.kl_warmup_images
        beta = config.beta * (min(1.0, progress.images_seen / warmup) if warmup else 1.0)

        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            images = binarise(batch.images) if config.pixels == "binarised" else batch.images
            logits, z, mean, logvar = Drawn(*(part.float() for part in player.network(images)))
            kl = gaussian_kl_nats(mean, logvar)  # (N, D)
            likelihoods = self._log_likelihood(player.plain, logits, images)  # (K, N)
            log_likelihood = likelihoods.mean()
            elbo = log_likelihood - kl.sum(1).mean()
            scalars = {"elbo_nats": elbo, "log_likelihood_nats": log_likelihood, "kl_nats": kl.sum(1).mean()}
            if config.importance_samples == 1:
                return beta * free_bits(kl, config.free_bits_nats) - log_likelihood, scalars
            bound = importance_weighted_bound(likelihoods, z, mean, logvar, beta)
            return -bound, {**scalars, "bound_nats": bound}

        return player.update(batches, loss)

    def _log_likelihood(self, network: nn.Module, logits: Tensor, images: Tensor) -> Tensor:
        """log p(x|z), (K, N), in nats. Grey pixels are the Bernoulli's mean: the expectation over binarised images."""
        draws = len(logits) // len(images)
        targets = images.repeat(draws, 1, 1, 1)
        if self.config.likelihood == "bernoulli":
            values = -binary_cross_entropy_with_logits(logits, targets, reduction="none").flatten(1).sum(1)
        else:
            stddev = network.get_parameter("log_stddev").exp()
            values = gaussian_log_likelihood_nats(targets, torch.sigmoid(logits), stddev)
        return values.reshape(draws, -1)

    def preview(self, networks: Mapping[str, nn.Module], images: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        """Samples from the prior."""
        return torch.sigmoid(networks["vae"].get_submodule("decoder")(z))

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:  # noqa: ARG002
        network = networks["vae"]
        return {
            "encode": network.get_submodule("encoder"),
            "generate": nn.Sequential(network.get_submodule("decoder"), nn.Sigmoid()),
        }
