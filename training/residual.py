"""Residual encoder and decoder of 28 x 28 images and others of sizes divisible by 4, for models that want more depth.

Pre-activation blocks without normalisation (He et al. 2016, "Identity mappings"); the second convolution of a block
starts at zero, so that a network of any depth starts as one of none (Zhang et al. 2019, "Fixup").
"""

from torch import Tensor, nn

from training.networks import FromLatent, ImageShape, quarter


class Block(nn.Module):
    """x + f(x), with f two 3 x 3 convolutions, each after an activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        out: Tensor = self.second(_activate(self.first(_activate(x))))
        return x + out


class ResidualEncoder(nn.Module):
    """Image -> `heads` vectors of `latent_dim`: `blocks` blocks at H/2 x W/2, as many at H/4 x W/4, a hidden layer."""

    def __init__(
        self, shape: ImageShape, channels: tuple[int, int, int], latent_dim: int, heads: int, blocks: int
    ) -> None:
        super().__init__()
        height, width = quarter(shape)
        c0, c1, features = channels
        self.heads = heads
        self.trunk = nn.Sequential(
            nn.Conv2d(shape[0], c0, 4, stride=2, padding=1),
            *(Block(c0) for _ in range(blocks)),
            nn.Conv2d(c0, c1, 4, stride=2, padding=1),
            *(Block(c1) for _ in range(blocks)),
        )
        self.hidden = nn.Linear(c1 * height * width, features)
        self.head = nn.Linear(features, heads * latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) in [0, 1] -> `heads` tensors (N, latent_dim). The trunk sees [-1, 1]."""
        h = self.hidden(_activate(self.trunk(2 * images - 1)).flatten(1))
        out: tuple[Tensor, ...] = self.head(_activate(h)).chunk(self.heads, dim=1)
        return out


class ResidualDecoder(FromLatent):
    """Latent -> image logits: `blocks` blocks at H/4 x W/4, as many at H/2 x W/2; four pixels of each place at last."""

    def __init__(
        self, shape: ImageShape, channels: tuple[int, int], latent_dim: int, blocks: int, classes: int = 0
    ) -> None:
        c0, c1 = channels
        super().__init__(shape, c0, latent_dim, classes, bias=True)
        self.coarse = nn.Sequential(*(Block(c0) for _ in range(blocks)))
        self.grow = nn.ConvTranspose2d(c0, c1, 4, stride=2, padding=1)
        self.fine = nn.Sequential(*(Block(c1) for _ in range(blocks)))
        self.pixels = nn.Sequential(nn.Conv2d(c1, 4 * shape[0], 3, padding=1), nn.PixelShuffle(2))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, latent_dim), and labels (N,) where there are classes -> logits (N, C, H, W)."""
        h = self.coarse(self.begin(z, labels))
        out: Tensor = self.pixels(_activate(self.fine(self.grow(_activate(h)))))
        return out


def _activate(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, 0.2)
