"""GANs of Stacked-MNIST (Metz et al. 2017): three digits as the colours of one image, so 1000 modes."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.data.stacked import together
from training.datasets import load
from training.families.gan import Generator
from training.feature_space import FeatureSpace, published_classifier
from training.losses import GAN_LOSSES, zero_centred_penalty
from training.metrics.modes import reverse_kl_nats
from training.networks import Coupling, Discriminator
from training.studies.study import Device, Outcome, Run

SHAPE = (3, 28, 28)
MODES = 1000
SHOWN, SHOWN_SEED = 48, 0


class DigitGAN:
    """The project's networks with three colours; a pack of m images is one image of 3 m colours."""

    def __init__(self, config: Mapping[str, Any], seed: int, device: Device) -> None:
        self.config, self.device = config, device
        torch.manual_seed(seed)
        self.discriminator_loss, self.generator_loss = GAN_LOSSES[config["loss"]]
        self.generator: nn.Module = Generator(
            SHAPE, tuple(config["generator_channels"]), config["latent_dim"]
        )
        pack = config["pack"]
        self.discriminator = Discriminator(
            (pack * SHAPE[0], *SHAPE[1:]),
            tuple(config["discriminator_channels"]),
            config["features"],
            cast(Coupling, config["coupling"]),
            config["kernels"],
            config["kernel_dim"],
            normalise=False,
        )
        self.generator.to(device), self.discriminator.to(device)
        self.average = copy.deepcopy(self.generator)
        betas = (config["beta1"], config["beta2"])
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=config["lr"], betas=betas, fused=True)
            for network in (self.generator, self.discriminator)
        ]

    def step(self, step: int, reals: Tensor) -> tuple[Tensor, Tensor]:
        """One update of either player on real images (N, 3, 28, 28) in [0, 1]; the loss of either."""
        config, n = self.config, len(reals)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = config["lr"] * max(0.1, 1 - step / config["steps"])
        with torch.no_grad():
            fakes = self.generator(self.latents(n))
        loss_d = self.discriminator_loss(self.logits(reals), self.logits(fakes))
        if config["penalties"]:
            first, last = config["gamma"]
            gamma = first * (last / first) ** (step / config["steps"])
            # The mean over both halves, twice: R1 + R2.
            loss_d = loss_d + gamma * zero_centred_penalty(self.logits, torch.cat([reals, fakes]))
        self._descend(1, loss_d)
        self.discriminator.requires_grad_(False)
        loss_g = self.generator_loss(self.logits(reals), self.logits(self.generator(self.latents(n))))
        self._descend(0, loss_g)
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            keep = min(config["average_decay"], step / (step + 10))
            new: list[Tensor] = list(self.generator.parameters())
            torch._foreach_lerp_(list(self.average.parameters()), new, 1 - keep)
            for old, now in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                old.copy_(now)
        return loss_d.detach(), loss_g.detach()

    def logits(self, images: Tensor) -> Tensor:
        """(N, 3, 28, 28) -> (N / pack,)."""
        out: Tensor = self.discriminator(images.reshape(-1, self.config["pack"] * SHAPE[0], *SHAPE[1:]))
        return out

    def latents(self, n: int) -> Tensor:
        return torch.randn(n, self.config["latent_dim"], device=self.device)

    @torch.no_grad()
    def samples(self, n: int) -> Tensor:
        """uint8 (n, 3, 28, 28) of the averaged generator."""
        self.average.eval()
        parts = [self.average(self.latents(min(500, n - i))) for i in range(0, n, 500)]
        self.average.train()
        return (255 * torch.cat(parts)).round().byte()

    def _descend(self, player: int, loss: Tensor) -> None:
        self.optimizers[player].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[player].step()


def stacked(digits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """uint8 (n, 3, 28, 28): three digits each, drawn from `digits` (N, 1, 28, 28) with replacement."""
    return digits[torch.randint(len(digits), (n, 3), generator=generator), 0]


def execute(run: Run, device: Device) -> Outcome:
    config, (seed,) = run.config, run.seeds
    digits = torch.from_numpy(load("mnist", "train").images)
    source = torch.Generator().manual_seed(seed)
    gan, log, steps = DigitGAN(config, seed, device), [], config["steps"]
    for step in range(steps):
        reals = stacked(digits, config["batch_images"], source).to(device).float() / 255
        loss_d, loss_g = gan.step(step, reals)
        if (step + 1) % max(1, steps // 10) == 0:
            log.append({"step": step + 1, "loss_d": loss_d.item(), "loss_g": loss_g.item()})
    images = gan.samples(config["samples"])
    return Outcome(measure(images, device), log, _shown(images, seed))


def execute_floor(run: Run, device: Device) -> Outcome:
    """Real triples, measured as samples are."""
    digits = torch.from_numpy(load("mnist", "train").images)
    images = stacked(digits, run.config["samples"], torch.Generator().manual_seed(run.seeds[0]))
    return Outcome(measure(images, device), [], _shown(images, run.seeds[0]))


def _shown(images: Tensor, seed: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Of one seed alone: no page shows the others."""
    return {"images": images[:SHOWN].numpy()} if seed == SHOWN_SEED else {}


def measure(images: Tensor, device: Device) -> dict[str, Any]:
    """Of uint8 images (N, 3, 28, 28): the modes that the published classifier sees in them, colour by colour."""
    space = FeatureSpace.load(published_classifier("mnist"), load("mnist", "test"), device)
    labels = [space(images[:, colour : colour + 1])[1] for colour in range(3)]
    counts = mode_histogram(labels)
    return {"modes": int(np.count_nonzero(counts)), "reverse_kl_nats": reverse_kl_nats(counts)}


def mode_histogram(labels: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Three arrays (N,) of digits -> how many of the N images are of each of the 1000 modes."""
    return np.bincount(together(labels), minlength=MODES)
