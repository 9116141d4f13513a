"""What a discriminator's score favours some classes by, taken from it: ready to be served in its graph."""

from pathlib import Path

import torch
from torch import Tensor, nn

from training.checkpoint import read_fitted, write_fitted
from training.networks import ServedDiscriminator

FILE = "class_correction.safetensors"
TENSORS = ("weight", "bias", "offsets")


class ClassCorrection(nn.Module):
    """What to take from a logit: `offsets` of the classes, weighted by how probable each class is.

    The classes are those of the dataset's classifier, but read off the discriminator's own features by one linear
    layer: the classifier itself would make a score of MNIST several times as dear, and the bundle a third larger.
    """

    def __init__(self, weight: Tensor, bias: Tensor, offsets: Tensor) -> None:
        """`weight` (K, A), `bias` (K,), of the logits of K classes; `offsets` (K,), in units of the score's logit."""
        super().__init__()
        classes, features = weight.shape
        self.classes = nn.Linear(features, classes)
        # A layer, not a sum: those are exported so that a row's bits do not depend on its batch.
        self.offsets = nn.Linear(classes, 1, bias=False)
        self.classes.weight, self.classes.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.offsets.weight = nn.Parameter(offsets[None])
        self.requires_grad_(False)

    def probabilities(self, f: Tensor) -> Tensor:
        """Features (N, A) -> (N, K)."""
        return torch.softmax(self.classes(f), dim=-1)

    def forward(self, f: Tensor) -> Tensor:
        """Features (N, A) -> (N,)."""
        out: Tensor = self.offsets(self.probabilities(f))
        return out.squeeze(1)

    def tensors(self) -> dict[str, Tensor]:
        return {
            "weight": self.classes.weight,
            "bias": self.classes.bias,
            "offsets": self.offsets.weight[0],
        }


class CorrectedDiscriminator(nn.Module):
    """The served discriminator, less its correction."""

    def __init__(self, served: ServedDiscriminator, correction: ClassCorrection) -> None:
        super().__init__()
        self.served, self.correction = served, correction

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> logits (N,); row i is a function of image i alone."""
        f = self.served.discriminator.features(images)
        out: Tensor = self.served.score(f) - self.correction(f)
        return out


def write(folder: Path, correction: ClassCorrection, images_seen: int) -> None:
    """Keep a correction in a run folder. `images_seen`: by the weights that it was fitted to."""
    write_fitted(folder / FILE, correction.tensors(), images_seen)


def read(folder: Path, images_seen: int) -> ClassCorrection | None:
    """The correction in a run or a bundle; None where there is none, or where it is of other weights.

    Raises:
        CheckpointError: the file does not hold a correction.
    """
    tensors = read_fitted(folder / FILE, TENSORS, images_seen)
    return None if tensors is None else ClassCorrection(**tensors).eval()
