"""Networks for images of 28 x 28 and other sizes divisible by 4: plain functions of tensors, no optimisers.

Images are (N, C, H, W). Decoders return logits: their sigmoid is the image in [0, 1].
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.errors import ConfigError
from training.layers import MinibatchDiscrimination, MinibatchStddev
from training.losses import squared_slopes

ImageShape = tuple[int, int, int]  # C, H, W
MOST_CLASSES = 50
"""Of a conditional model."""


def quarter(shape: ImageShape) -> tuple[int, int]:
    """(H / 4, W / 4) of images (C, H, W). Raises ConfigError where these are not whole."""
    _, height, width = shape
    if height % 4 or width % 4:
        raise ConfigError(f"images of {height} x {width}: height and width must be multiples of 4")
    return height // 4, width // 4


def class_count(classes: int, *, conditional: bool) -> int:
    """`classes` of a model that is told them, 0 of any other.

    Raises ConfigError where there are none to tell, or too many for each to have its turn in a batch of samples.
    """
    if conditional and classes < 2:
        raise ConfigError("conditional: needs a dataset with labels of two classes or more")
    if conditional and classes > MOST_CLASSES:
        raise ConfigError(
            f"conditional: the dataset has {classes:,} classes; at most {MOST_CLASSES} are allowed"
        )
    return classes if conditional else 0


class Encoder(nn.Module):
    """Image -> features -> `heads` vectors of `latent_dim`."""

    def __init__(
        self, shape: ImageShape, channels: tuple[int, int, int], latent_dim: int, heads: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.trunk = _downsampling_trunk(shape[0], channels, nn.ReLU())
        self.head = nn.Linear(_flat(self.trunk, shape), heads * latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) in [0, 1] -> `heads` tensors (N, latent_dim)."""
        out: tuple[Tensor, ...] = self.head(self.trunk(images).flatten(1)).chunk(self.heads, dim=1)
        return out


class FromLatent(nn.Module):
    """Latent -> feature maps of H/4 x W/4, from which decoders go on; each of the `classes` adds maps of its own."""

    def __init__(
        self, shape: ImageShape, channels: int, latent_dim: int, classes: int, *, bias: bool
    ) -> None:
        super().__init__()
        self.start = (channels, *quarter(shape))
        self.project = nn.Linear(latent_dim, math.prod(self.start), bias=bias)
        self.by_class = nn.Embedding(classes, self.project.out_features) if classes else None

    def begin(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(N, latent_dim), and labels (N,) where there are classes -> (N, channels, H/4, W/4)."""
        start: Tensor = self.project(z)
        if self.by_class is not None:
            start = start + self.by_class(labels)
        return start.reshape(-1, *self.start)


class Decoder(FromLatent):
    """Latent -> image logits: a projection to H/4 x W/4, then two doublings (Radford et al. 2016, DCGAN)."""

    def __init__(
        self, shape: ImageShape, channels: tuple[int, int], latent_dim: int, classes: int = 0
    ) -> None:
        c0, c1 = channels
        super().__init__(shape, c0, latent_dim, classes, bias=False)
        colours = shape[0]
        self.trunk = nn.Sequential(
            nn.BatchNorm2d(c0),
            nn.ReLU(),
            nn.ConvTranspose2d(c0, c1, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c1),
            nn.ReLU(),
            nn.ConvTranspose2d(c1, colours, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, latent_dim), and labels (N,) where there are classes -> logits (N, C, H, W)."""
        out: Tensor = self.trunk(self.begin(z, labels))
        return out


class Pictures(nn.Module):
    """What a decoder draws, in [0, 1]: the sigmoid of its logits, which of a VAE is the mean of p(x|z)."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, latent_dim), and labels (N,) where there are classes -> (N, C, H, W)."""
        return torch.sigmoid(self.decoder(z, labels))


Coupling = Literal["none", "minibatch-discrimination", "minibatch-stddev"]


class Judgement(NamedTuple):
    """What a discriminator says of N images, in float32 whatever the precision of the pass."""

    logits: Tensor
    """(N,)."""
    classes: Tensor | None
    """Logits of the classes (N, K), of one that classifies; they do not know the labels."""
    slopes: Tensor | None
    """The squared norm (N,) of the gradient of the logits' sum, where it was asked for: it can be trained on."""
    features: Tensor
    """(N, A): what the logits are made of."""


class Discriminator(nn.Module):
    """Image -> logit. With a coupling layer, the logit of an image depends on its batch.

    With classes, `by_class` adds to the logit of an image what speaks for its class: a projection (Miyato & Koyama
    2018, "cGANs with projection discriminator", eq. 3). One that `classifies` also tells the class of an image.
    """

    def __init__(
        self,
        shape: ImageShape,
        channels: tuple[int, int, int],
        features: int,
        coupling: Coupling,
        kernels: int,
        kernel_dim: int,
        normalise: bool,
        classes: int = 0,
        classifies: bool = False,
    ) -> None:
        super().__init__()
        activation = nn.LeakyReLU(0.2)
        trunk = _downsampling_trunk(shape[0], channels, activation)
        self.trunk = nn.Sequential(
            trunk, nn.Flatten(), nn.Linear(_flat(trunk, shape), features), nn.LeakyReLU(0.2)
        )
        self.coupling: MinibatchDiscrimination | MinibatchStddev | None
        match coupling:
            case "none":
                self.coupling = None
            case "minibatch-discrimination":
                self.coupling = MinibatchDiscrimination(features, kernels, kernel_dim)
            case "minibatch-stddev":
                self.coupling = MinibatchStddev()
        self.head = nn.Linear(features + (self.coupling.out_features if self.coupling else 0), 1)
        self.by_class = nn.Linear(features, classes, bias=False) if classes else None
        self.classifier = nn.Linear(features, classes) if classifies else None
        if normalise:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    spectral_norm(module)

    def forward(
        self, images: Tensor, labels: Tensor | None = None, *, judge: bool = False, slopes: bool = False
    ) -> Tensor | Judgement:
        """(N, C, H, W) in [0, 1], and labels (N,) where there are classes -> logits (N,).

        `judge`: all that `Judgement` has, by way of what a wrapper for several devices listens to.
        """
        said = self.judge(images, labels, slopes=slopes)
        return said if judge else said.logits

    def judge(self, images: Tensor, labels: Tensor | None = None, *, slopes: bool = False) -> Judgement:
        """As `forward`. With `slopes` whatever made the images gets no gradient."""
        if slopes:
            images = images.detach().float().requires_grad_()
        f = self.features(images)
        coupled = f if self.coupling is None else torch.cat([f, self.coupling(f)], dim=1)
        logits = self.logit(coupled)
        if self.by_class is not None and labels is not None:
            by_class: Tensor = self.by_class(f)
            logits = logits + by_class.gather(1, labels[:, None]).squeeze(1)
        return Judgement(
            logits.float(),
            None if self.classifier is None else self.classifier(f).float(),
            squared_slopes(logits, images) if slopes else None,
            f.float(),
        )

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, A). The trunk sees [-1, 1]."""
        out: Tensor = self.trunk(2 * images - 1)
        return out

    def logit(self, f: Tensor) -> Tensor:
        out: Tensor = self.head(f)
        return out.squeeze(1)


class ServedDiscriminator(nn.Module):
    """The discriminator as it is served: each image against one fixed batch of real images.

    A request's score must not depend on its neighbours, so a coupling layer sees {image, reference batch} in
    place of the batch at hand. Without a coupling layer this is the discriminator itself.
    """

    reference: Tensor

    def __init__(self, discriminator: Discriminator, reference_images: Tensor) -> None:
        super().__init__()
        self.discriminator = discriminator.eval()
        with torch.no_grad():
            f = discriminator.features(reference_images)
            state = discriminator.coupling.reference(f) if discriminator.coupling is not None else f[:0]
        self.register_buffer("reference", state)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> logits (N,); row i is a function of image i alone."""
        return self.score(self.discriminator.features(images))

    def score(self, f: Tensor) -> Tensor:
        """The discriminator's features (N, A) -> logits (N,).

        With classes, as nobody tells which it is of: the logarithm of the mean of their odds. (A heuristic, which is
        near that of the class that fits best. p_data / p_model of the image alone would need p_model of each class.)
        """
        own = f
        if self.discriminator.coupling is not None:
            f = torch.cat([f, self.discriminator.coupling.against(f, self.reference)], dim=1)
        logits = self.discriminator.logit(f)
        if self.discriminator.by_class is None:
            return logits
        by_class: Tensor = self.discriminator.by_class(own)
        return logits + by_class.logsumexp(1) - math.log(by_class.shape[1])


def classes_in_turn(n: int, classes: int) -> Tensor:
    """(n,) int64, row i of class (i + i // K) mod K: every other row, by which samples are halved, is of all, too."""
    row = torch.arange(n)
    return (row + row // classes) % classes


class InTurn(nn.Module):
    """A conditional generator of latents alone, which draws the classes in turn, in each batch anew."""

    def __init__(self, generate: nn.Module, classes: int) -> None:
        super().__init__()
        self.generate, self.classes = generate, classes

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.generate(z, classes_in_turn(len(z), self.classes).to(z.device))
        return out


class Classifier(nn.Module):
    """Image -> (logits, features). The features are the space in which sample quality is measured."""

    def __init__(self, shape: ImageShape, channels: tuple[int, int], features: int, classes: int) -> None:
        super().__init__()
        c0, c1 = channels
        self.trunk = nn.Sequential(
            *_conv_block(shape[0], c0),
            *_conv_block(c0, c0),
            nn.MaxPool2d(2),
            *_conv_block(c0, c1),
            *_conv_block(c1, c1),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(c1 * (shape[1] // 4) * (shape[2] // 4), features),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(features, classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [0, 1] -> logits (N, classes), features (N, features), non-negative."""
        features = self.trunk(images)
        return self.head(features), features


def _conv_block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _downsampling_trunk(colours: int, channels: tuple[int, int, int], activation: nn.Module) -> nn.Sequential:
    """Three strided convolutions: H x W -> H/2 -> H/4 -> H/8 (rounded up)."""
    c0, c1, c2 = channels
    return nn.Sequential(
        nn.Conv2d(colours, c0, 4, stride=2, padding=1),
        activation,
        nn.Conv2d(c0, c1, 4, stride=2, padding=1),
        activation,
        nn.Conv2d(c1, c2, 3, stride=2, padding=1),
        activation,
    )


def _flat(trunk: nn.Module, shape: ImageShape) -> int:
    with torch.no_grad():
        return int(trunk(torch.zeros(1, *shape)).numel())
