"""The space in which samples are measured: a published classifier's features of images."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.datasets import KNOWN, Dataset
from training.errors import CheckpointError
from training.families.classifier import ClassifierConfig
from training.trained import MODELS, load_trained, resolve

BATCH = 250


class Seen(NamedTuple):
    """Images as the classifier sees them."""

    features: npt.NDArray[np.float32]
    """(N, D)."""
    probabilities: npt.NDArray[np.float32]
    """(N, classes), of each class."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,), the most probable classes."""
        return np.asarray(self.probabilities.argmax(1), np.int64)


class FeatureSpace:
    """The classifier's features and labels of images.

    Of Stacked-MNIST the classifier of digits sees each colour as an image of its own: features are those of the
    colours side by side, probabilities those of independent digits.
    """

    def __init__(
        self, name: str, sha256: str, network: nn.Module, device: torch.device, colours: int = 1
    ) -> None:
        """`colours`: so many images are the colours of one."""
        self.name, self.sha256, self._network, self._device = name, sha256, network, device
        self.colours = colours

    @classmethod
    def load(cls, folder: Path, data: Dataset, device: torch.device) -> "FeatureSpace":
        known, colours = KNOWN.get(data.name), 1
        if known is not None and known.stacked is not None:
            colours = data.images.shape[1]
            data = replace(data, images=data.images[:, :1], class_names=KNOWN[known.stacked].class_names)
        trained = load_trained(folder, data, device)
        if not isinstance(trained.config.model, ClassifierConfig):
            raise CheckpointError(f"{folder}: holds a {trained.config.family}; a classifier is needed")
        digest = hashlib.sha256((folder / "checkpoint.safetensors").read_bytes()).hexdigest()
        return cls(trained.config.name, digest, trained.networks["classifier"], device, colours)

    def __call__(self, images: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """uint8 or [0, 1] float images (N, C, H, W) -> features (N, D), predicted labels (N,)."""
        seen = self.see(images)
        return seen.features, seen.labels

    @torch.no_grad()
    def see(self, images: Tensor) -> Seen:
        """uint8 or [0, 1] float images (N, C, H, W) -> features and class probabilities."""
        features, probabilities = [], []
        for batch in batches(images, self._device):
            logits, found = self._network(batch.reshape(-1, batch.shape[1] // self.colours, *batch.shape[2:]))
            features.append(found.reshape(len(batch), -1).cpu())
            probabilities.append(_of_all(logits.softmax(1).reshape(len(batch), self.colours, -1)).cpu())
        return Seen(torch.cat(features).numpy(), torch.cat(probabilities).numpy())


def _of_all(probabilities: Tensor) -> Tensor:
    """Of each colour's K classes (N, colours, K) -> of all that they make together (N, K^colours)."""
    whole, *others = probabilities.unbind(1)
    for colour in others:
        whole = (whole[:, :, None] * colour[:, None]).flatten(1)
    return whole


def batches(images: Tensor, device: torch.device) -> Iterator[Tensor]:
    """uint8 or [0, 1] float images -> float32 batches in [0, 1] on `device`."""
    for batch in torch.split(images, BATCH):
        yield batch.to(device).float() / 255 if batch.dtype == torch.uint8 else batch.to(device)


def published_classifier(dataset: str) -> Path:
    known = KNOWN.get(dataset)
    name = f"{known.stacked if known and known.stacked else dataset}-classifier"
    try:
        return resolve(name)
    except CheckpointError as error:
        raise CheckpointError(
            f"sample metrics need {MODELS / name}, the classifier of the dataset: train and export it first, "
            f"or give --classifier FOLDER ({error})"
        ) from error
