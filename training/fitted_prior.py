"""The prior of a run: fitted to the codes of its training images, after training."""

from pathlib import Path

import torch
from torch import Tensor, nn

from training.datasets import Dataset
from training.feature_space import batches
from training.priors import COMPONENTS, Mixture, fit_mixture, write
from training.trained import load_trained

SEED = 0
CODES_A_COMPONENT = 100
"""At least: small data gets fewer components."""


@torch.no_grad()
def codes(encode: nn.Module, images: Tensor, device: torch.device, seed: int = SEED) -> Tensor:
    """One code an image, (N, dim), on the CPU: of a VAE, draws of q(z|x), which follow the aggregate posterior."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for batch in batches(images, device):
        mean, *logvar = (output.cpu() for output in encode(batch))
        noise = torch.randn(mean.shape, generator=generator)
        drawn.append(mean + torch.exp(0.5 * logvar[0]) * noise if logvar else mean)
    return torch.cat(drawn)


def fit_where_lacking(folder: Path, train: Dataset, device: torch.device) -> None:
    """Of a run that encodes and generates, and learned no prior; only once for its weights."""
    trained = load_trained(folder, train, device)
    operations = trained.operations(train, device)
    if {"encode", "generate"} <= operations.keys() and "prior" not in operations:
        print(f"fitting a prior to the codes of {len(train.images):,} training images ...", flush=True)
        fit(folder, operations["encode"], train, trained.state.images_seen, device)


def fit(folder: Path, encode: nn.Module, train: Dataset, images_seen: int, device: torch.device) -> Mixture:
    """Fit a mixture to the codes of all training images, and keep it in the run `folder`."""
    z = codes(encode, torch.from_numpy(train.images), device)
    prior = fit_mixture(z, max(1, min(COMPONENTS, len(z) // CODES_A_COMPONENT)), SEED)
    write(folder, prior, images_seen)
    return prior
