"""Networks of the blur study that no family has: a squared or log-likelihood error with an adversarial term."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from training.datasets import Dataset
from training.families.vae import VAEConfig, VAENetwork
from training.losses import nonsaturating_discriminator
from training.metrics.elbo import gaussian_kl_nats, gaussian_log_likelihood_nats
from training.networks import Decoder, Discriminator, Encoder, ImageShape

SHAPE: ImageShape = (1, 28, 28)
HALF = SHAPE[1] // 2
"""Rows above it are seen by a completion, the others hidden."""

Forward = Callable[[Tensor], tuple[Tensor, Tensor, Mapping[str, Tensor]]]
"""Images -> (scalar error to minimise, images for the discriminator, scalars to log)."""


class Completion(nn.Module):
    """Upper half of an image, and noise -> the whole image; what was seen is kept."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.noise_dim = config["noise_dim"]
        self.encoder = Encoder(SHAPE, config["encoder_channels"], config["latent_dim"], heads=1)
        self.decoder = Decoder(SHAPE, config["decoder_channels"], config["latent_dim"] + self.noise_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) in [0, 1], of which the lower half is not looked at -> (N, 1, 28, 28)."""
        seen = torch.cat([images[:, :, :HALF], torch.zeros_like(images[:, :, HALF:])], dim=2)
        (code,) = self.encoder(seen)
        noise = torch.randn(len(images), self.noise_dim, device=images.device)
        completed = torch.sigmoid(self.decoder(torch.cat([code, noise], dim=1)))
        return torch.cat([images[:, :, :HALF], completed[:, :, HALF:]], dim=2)


def train_completion(
    config: Mapping[str, Any], train: Dataset, device: torch.device
) -> tuple[Completion, list[dict[str, float]]]:
    """Minimises the squared error, summed over an image's hidden pixels, and the weighted adversarial loss."""
    network = Completion(config).to(device)

    def forward(images: Tensor) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        completed = network(images)
        error = (completed - images).square().flatten(1).sum(1).mean()
        return error, completed, {"squared_error": error}

    return network, _train(network, forward, config, train, device)


def train_vae_gan(
    config: Mapping[str, Any], train: Dataset, device: torch.device
) -> tuple[VAENetwork, list[dict[str, float]]]:
    """A Gaussian VAE whose negative ELBO, in nats, has the weighted adversarial loss added.

    Of what the discriminator is given as generated, half are reconstructions and half decoded draws from the prior
    (Larsen et al. 2016; there the error is that of the discriminator's features, here that of pixels).
    """
    model = VAEConfig(
        config["latent_dim"], config["encoder_channels"], config["decoder_channels"], likelihood="gaussian"
    )
    network = VAENetwork(model, SHAPE).to(device)

    def forward(images: Tensor) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        n = len(images)
        mean, logvar = network.encoder(images)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        decoded = torch.sigmoid(network.decoder(torch.cat([z, torch.randn_like(z[: n // 2])])))
        stddev = network.log_stddev.exp()
        log_likelihood = gaussian_log_likelihood_nats(images, decoded[:n], stddev).mean()
        kl = gaussian_kl_nats(mean, logvar).sum(1).mean()
        scalars = {"elbo_nats": log_likelihood - kl, "kl_nats": kl, "stddev": stddev}
        return kl - log_likelihood, decoded[n - n // 2 :], scalars

    return network, _train(network, forward, config, train, device)


def _train(
    network: nn.Module, forward: Forward, config: Mapping[str, Any], train: Dataset, device: torch.device
) -> list[dict[str, float]]:
    """Trains `network` in place, by Adam with a rate that falls along half a cosine; the rows of its log."""
    reals = torch.from_numpy(train.images).to(device)
    weight, steps = config["adversarial_weight"], config["images"] // config["batch_size"]
    optimizer = Adam(network.parameters(), lr=config["lr"], betas=config["betas"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    discriminator = Discriminator(
        SHAPE, config["discriminator_channels"], config["discriminator_features"], "none", 1, 1, True
    ).to(device)
    critic = Adam(discriminator.parameters(), lr=config["lr_discriminator"], betas=config["betas"])
    log = []
    for step in range(1, steps + 1):
        images = reals[torch.randint(len(reals), (config["batch_size"],)).to(device)].float() / 255
        error, fakes, scalars = forward(images)
        loss = error
        if weight:
            discriminator.requires_grad_(False)
            loss = error + weight * softplus(-discriminator(fakes)).mean()
            discriminator.requires_grad_(True)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if weight:
            loss_d = nonsaturating_discriminator(discriminator(images), discriminator(fakes.detach()))
            critic.zero_grad(set_to_none=True)
            loss_d.backward()  # type: ignore[no-untyped-call]
            critic.step()
            scalars = {**scalars, "loss_d": loss_d}
        if step % max(1, steps // 20) == 0:
            row = {key: round(value.item(), 5) for key, value in scalars.items()}
            log.append({"images": step * config["batch_size"], **row})
    network.eval().requires_grad_(False)
    return log
