"""A textbook DCGAN (Radford et al. 2016) at 28 x 28: its layers, batch, optimiser and initialisation."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from training.errors import TrainingError
from training.evaluation.samples import SEED
from training.peers.made import Made, Task

BATCH, LATENT, LR, BETAS = 128, 100, 2e-4, (0.5, 0.999)
WIDTH = 64


def generator(colours: int) -> nn.Sequential:
    """z (N, 100, 1, 1) -> images (N, colours, 28, 28) in [-1, 1]."""
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, 2 * WIDTH, 7, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.ConvTranspose2d(WIDTH, colours, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def discriminator(colours: int) -> nn.Sequential:
    """Images (N, colours, 28, 28) in [-1, 1] -> logits (N,)."""
    return nn.Sequential(
        nn.Conv2d(colours, WIDTH, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * WIDTH, 1, 7),
        nn.Flatten(0),
    )


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """uint8 (N, ...) -> float batches in [0, 1], shuffled anew each epoch, for ever.

    Raises TrainingError where N is less than a batch.
    """
    if len(images) < size:
        raise TrainingError(f"{len(images):,} training images make no batch of {size:,}")
    while True:
        for index in torch.split(torch.randperm(len(images), device=images.device), size):
            if len(index) == size:
                yield images[index].float() / 255


def train(task: Task) -> Made:
    torch.manual_seed(task.seed)
    images = torch.from_numpy(task.data.images).to(task.device)
    networks = generator(images.shape[1]).to(task.device), discriminator(images.shape[1]).to(task.device)
    for network in networks:
        network.apply(_initialise)
    g, d = networks
    optimize_g, optimize_d = (Adam(network.parameters(), lr=LR, betas=BETAS) for network in networks)
    seen, started = 0, time.monotonic()
    for batch in batches(images, BATCH):
        if (seconds := time.monotonic() - started) >= task.seconds:
            break
        fakes = g(torch.randn(BATCH, LATENT, 1, 1, device=task.device))
        _step(optimize_d, _nats(d(2 * batch - 1), 1.0) + _nats(d(fakes.detach()), 0.0))
        _step(optimize_g, _nats(d(fakes), 1.0))
        seen += BATCH
    g.eval()

    @torch.no_grad()
    def draw(n: int) -> Tensor:
        z = torch.randn(n, LATENT, 1, 1, generator=torch.Generator().manual_seed(SEED))
        drawn = torch.cat([g(part.to(task.device)) for part in torch.split(z, 500)])
        return (255 * (drawn + 1) / 2).round().byte().cpu()

    return Made(draw, sum(p.numel() for network in networks for p in network.parameters()), seen, seconds)


def _nats(logits: Tensor, target: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _step(optimizer: Adam, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
