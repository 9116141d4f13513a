"""Discriminator rejection sampling (Azadi et al. 2019): of a model's samples, those that its data would have given.

A sample x is kept with probability min(1, keep r(x)), where r = p_data / p_model is the density ratio of /score: of a
calibrated discriminator, as in Turner et al. 2019, "Metropolis-Hastings generative adversarial networks". What is kept
has a density proportional to p_model min(1, keep r) = min(p_model, keep p_data): that of the data where r <= 1 / keep,
and less where the model would have to draw more than 1 / keep times as often. So `keep` is the 1 / M of rejection
sampling, chosen by the caller rather than searched for: what Azadi et al. do with gamma. The mean of r over the model's
samples is 1, so about `keep` of them are kept, less what is cut off; with 1, all but what the data has less of.

All of this holds as far as r does. A discriminator that sees part of what an image is corrects that part alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service import latents, operations
from service.errors import BadRequest, NotFound
from service.latents import Prior
from service.manifest import Image
from service.registry import Model
from service.steps import Steps
from service.tensors import Bools, Doubles, Images

_MOST_AT_A_TIME = 256


@dataclass(frozen=True)
class Kept:
    """`images` uint8 (n, H, W, C) and their `seeds`, in order, and how many samples were looked at for them.

    `labels`: of a conditional model, the class of each; else None.
    """

    images: Images
    seeds: list[int]
    labels: Sequence[int] | None
    proposed: int

    @property
    def acceptance_rate(self) -> float:
        return len(self.seeds) / self.proposed


def is_kept(density_ratio: Doubles, uniform: Doubles, keep: float) -> Bools:
    """Which samples are kept: (n,), (n,) uniform in [0, 1) -> (n,)."""
    return uniform < keep * density_ratio


def sample(
    model: Model,
    discriminator: Model,
    seeds: Sequence[int],
    n: int,
    keep: float,
    truncation: float | None = None,
    label: int | None = None,
    prior: Prior | None = None,
) -> Steps[Kept]:
    """The first n samples of `seeds` that are kept.

    Whether the sample of a seed is kept depends on the seed, the two models and the options alone: its uniform number
    is drawn from the seed too, and its score is that of its 8-bit image. So n = 4 gives the first 4 of n = 64.

    Args:
        seeds: of the samples to look at, at the most.
        keep: in (0, 1]; smaller is nearer to the data, and dearer.
        truncation, label, prior: of every sample, see `operations.sample`.

    Raises:
        NotFound: the model cannot be sampled, or `discriminator` is none.
        BadRequest: fewer than n are kept, or images of another shape, and what `operations.sample` raises.
    """
    _check(model, discriminator)
    images: list[Images] = []
    kept: list[int] = []
    classes: list[int] = []
    looked_at = 0
    while looked_at < len(seeds) and len(kept) < n:
        # What is expected to suffice, which may be infinity; it has no bearing on what is kept.
        size = int(min(_MOST_AT_A_TIME - 1, (n - len(kept)) / keep)) + 1
        part = seeds[looked_at : looked_at + size]
        labels = None if label is None else [label] * len(part)
        drawn = yield from operations.sample(model, part, truncation, labels, prior)
        score = yield from operations.discriminate(discriminator, drawn.images)
        chosen = np.flatnonzero(is_kept(score.density_ratio, latents.uniforms(part), keep))[: n - len(kept)]
        images.append(drawn.images[chosen])
        kept += [part[i] for i in chosen]
        classes += [drawn.labels[i] for i in chosen] if drawn.labels else []
        looked_at += len(part)
    if len(kept) < n:
        raise BadRequest.at(
            "keep",
            f"{keep:g} kept {len(kept):,} of the {looked_at:,} samples that may be looked at, {n:,} are asked for; "
            "ask for fewer images, or keep more",
        )
    return Kept(np.concatenate(images), kept, classes or None, proposed=seeds.index(kept[-1]) + 1)


def _check(model: Model, discriminator: Model) -> None:
    if "discriminate" not in discriminator.graphs:
        hint = "; name another model's with `discriminator`" if discriminator is model else ""
        raise NotFound(f"{discriminator} has no discriminator to choose by{hint}")
    ours, theirs = model.manifest.image, discriminator.manifest.image
    if ours != theirs:
        raise BadRequest.at(
            "discriminator",
            f"{discriminator} scores images of {_show(theirs)}; those of {model} are {_show(ours)}",
        )


def _show(image: Image) -> str:
    return f"{image.height} x {image.width} x {image.channels}"
