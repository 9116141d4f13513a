"""GANs of points in the plane: several seeds side by side, all alike but for what is meant to prevent collapse."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from training.layers import MinibatchStddev, closeness
from training.losses import GAN_LOSSES, zero_centred_penalty
from training.metrics.modes import ModeCounts, mode_counts, reverse_kl_nats
from training.studies.mixtures import Mixture, grid, ring
from training.studies.stacked import StackedLinear, StackedMLP, generators, leaky, normal
from training.studies.study import Device, Outcome, Run

DATA: dict[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid}
SAMPLES = 2500
KEPT_POINTS = 400
"""Of each seed's samples, in the record."""
EVALUATION_SEED = 1_000_000
"""Latents that samples are made of come from sources of their own."""


class PointDiscriminator(nn.Module):
    """(S, N, 2) -> logits (S, N / pack), each seed's own: of single points, or of packs (Lin et al. 2018)."""

    frequencies: Tensor

    def __init__(
        self,
        hidden: Sequence[int],
        octaves: int,
        pack: int,
        coupling: Literal["none", "minibatch-discrimination", "minibatch-stddev"],
        kernels: int,
        kernel_dim: int,
        sources: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.pack, self.coupling, self.kernel_dim = pack, coupling, kernel_dim
        features = hidden[-1]
        self.register_buffer("frequencies", math.pi / 2 * 2.0 ** torch.arange(octaves))
        self.trunk = StackedMLP((2 * (1 + 2 * octaves) * pack, *hidden), sources)
        extra = {"none": 0, "minibatch-discrimination": kernels, "minibatch-stddev": 1}[coupling]
        self.head = StackedLinear(features + extra, 1, sources)
        if coupling == "minibatch-discrimination":
            self.T = StackedLinear(features, kernels * kernel_dim, sources).weight

    def forward(self, x: Tensor) -> Tensor:
        f = leaky(self.trunk(self.encode(x).reshape(len(x), x.shape[1] // self.pack, -1)))
        if self.coupling == "minibatch-discrimination":
            M = torch.bmm(f, self.T).reshape(*f.shape[:2], -1, self.kernel_dim)
            f = torch.cat([f, torch.vmap(closeness)(M, M)], dim=-1)
        if self.coupling == "minibatch-stddev":
            f = torch.cat([f, torch.vmap(MinibatchStddev())(f)], dim=-1)
        out: Tensor = self.head(f)
        return out.squeeze(-1)

    def encode(self, x: Tensor) -> Tensor:
        """(..., 2) -> (..., 2 + 4 octaves): the coordinates, and sines and cosines of them, each octave finer.

        Perceptrons are slow to learn what is fine (Tancik et al. 2020), as modes are to the space between them.
        """
        phases = (x.unsqueeze(-1) * self.frequencies).flatten(-2)
        return torch.cat([x, phases.sin(), phases.cos()], dim=-1)


class PointGAN:
    """One game a seed. The points that the networks see are the data divided by `scale`, of unit variance."""

    def __init__(self, config: Mapping[str, Any], seeds: Sequence[int], device: Device) -> None:
        self.config, self.device = config, device
        self.sources = generators(seeds)
        self.data = DATA[config["data"]]()
        self.scale = float(self.data.centres.square().mean().sqrt())
        self.discriminator_loss, self.generator_loss = GAN_LOSSES[config["loss"]]
        latent, hidden = config["latent_bits"] + config["latent_normals"], config["hidden"]
        self.generator = StackedMLP((latent, *hidden, 2), self.sources, "tanh", config["gain"]).to(device)
        self.discriminator = PointDiscriminator(
            hidden,
            config["octaves"],
            config["pack"],
            config["coupling"],
            config["kernels"],
            config["kernel_dim"],
            self.sources,
        ).to(device)
        self.average = copy.deepcopy(self.generator)
        betas = (config["beta1"], config["beta2"])
        self.optimizers = [
            torch.optim.Adam(self.generator.parameters(), betas=betas, fused=True),
            torch.optim.Adam(self.discriminator.parameters(), betas=betas, fused=True),
        ]

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """One update of the discriminator, then `generator_steps` of the generator; the loss of either."""
        config = self.config
        progress = step / config["steps"]
        cosine = max(config["lr_floor"], 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer, lr in zip(self.optimizers, config["lr"], strict=True):
            optimizer.param_groups[0]["lr"] = lr * cosine
        n = config["batch_points"]
        reals = torch.stack([self.data.sample(n, s) for s in self.sources]).to(self.device) / self.scale
        with torch.no_grad():
            fakes = self.generator(self.latents(n))
        loss_d = self.discriminator_loss(self.logits(reals), self.logits(fakes))
        if config["penalties"]:
            both = torch.cat([reals, fakes], dim=1).flatten(0, 1)
            # The mean over both halves, twice: R1 + R2.
            penalty = zero_centred_penalty(lambda x: self.logits(x.reshape(len(reals), -1, 2)), both)
            loss_d = loss_d + gamma(config, progress) / 2 * 2 * penalty
        self._descend(1, loss_d)
        self.discriminator.requires_grad_(False)
        for _ in range(config["generator_steps"]):
            loss_g = self.generator_loss(self.logits(reals), self.logits(self.generator(self.latents(n))))
            self._descend(0, loss_g)
        self.discriminator.requires_grad_(True)
        keep = min(config["average_decay"], step / (step + 10))
        with torch.no_grad():
            new: list[Tensor] = list(self.generator.parameters())
            torch._foreach_lerp_(list(self.average.parameters()), new, 1 - keep)
        return loss_d.detach(), loss_g.detach()

    def logits(self, points: Tensor) -> Tensor:
        """(S, N, 2) -> (S N / pack,): the losses take one axis."""
        out: Tensor = self.discriminator(points)
        return out.flatten()

    def latents(self, n: int) -> Tensor:
        return latents(self.config, self.sources, n).to(self.device)

    @torch.no_grad()
    def samples(self, seeds: Sequence[int], n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(S, n, 2) of the averaged generators, in the data's units."""
        sources = generators([EVALUATION_SEED + seed for seed in seeds])
        z = latents(self.config, sources, n).to(self.device)
        points: np.ndarray[Any, np.dtype[np.float32]] = (self.scale * self.average(z)).cpu().numpy()
        return points

    def _descend(self, player: int, loss: Tensor) -> None:
        """Losses are means over seeds too; times their number, they are sums of what each seed has alone."""
        self.optimizers[player].zero_grad()
        (len(self.sources) * loss).backward()  # type: ignore[no-untyped-call]
        self.optimizers[player].step()


def latents(config: Mapping[str, Any], sources: Sequence[torch.Generator], n: int) -> Tensor:
    """(S, n, bits + normals): fair coins of -1 and 1, then normal numbers of a small sd.

    The data are islands, and a continuous image of a connected latent has bridges between them.
    """
    z = normal(sources, n, config["latent_bits"] + config["latent_normals"])
    bits, normals = z[..., : config["latent_bits"]], z[..., config["latent_bits"] :]
    return torch.cat([bits.sign(), config["normals_sd"] * normals], dim=-1)


def gamma(config: Mapping[str, Any], progress: float) -> float:
    """The penalties' strength: a geometric path from the first of `gamma` to the second at 80 % of the run."""
    first, last = config["gamma"]
    return float(first * (last / first) ** min(1.0, progress / 0.8))


def execute(run: Run, device: Device) -> Outcome:
    gan = PointGAN(run.config, run.seeds, device)
    log, steps = [], run.config["steps"]
    for step in range(steps):
        loss_d, loss_g = gan.step(step)
        if (step + 1) % max(1, steps // 10) == 0:
            row = measure(gan.samples(run.seeds, SAMPLES), gan.data)
            log.append({"step": step + 1, "loss_d": loss_d.item(), "loss_g": loss_g.item(), **row})
    points = gan.samples(run.seeds, SAMPLES)
    return Outcome(measure(points, gan.data), log, {"points": points[:, :KEPT_POINTS].astype(np.float16)})


def execute_floor(run: Run, device: Device) -> Outcome:  # noqa: ARG001 - nothing is trained
    """Real points, measured as samples are."""
    data = DATA[run.config["data"]]()
    points = np.stack([data.sample(SAMPLES, source).numpy() for source in generators(run.seeds)])
    return Outcome(measure(points, data), [], {"points": points[:, :KEPT_POINTS].astype(np.float16)})


def measure(points: np.ndarray[Any, np.dtype[np.float32]], data: Mixture) -> dict[str, list[float]]:
    """Of samples (S, N, 2), a number a seed each."""
    counts: list[ModeCounts] = [mode_counts(p, data.centres.numpy(), 3 * data.sd) for p in points]
    return {
        "modes": [c.captured for c in counts],
        "high_quality": [c.high_quality_fraction for c in counts],
        "reverse_kl_nats": [round(reverse_kl_nats(c.nearest), 5) for c in counts],
    }
