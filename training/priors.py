"""A prior fitted to the codes of a trained model: what N(0, I) is not, for an autoencoder at all and for a VAE quite.

Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4: a Gaussian mixture of the codes, fitted
afterwards, makes a plain autoencoder a generator.
"""

import math
from pathlib import Path

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from training.checkpoint import read_fitted, write_fitted

FILE = "prior.safetensors"
TENSORS = ("weights", "means", "factors")
COMPONENTS = 64
"""Of the priors that are published. (10, the paper's number, leave the Frechet distance three times as far.)"""
# onnxruntime computes sines by so many numbers at a time and the last few one by one, with other last bits: as whole
# rows of copies, all are computed alike whatever the batch.
_LANES = 16


class Mixture(nn.Module):
    """Standard normal noise eps -> latents z of a Gaussian mixture, so that noise stays an input of the graph.

    The direction of (eps_1, eps_2) is uniform and independent of all else. It chooses the component, and what it says
    beyond that is uniform once more: it becomes the direction of the pair that the component's normal begins with.
    So each z is drawn from the mixture, and truncation, which makes eps shorter, keeps every component as likely as
    it was and draws the latents towards their component's mean.
    """

    starts: Tensor
    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, weights: Tensor, means: Tensor, factors: Tensor) -> None:
        """`weights` (K,), `means` (K, dim), dim >= 2, `factors` (K, dim, dim): L with L L^T the covariance."""
        super().__init__()
        self.register_buffer("starts", weights.cumsum(0) - weights)
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)

    def forward(self, eps: Tensor) -> Tensor:
        """(N, dim) -> (N, dim)."""
        # Copies, see `_LANES`: (N, lanes).
        first, second = (eps[:, i : i + 1].expand(-1, _LANES) for i in (0, 1))
        turn = torch.atan2(second, first) / (2 * math.pi) + 0.5  # uniform in [0, 1]
        component = (turn[:, :1] >= self.starts[1:]).long().sum(1)
        angle = 2 * math.pi * (turn - self.starts[component, None]) / self.weights[component, None]
        length = (first * first + second * second).sqrt()
        pair = torch.cat([(length * torch.cos(angle))[:, :1], (length * torch.sin(angle))[:, :1]], dim=1)
        normal = torch.cat([pair, eps[:, 2:]], dim=1)
        # Not a matrix product, whose bits would depend on the batch in onnxruntime.
        return self.means[component] + (self.factors[component] * normal[:, None]).sum(2)


def fit_mixture(codes: Tensor, components: int = COMPONENTS, seed: int = 0) -> Mixture:
    """The mixture of Gaussians with full covariances that makes `codes` (N, dim) likeliest, by EM from k-means.

    For a VAE, `codes` are draws of q(z|x), one an image: their distribution is the aggregate posterior.
    """
    fitted = GaussianMixture(components, random_state=seed, reg_covar=1e-5).fit(codes.double().numpy())
    return Mixture(
        torch.from_numpy(fitted.weights_).float(),
        torch.from_numpy(fitted.means_).float(),
        torch.linalg.cholesky(torch.from_numpy(fitted.covariances_)).float(),
    ).eval()


def write(folder: Path, prior: Mixture, images_seen: int) -> None:
    """Keep a prior in a run folder. `images_seen`: by the weights whose codes it was fitted to."""
    write_fitted(folder / FILE, {name: getattr(prior, name) for name in TENSORS}, images_seen)


def read(folder: Path, images_seen: int) -> Mixture | None:
    """The prior in a run or a bundle; None where there is none, or where it is of other weights.

    Raises:
        CheckpointError: the file does not hold a mixture.
    """
    tensors = read_fitted(folder / FILE, TENSORS, images_seen)
    return None if tensors is None else Mixture(**tensors).eval()
