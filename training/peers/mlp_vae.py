"""A textbook VAE: perceptrons 200-200, 50 latents, as the single layer models of Burda et al. 2016 (section 5, k = 1).

Bernoulli pixels, binarised anew at each step.
"""

import math
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from training.binarisation import binarise
from training.evaluation.samples import SEED
from training.metrics.elbo import gaussian_kl_nats
from training.peers.dcgan import batches
from training.peers.made import Density, Made, Task

BATCH, HIDDEN, LATENT, LR = 100, 200, 50, 1e-3


class Perceptrons(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        pixels, self.shape = math.prod(shape), shape
        self.encoder = nn.Sequential(nn.Flatten(), *_hidden(pixels), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(*_hidden(LATENT), nn.Linear(HIDDEN, pixels))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> mean and logvar, (N, 50)."""
        mean, logvar = self.encoder(images).chunk(2, dim=1)
        return mean, logvar

    def logits(self, z: Tensor) -> Tensor:
        """(N, 50) -> (N, C, H, W)."""
        out: Tensor = self.decoder(z)
        return out.reshape(-1, *self.shape)


def train(task: Task) -> Made:
    torch.manual_seed(task.seed)
    images = torch.from_numpy(task.data.images).to(task.device)
    vae = Perceptrons(tuple(images.shape[1:])).to(task.device)
    optimizer = Adam(vae.parameters(), lr=LR)
    seen, started = 0, time.monotonic()
    for batch in batches(images, BATCH):
        if (seconds := time.monotonic() - started) >= task.seconds:
            break
        pixels = binarise(batch)
        mean, logvar = vae.encode(pixels)
        logits = vae.logits(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
        distortion = binary_cross_entropy_with_logits(logits, pixels, reduction="sum") / BATCH
        optimizer.zero_grad()
        (distortion + gaussian_kl_nats(mean, logvar).sum(1).mean()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen += BATCH

    @torch.no_grad()
    def generate(z: Tensor) -> Tensor:
        return vae.logits(z).sigmoid()

    def draw(n: int) -> Tensor:
        z = torch.randn(n, LATENT, generator=torch.Generator().manual_seed(SEED)).to(task.device)
        return (255 * generate(z)).round().byte().cpu()

    density = Density(torch.no_grad()(vae.encode), generate)
    return Made(draw, sum(p.numel() for p in vae.parameters()), seen, seconds, density)


def _hidden(inputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh()]
