"""Residual networks: shapes, and that their depth is nothing at first."""

import pytest
import torch

from training.errors import ConfigError
from training.residual import Block, ResidualDecoder, ResidualEncoder


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 40)])
@pytest.mark.parametrize("blocks", [1, 2])
def test_shapes_go_from_image_to_latent_and_back(shape: tuple[int, int, int], blocks: int) -> None:
    images = torch.rand(3, *shape)
    mean, logvar = ResidualEncoder(shape, (4, 4, 8), latent_dim=5, heads=2, blocks=blocks)(images)
    assert mean.shape == logvar.shape == (3, 5)
    assert ResidualDecoder(shape, (8, 4), latent_dim=5, blocks=blocks)(mean).shape == images.shape


def test_a_block_begins_as_the_identity_and_learns() -> None:
    block, x = Block(4), torch.randn(2, 4, 7, 7)
    bias = block.second.bias
    assert bias is not None
    torch.testing.assert_close(block(x), x + bias[:, None, None])
    block(x).square().sum().backward()
    gradient = block.second.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_a_size_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="30 x 28: height and width must be multiples of 4"):
        ResidualDecoder((1, 30, 28), (8, 4), latent_dim=5, blocks=1)
    with pytest.raises(ConfigError, match="28 x 30: height and width must be multiples of 4"):
        ResidualEncoder((1, 28, 30), (4, 4, 8), latent_dim=5, heads=2, blocks=1)
