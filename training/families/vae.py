"""Variational autoencoder (Kingma & Welling 2014): q(z|x) = N(mean, diag exp(logvar)), p(z) = N(0, I) or a flow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.binarisation import binarise
from training.flows import DIM_STEP, Flow, LogDensity
from training.losses import free_bits, importance_weighted_bound
from training.metrics.elbo import (
    gaussian_kl_nats,
    gaussian_log_density_nats,
    gaussian_log_likelihood_nats,
    standard_normal_log_density_nats,
)
from training.networks import Decoder, Encoder, ImageShape, InTurn, Pictures, class_count
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
    conditional: bool = False
    """p(x|z, y), of the class y, which the decoder is told; q(z|x) and p(z) are of all classes together."""
    blocks: int = 0
    """Residual blocks at each of two resolutions (`training.residual`); 0: plain convolutions."""
    pixels: Literal["grey", "binarised"] = "grey"
    """binarised: a Bernoulli likelihood of binary images, drawn anew at each step. Grey ones are means of them."""
    importance_samples: int = 1
    """Draws of q(z|x) an image: above 1 the importance weighted bound of Burda et al. 2016 is maximised."""
    flow_layers: int = 0
    """Couplings of the prior (`training.flows`), which is learned with the model then; 0: N(0, I)."""
    flow_width: int = 64

    def __post_init__(self) -> None:
        if self.pixels == "binarised" and self.likelihood != "bernoulli":
            raise ValueError(
                f"likelihood = {self.likelihood!r}: binarised pixels have a bernoulli likelihood"
            )
        if self.importance_samples > 1 and self.free_bits_nats:
            raise ValueError("free_bits_nats: of the evidence lower bound, so importance_samples must be 1")
        if self.flow_layers and self.free_bits_nats:
            raise ValueError("free_bits_nats: of a KL by dimensions, so flow_layers must be 0")
        if self.flow_layers and self.latent_dim % DIM_STEP:
            raise ValueError(f"latent_dim = {self.latent_dim}: a flow needs a multiple of {DIM_STEP}")


class Drawn(NamedTuple):
    """`logits` (K N, C, H, W) of p(x|z)'s mean, `z` (K, N, D), its `log_prior` (K, N), q(z|x)'s `mean` and `logvar`
    (N, D)."""

    logits: Tensor
    z: Tensor
    log_prior: Tensor
    mean: Tensor
    logvar: Tensor


class VAENetwork(nn.Module):
    def __init__(self, config: VAEConfig, shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        self.draws = config.importance_samples
        self.encoder: nn.Module
        self.decoder: nn.Module
        dim, blocks = config.latent_dim, config.blocks
        if blocks:
            self.encoder = ResidualEncoder(shape, config.encoder_channels, dim, heads=2, blocks=blocks)
            self.decoder = ResidualDecoder(shape, config.decoder_channels, dim, blocks, classes)
        else:
            self.encoder = Encoder(shape, config.encoder_channels, dim, heads=2)
            self.decoder = Decoder(shape, config.decoder_channels, dim, classes)
        if config.likelihood == "gaussian":
            self.log_stddev = nn.Parameter(torch.tensor(math.log(0.3)))
        self.flow = Flow(dim, config.flow_layers, config.flow_width) if config.flow_layers else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Drawn:
        """(N, C, H, W) in [0, 1], and labels (N,) where there are classes -> K draws of q(z|x) for each, and what
        p(x|z) is there."""
        # What is drawn is not rounded to bfloat16, whose steps would be a part of the posterior's width.
        mean, logvar = (part.float() for part in self.encoder(images))
        noise = torch.randn(self.draws, *mean.shape, device=mean.device)
        z = mean + torch.exp(0.5 * logvar) * noise
        logits = self.decoder(z.flatten(0, 1), None if labels is None else labels.repeat(self.draws))
        return Drawn(logits, z, self.log_prior(z), mean, logvar)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), (K, N, D) -> (K, N), in nats; not in bfloat16 either."""
        with torch.autocast(z.device.type, enabled=False):
            if self.flow is None:
                return standard_normal_log_density_nats(z)
            return self.flow.log_density(z.flatten(0, 1)).reshape(z.shape[:2])


class VAE:
    averaged: tuple[str, ...] = ("vae",)
    helpers: tuple[str, ...] = ()

    def __init__(self, config: VAEConfig, shape: ImageShape, classes: int = 0) -> None:
        self.config = config
        self.classes = class_count(classes, conditional=config.conditional)
        self.networks: dict[str, nn.Module] = {"vae": VAENetwork(config, shape, self.classes)}

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
            labels = batch.labels if self.classes else None
            logits, z, log_prior, mean, logvar = Drawn(
                *(part.float() for part in player.network(images, labels))
            )
            kl = gaussian_kl_nats(mean, logvar)  # (N, D), of N(0, I)
            likelihoods = self._log_likelihood(player.plain, logits, images)  # (K, N)
            log_likelihood = likelihoods.mean()
            if config.importance_samples == 1:
                # The path through z alone: the other has mean 0, and noise (Roeder et al. 2017).
                mean, logvar = mean.detach(), logvar.detach()
            log_ratios = log_prior - gaussian_log_density_nats(z, mean, logvar)  # (K, N)
            kl_nats = -log_ratios.mean() if config.flow_layers else kl.sum(1).mean()
            scalars = {
                "elbo_nats": log_likelihood - kl_nats,
                "log_likelihood_nats": log_likelihood,
                "kl_nats": kl_nats,
            }
            if config.importance_samples == 1:
                rate = kl_nats if config.flow_layers else free_bits(kl, config.free_bits_nats)
                return beta * rate - log_likelihood, scalars
            bound = importance_weighted_bound(likelihoods, log_ratios, beta)
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
        """Samples from the prior, of the classes in turn where there are classes."""
        network = _network(networks)
        pictures = Pictures(network.decoder)
        latents = z if network.flow is None else network.flow(z)
        out: Tensor = (InTurn(pictures, self.classes) if self.classes else pictures)(latents)
        return out

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:  # noqa: ARG002
        network = _network(networks)
        modules: dict[str, nn.Module] = {"encode": network.encoder, "generate": Pictures(network.decoder)}
        if network.flow is not None:
            modules |= {"prior": network.flow, "log_prior": LogDensity(network.flow)}
        return modules


def _network(networks: Mapping[str, nn.Module]) -> VAENetwork:
    network = networks["vae"]
    assert isinstance(network, VAENetwork)  # noqa: S101 - narrows the type, checks no input
    return network
