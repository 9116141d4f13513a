"""The page of the study `kl`: its table and words, from records alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.studies import kl_figures
from training.studies.kl_figures import by_beta, mean, values
from training.studies.pages import mean_sd, table
from training.studies.study import Record

MARGINAL_KL = ("marginal_kl_at_least_nats", "marginal_kl_at_most_nats")
SMALL_NATS = 0.05
"""A rate below this is called a collapse."""


def headline(records: Sequence[Record]) -> str:
    groups = by_beta(records)
    low, high = min(b for b in groups if b > 0), max(groups)
    one = min(groups, key=lambda beta: abs(math.log(beta)) if beta else math.inf)
    rate, gain = (
        mean(groups[one], "rate_nats"),
        kl_figures.mean_image(records) - mean(groups[one], "distortion_nats"),
    )
    least, most = _beside_beta(records)
    collapse = (
        f"At beta = {high:g} nothing is worth its price: {_nats(groups[high], 'rate_nats')} nats, and every image is "
        "answered by the mean image."
        if mean(groups[high], "rate_nats") < SMALL_NATS
        else f"At beta = {high:g} the rate is down to {_nats(groups[high], 'rate_nats')} nats."
    )
    return (
        f"From beta = {low:g} to {high:g} the rate falls from {_nats(groups[low], 'rate_nats')} to "
        f"{_nats(groups[high], 'rate_nats')} nats and the distortion rises from "
        f"{_nats(groups[low], 'distortion_nats')} to {_nats(groups[high], 'distortion_nats')}. At beta = {one:g}, "
        f"{rate:.1f} nats of KL buy {gain:.0f} nats of log-likelihood over the best constant answer: that is why "
        f"the encoder does not answer N(0, I). What the last nat buys follows beta: from one beta to the next it is "
        f"{least:.2g} to {most:.2g} times their geometric mean, while beta itself grows {high / low:g}-fold. {collapse}"
    )


def page(records: Sequence[Record], folder: Path) -> str:
    groups = by_beta(records)
    kl_figures.rate_distortion(records, folder / "rate_distortion.png")
    kl_figures.dimensions(records, folder / "dimensions.png")
    kl_figures.surgery(records, folder / "surgery.png")
    kl_figures.posteriors(records, folder / "posteriors.png")
    kl_figures.pictures(records, folder / "pictures.png")
    config = records[0].run.config
    best = min(
        groups, key=lambda beta: mean(groups[beta], "rate_nats") + mean(groups[beta], "distortion_nats")
    )
    least = records[0].outcome.results["least_distortion_nats"]
    channels = config["train"]["model"]["decoder_channels"]
    name, n, high = folder.name, config["test_images"], max(groups)
    return f"""
{_table(records)}

Mean ± sd over {len(groups[high])} seed(s), nats an image; {n:,} test images. R: rate, the KL from N(0, I). D:
distortion, -E log p(x|z), grey pixels as Bernoulli means: the best constant answer, the mean image, has
{kl_figures.mean_image(records):.1f}, and no decoder goes below {least:.1f}. R + D is the negative ELBO, which beta = 1
minimises; of these short trainings beta = {best:g} has the least. Active: dimensions with a variance of E[z|x] above
0.01 (Burda et al. 2016). FD: {config["samples"]:,} samples from N(0, I) against as many test images, comparable within
this page alone. The networks are small ({" and ".join(map(str, channels))} channels in the decoder,
{config["train"]["images"]:,} training images): the curve is the subject, not its height.

## Rate against distortion

![Rate against distortion, and what a nat of rate buys]({name}/rate_distortion.png)

On the curve of the best (R, D) pairs the slope is dD/dR = -beta (Alemi et al. 2018): a dimension carries what pays at
the price, and no more. So the chord between two betas should have a slope between them (right panel, table). What the
KL term asks of the encoder, N(0, I) for every image, is the left end of the curve: R = 0, at the distortion of the
mean image.

{_chords(records)}

{_free(records)}

## Which dimensions carry it

![KL by dimension]({name}/dimensions.png)

## The aggregate posterior and the prior

![I(x; z) and KL(q(z) || p(z))]({name}/surgery.png)

R = I(x; z) + KL(q(z) || p(z)) (Hoffman & Johnson 2016). The first is what the code says of the image, the second what
a decoder fed from N(0, I) is not used to. Neither is known exactly: with q(z) the mixture of the posteriors of {n:,}
test images, I(x; z) is found up to log {n:,} = {math.log(n):.1f} nats, and what is beyond is counted as the second; a
mixture fitted to codes of training images bounds the second from below. The bands lie between these bounds.

![Aggregate posterior]({name}/posteriors.png)

## What is left of the images

![Reconstructions and samples by beta]({name}/pictures.png)

Both halves are decoded from draws, of q(z|x) and of N(0, I), with the same noise: where z says nothing of the image
they are the same.

{_collapse(records)}
"""


def _table(records: Sequence[Record]) -> str:
    rows = []
    for beta, group in by_beta(records).items():
        total = [
            r + d for r, d in zip(values(group, "rate_nats"), values(group, "distortion_nats"), strict=True)
        ]
        rows.append(
            [
                f"{beta:g}",
                _nats(group, "rate_nats"),
                _nats(group, "distortion_nats"),
                mean_sd(total, 4),
                mean_sd(values(group, "active_units"), 2),
                _nats(group, "information_at_least_nats"),
                " to ".join(f"{max(0.0, mean(group, key)):.2f}" for key in MARGINAL_KL),
                mean_sd(values(group, "fd"), 3),
            ]
        )
    return table(
        ["beta", "R", "D", "R + D", "active, of 16", "I(x; z), at least", "KL(q(z) ‖ p(z))", "FD"], rows
    )


def _chords(records: Sequence[Record]) -> str:
    rows = [
        [
            f"{c.low:g} to {c.high:g}",
            f"{c.rate_nats:.2f}",
            f"{c.distortion_nats:.1f}",
            f"{c.nats_per_nat:.2f}",
        ]
        for c in kl_figures.chords(records)
    ]
    return table(["beta", "nats of rate saved", "nats of distortion paid", "a nat of rate is worth"], rows)


def _free(records: Sequence[Record]) -> str:
    """What happens at beta = 0."""
    groups = by_beta(records)
    if 0.0 not in groups:
        return ""
    priced = min(beta for beta in groups if beta > 0)
    rates = values(groups[0.0], "rate_nats")
    return (
        f"At no price (beta = 0) nothing asks for a small rate: it ends at {min(rates):.0f} to {max(rates):.0f} nats, "
        f"by seed, for a distortion of {_nats(groups[0.0], 'distortion_nats')}, where beta = {priced:g} has "
        f"{_nats(groups[priced], 'distortion_nats')} at {_nats(groups[priced], 'rate_nats')} nats."
    )


def _beside_beta(records: Sequence[Record]) -> tuple[float, float]:
    """The least and the greatest ratio of what a nat buys to the geometric mean of the two betas."""
    ratios = [chord.nats_per_nat / math.sqrt(chord.low * chord.high) for chord in kl_figures.chords(records)]
    return min(ratios), max(ratios)


def _collapse(records: Sequence[Record]) -> str:
    groups = by_beta(records)
    collapsed = [beta for beta, group in groups.items() if mean(group, "rate_nats") < SMALL_NATS]
    if not collapsed:
        return "No beta was high enough to take the rate to zero."
    group = groups[collapsed[0]]
    excess = np.asarray(values(group, "distortion_nats")) - kl_figures.mean_image(records)
    return (
        f"**Posterior collapse.** At beta = {', '.join(f'{b:g}' for b in collapsed)} the encoder does answer N(0, I) "
        f"to every image: R = {_nats(group, 'rate_nats')} nats, {mean_sd(values(group, 'active_units'), 2)} active "
        f"dimensions. The decoder is left with one answer, the mean image: D is {mean_sd(list(excess), 2)} nats above "
        "that of the best constant. It takes a price above what the first nat of rate buys. For a decoder of "
        "independent pixels, as here, that is far above 1, and the ELBO itself (beta = 1) does not collapse. A decoder "
        "that can do without z (an autoregressive one: Bowman et al. 2016; Chen et al. 2017) lowers what a nat of z "
        "buys, and can collapse at beta = 1 for the same reason; that is not part of this study."
    )


def _nats(group: Sequence[Record], key: str) -> str:
    numbers = values(group, key)
    size = abs(float(np.mean(numbers)))
    return mean_sd(numbers, 1 if size < SMALL_NATS else 3 if size < 100 else 4)
