"""Autoencoder: a code for each image, and no distribution over codes. It reconstructs; it cannot be sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from training.networks import Decoder, Encoder, ImageShape, Pictures
from training.player import Batch, Player, Progress, Scalars


@dataclass(frozen=True)
class AEConfig:
    latent_dim: int
    encoder_channels: tuple[int, int, int]
    decoder_channels: tuple[int, int]


class AENetwork(nn.Module):
    def __init__(self, config: AEConfig, shape: ImageShape) -> None:
        super().__init__()
        self.encoder = Encoder(shape, config.encoder_channels, config.latent_dim, heads=1)
        self.decoder = Decoder(shape, config.decoder_channels, config.latent_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> reconstructions, the same."""
        return torch.sigmoid(self.decoder(*self.encoder(images)))


class AE:
    averaged: tuple[str, ...] = ("ae",)
    helpers: tuple[str, ...] = ()

    def __init__(self, config: AEConfig, shape: ImageShape) -> None:
        self.networks: dict[str, nn.Module] = {"ae": AENetwork(config, shape)}

    def step(
        self,
        players: Mapping[str, Player],
        batches: Sequence[Batch],
        progress: Progress,  # noqa: ARG002 - one signature for all families
    ) -> dict[str, Tensor]:
        """Minimise the squared error, summed over the pixels of an image."""
        player = players["ae"]

        def loss(batch: Batch) -> tuple[Tensor, Scalars]:
            mse = mse_loss(player.network(batch.images).float(), batch.images)
            return mse * batch.images[0].numel(), {"mse": mse}

        return player.update(batches, loss)

    def preview(self, networks: Mapping[str, nn.Module], images: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        """Images and their reconstructions, in turn."""
        out: Tensor = networks["ae"](images)
        return torch.stack([images, out], dim=1).flatten(0, 1)

    def operations(self, networks: Mapping[str, nn.Module], reference: Tensor) -> dict[str, nn.Module]:  # noqa: ARG002
        network = networks["ae"]
        return {
            "encode": network.get_submodule("encoder"),
            "generate": Pictures(network.get_submodule("decoder")),
        }
