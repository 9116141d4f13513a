"""The figures of the study `kl`, and the numbers that they share with its page."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patches import Circle
from matplotlib.ticker import NullLocator

from training.studies.figures import COLOURS, axes, save, show_images
from training.studies.study import Record

PLANES = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0)


class Chord(NamedTuple):
    """Between two neighbouring betas above 0, in nats, means over the seeds."""

    low: float
    high: float
    rate_nats: float
    """Less at the higher."""
    distortion_nats: float
    """More at the higher."""

    @property
    def nats_per_nat(self) -> float:
        return self.distortion_nats / self.rate_nats


def by_beta(records: Sequence[Record]) -> dict[float, list[Record]]:
    """In ascending order."""
    groups: dict[float, list[Record]] = {}
    for record in records:
        groups.setdefault(float(record.run.config["train"]["model"]["beta"]), []).append(record)
    return dict(sorted(groups.items()))


def values(group: Sequence[Record], key: str) -> list[float]:
    return [record.outcome.results[key] for record in group]


def mean(group: Sequence[Record], key: str) -> float:
    return float(np.mean(values(group, key)))


def mean_image(records: Sequence[Record]) -> float:
    """Distortion of the best constant answer, nats."""
    return mean(records[:1], "mean_image_distortion_nats")


def chords(records: Sequence[Record]) -> list[Chord]:
    groups = {beta: group for beta, group in by_beta(records).items() if beta > 0}
    betas = list(groups)
    return [
        Chord(
            low,
            high,
            mean(groups[low], "rate_nats") - mean(groups[high], "rate_nats"),
            mean(groups[high], "distortion_nats") - mean(groups[low], "distortion_nats"),
        )
        for low, high in pairwise(betas)
    ]


def rate_distortion(records: Sequence[Record], path: Path) -> None:
    figure, (left, right) = axes(1, 2, width=10.0, height=3.8, width_ratios=(1.35, 1))
    groups = by_beta(records)
    paid = {beta: group for beta, group in groups.items() if beta > 0}
    rates = [mean(group, "rate_nats") for group in paid.values()]
    distortions = [mean(group, "distortion_nats") for group in paid.values()]
    left.plot(rates, distortions, color=COLOURS[0], zorder=2)
    for (beta, group), rate, distortion in zip(paid.items(), rates, distortions, strict=True):
        left.plot(
            values(group, "rate_nats"), values(group, "distortion_nats"), ".", color=COLOURS[0], zorder=3
        )
        left.annotate(f"{beta:g}", (rate, distortion), xytext=(5, 4), textcoords="offset points")
    left.plot(0, mean_image(records), "*", color=COLOURS[1], markersize=11, zorder=4, clip_on=False)
    left.annotate(
        "N(0, I) for every image:\nthe mean image",
        (0, mean_image(records)),
        xytext=(28, -4),
        textcoords="offset points",
        color=COLOURS[1],
        va="center",
    )
    if 0.0 in groups:
        rate, distortion = mean(groups[0.0], "rate_nats"), mean(groups[0.0], "distortion_nats")
        edge = 1.08 * max(rates)
        left.annotate(
            f"0: at {rate:.0f} nats",
            (edge, distortion),
            xytext=(-80, 48),
            textcoords="offset points",
            arrowprops={"arrowstyle": "->", "color": "#222222"},
        )
        left.set_xlim(-0.03 * edge, edge)
    left.set_xlabel("rate: KL(q(z|x) || p(z)), nats an image")
    left.set_ylabel("distortion: -E log p(x|z), nats an image")
    left.set_title("Rate against distortion, by beta (dots: seeds)")

    found = chords(records)
    middle = [float(np.sqrt(c.low * c.high)) for c in found]
    ends = [min(c.low for c in found) / 1.3, max(c.high for c in found) * 1.3]
    right.plot(ends, ends, color="#7a7a7a", linewidth=1, linestyle="--", label="slope = beta")
    right.hlines(
        [c.nats_per_nat for c in found], [c.low for c in found], [c.high for c in found], color=COLOURS[0]
    )
    right.plot(
        middle, [c.nats_per_nat for c in found], "o", color=COLOURS[0], label="between neighbouring betas"
    )
    right.set_xscale("log", base=2)
    right.set_yscale("log", base=2)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    right.set_xlabel("beta")
    right.set_ylabel("distortion saved a nat of rate")
    right.set_title("What a nat of rate buys")
    right.legend(loc="upper left")
    save(figure, path)


def dimensions(records: Sequence[Record], path: Path) -> None:
    groups = by_beta(records)
    kl = np.array([np.mean(values(group, "kl_per_dimension_nats"), axis=0) for group in groups.values()])
    figure, place = axes(width=8.0, height=3.6)
    image = place.imshow(
        np.maximum(kl.T, 1e-3),
        aspect="auto",
        cmap="viridis",
        norm=LogNorm(1e-3, float(kl.max())),
        origin="upper",
    )
    for i, row in enumerate(kl):
        for j, value in enumerate(row):
            bright = value > 0.3
            place.text(
                i,
                j,
                f"{value:.2f}" if value < 9.995 else f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=6,
                color="black" if bright else "white",
            )
    active = [f"{beta:g}\n({mean(group, 'active_units'):.3g})" for beta, group in groups.items()]
    place.set_xticks(range(len(groups)), active)
    place.set_yticks(range(0, kl.shape[1], 3), [str(j + 1) for j in range(0, kl.shape[1], 3)])
    place.set_xlabel("beta (active dimensions)")
    place.set_ylabel("dimension, by its KL")
    place.set_title("KL of each dimension from N(0, 1), nats, mean over the seeds")
    place.grid(False)
    figure.colorbar(image, ax=place, pad=0.01).set_label("nats (log)")
    save(figure, path)


def surgery(records: Sequence[Record], path: Path) -> None:
    groups = by_beta(records)
    x = np.arange(len(groups))
    rate, information, most, least = (
        np.array([max(0.0, mean(group, key)) for group in groups.values()])
        for key in (
            "rate_nats",
            "information_at_least_nats",
            "marginal_kl_at_most_nats",
            "marginal_kl_at_least_nats",
        )
    )
    figure, place = axes(width=8.0, height=3.4)
    place.plot(x, rate, "o-", color="#222222", label="R = I(x; z) + KL(q(z) || p(z))", markersize=4)
    for colour, low, high, label in (
        (COLOURS[0], information, rate - least, "I(x; z): what z says of the image"),
        (COLOURS[1], least, most, "KL(q(z) || p(z)): where the prior is missed"),
    ):
        place.fill_between(x, low, high, color=colour, alpha=0.25, lw=0, label=label)
        place.plot(x, low, color=colour, linewidth=1)
        place.plot(x, high, color=colour, linewidth=1)
    place.set_yscale("symlog", linthresh=1, linscale=0.5)
    place.set_yticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
    place.yaxis.set_minor_locator(NullLocator())
    place.set_ylim(0, 1.3 * float(rate.max()))
    place.set_xticks(x, [f"{beta:g}" for beta in groups])
    place.set_xlabel("beta")
    place.set_ylabel("nats an image (linear below 1)")
    place.set_title("The rate taken apart (bands: between the bounds)")
    place.legend(loc="upper right")
    save(figure, path)


def posteriors(records: Sequence[Record], path: Path) -> None:
    shown = [
        (beta, next(r for r in group if r.outcome.arrays))
        for beta, group in by_beta(records).items()
        if beta in PLANES
    ]
    figure, places = axes(1, len(shown), width=12.0, height=2.7, squeeze=False)
    for place, (beta, record) in zip(places[0], shown, strict=True):
        points, digits = record.outcome.arrays["plane"], record.outcome.arrays["plane_digits"]
        dots = place.scatter(*points.T, c=digits, cmap="tab10", vmin=-0.5, vmax=9.5, s=4, alpha=0.7, lw=0)
        for radius in (1, 2):
            place.add_patch(Circle((0, 0), radius, fill=False, color="#222222", linewidth=1))
        reach = max(3.5, 1.05 * float(np.abs(points).max()))
        place.set_xlim(-reach, reach)
        place.set_ylim(-reach, reach)
        place.set_aspect("equal")
        place.set_axisbelow(True)
        place.set_title(f"beta = {beta:g}")
    figure.supxlabel(
        "the two dimensions of the greatest KL: a draw of q(z|x) a test image; circles: one and two sd of N(0, I)",
        fontsize=9,
    )
    bar = figure.colorbar(dots, ax=places, ticks=range(10), pad=0.01, shrink=0.75)
    bar.set_label("digit")
    bar.solids.set_alpha(1)
    save(figure, path)


def pictures(records: Sequence[Record], path: Path) -> None:
    shown = [(beta, next(r for r in group if r.outcome.arrays)) for beta, group in by_beta(records).items()]
    columns = len(shown[0][1].outcome.arrays["digits"])
    figure, places = axes(len(shown) + 1, 2, width=9.0, height=0.5 * (len(shown) + 1) + 0.5)
    show_images(
        places[0, 0], shown[0][1].outcome.arrays["digits"], columns, "Test digits; below, reconstructed"
    )
    places[0, 1].set_axis_off()
    places[0, 1].set_title("Samples from N(0, I)")
    for (left, right), (beta, record) in zip(places[1:], shown, strict=True):
        show_images(left, record.outcome.arrays["reconstructions"], columns)
        show_images(right, record.outcome.arrays["samples"], columns)
        left.text(-0.02, 0.5, f"beta = {beta:g}", transform=left.transAxes, ha="right", va="center")
    save(figure, path)
