"""A classifier whose features are the space in which the other families' samples are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from training.errors import ConfigError
from training.networks import Classifier, ImageShape
from training.player import Batch, Player, Progress, Scalars


@dataclass(frozen=True)
class ClassifierConfig:
    channels: tuple[int, int]
    features: int
    """Length of the feature vector before the logits."""
    rotate_degrees: float = 0.0
    shift_pixels: float = 0.0
    zoom: float = 0.0
    """Augmentations, drawn uniformly in plus or minus these; zoom is relative (0.1: 90 % to 110 %)."""
    flip: bool = False
    """Half of the images, left to right."""


class Features(nn.Module):
    """The classifier without its logits: an embedding of the image."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, features)."""
        _, features = self.classifier(images)
        out: Tensor = features
        return out


class ClassifierFamily:
    averaged: tuple[str, ...] = ("classifier",)
    helpers: tuple[str, ...] = ()

    def __init__(self, config: ClassifierConfig, shape: ImageShape, classes: int) -> None:
        if classes < 2:
            raise ConfigError("a classifier needs a dataset with labels of two classes or more")
        self.config = config
        self.networks: dict[str, nn.Module] = {
            "classifier": Classifier(shape, config.channels, config.features, classes)
        }

    def step(
        self,
        players: Mapping[str, Player],
        batches: Sequence[Batch],
        progress: Progress,  # noqa: ARG002 - one signature for all families
    ) -> dict[str, Tensor]:
        """Minimise the cross-entropy (nats) on augmented images."""
        player = players["classifier"]

        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            if batch.labels is None:
                raise ConfigError("a classifier needs labels")
            logits, _ = player.network(self._augment(batch.images))
            value = cross_entropy(logits.float(), batch.labels)
            return value, {
                "cross_entropy_nats": value,
                "accuracy": (logits.argmax(1) == batch.labels).float().mean(),
            }

        return player.update(batches, loss)

    def _augment(self, images: Tensor) -> Tensor:
        """A random rotation, shift and zoom of each image, bilinear; and a flip."""

        def uniform(bound: float) -> Tensor:
            return (2 * torch.rand(len(images), device=images.device) - 1) * bound

        angle = torch.deg2rad(uniform(self.config.rotate_degrees))
        scale = 1 + uniform(self.config.zoom)
        _, _, height, width = images.shape
        dx, dy = (uniform(self.config.shift_pixels) * 2 / size for size in (width, height))
        cos, sin = scale * angle.cos(), scale * angle.sin()
        side = torch.where(uniform(1.0) < 0, -1.0, 1.0) if self.config.flip else torch.ones_like(angle)
        theta = torch.stack(
            [torch.stack([side * cos, -sin, dx], 1), torch.stack([side * sin, cos, dy], 1)], 1
        )  # (N, 2, 3)
        grid = affine_grid(theta, list(images.shape), align_corners=False)
        return grid_sample(images, grid, align_corners=False)

    def preview(self, networks: Mapping[str, nn.Module], images: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        """What the network is shown."""
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            torch.manual_seed(0)
            return self._augment(images)

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:  # noqa: ARG002
        return {"encode": Features(networks["classifier"])}
