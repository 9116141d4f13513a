"""The page of the study `sampling`: its table, figures and words, from records alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from training.studies.figures import COLOURS, axes, save, show_images
from training.studies.pages import mean_sd, table
from training.studies.study import Arrays, Record

FAMILIES = {"ae": "AE", "vae": "VAE"}
PRIORS = {
    "normal": "N(0, I)",
    "mixture1": "fitted Gaussian",
    "mixture10": "10 fitted Gaussians",
    "mixture64": "64 fitted Gaussians",
}
DRAWS = 400
"""Draws of a prior in a picture of the codes."""
METRICS = ("fd", "precision", "recall", "density", "coverage")
PUBLISHED = (
    ("AE", "mixture1", "mixture10", 58.73, 10.66, "Ghosh et al. 2020, table 1: AE"),
    ("VAE", "normal", "mixture10", 19.21, 17.66, "Ghosh et al. 2020, table 1: VAE"),
    ("VAE", "normal", "mixture64", 16.6, 12.6, "Dai & Wipf 2019: VAE, 2-stage VAE"),
)
"""Family, prior, better prior, the FID of each on MNIST, and where it is from."""


def headline(records: Sequence[Record]) -> str:
    ae, vae = (_values(records, family) for family in FAMILIES)
    return (
        f"Decoded from N(0, I), the autoencoder has a Frechet distance (FD) of {mean_sd(ae['normal', 'fd'])}; from 10 "
        f"Gaussians fitted to its codes afterwards, {mean_sd(ae['mixture10', 'fd'])}: "
        f"{_ratio(ae['normal', 'fd'], ae['mixture10', 'fd'])} times as much, with the same decoder. The VAE goes from "
        f"{mean_sd(vae['normal', 'fd'])} to {mean_sd(vae['mixture10', 'fd'])} "
        f"({_ratio(vae['normal', 'fd'], vae['mixture10', 'fd'])})."
    )


def page(records: Sequence[Record], folder: Path) -> str:
    pictures = {family: next(r for r in _of(records, family) if r.outcome.arrays) for family in FAMILIES}
    _distances(records, folder / "distances.png")
    _samples(pictures, folder / "samples.png")
    _codes(pictures, folder / "codes.png")
    config = _of(records, "ae")[0].run.config
    seeds = len(_of(records, "ae"))
    name = folder.name
    return f"""
{_results(records)}

Mean ± sd over {seeds} seed(s). FD: {config["samples"]:,} samples against {config["samples"]:,} test images in the
features of the digit classifier; it does not compare with Inception's FID. Precision and recall (k = 3), density and
coverage (k = 5): {config["neighbour_samples"]:,} against {config["neighbour_samples"]:,}. The last column says how well
the prior knows the codes: the mean log density of the codes of test images, in nats, comparable within a run alone,
since it moves with their scale. Networks are those of the recipes with fewer channels, trained on
{config["train"]["images"]:,} images; priors are fitted to the codes of {config["fitted_codes"]:,} training images (of
the VAE: draws of q(z|x)).

![FD by prior]({name}/distances.png)

## What is sampled

![Samples]({name}/samples.png)

## Where the codes lie

The first two principal axes of the codes, of 16. Colour: codes of test images, by digit. Black: draws of the prior.
Ellipses: the components of the mixture, two standard deviations.

![Codes]({name}/codes.png)

Nothing in the autoencoder's loss sets the place, the scale or the shape of its codes: their standard deviation is
{mean_sd(_code_sd(records, "ae"))} here, and could be any other number. A fitted Gaussian repairs place and scale; what
a mixture adds is the shape. The VAE's loss asks for N(0, I) (its codes have a standard deviation of
{mean_sd(_code_sd(records, "vae"))}), and its codes miss it only by what the KL term left over.

## Beside the published ratios

{_published(records)}

The features and networks differ, so only the ratios compare, and those only roughly: they depend on how far the
reconstructions are, which bound what any prior can reach with the decoder (last rows of the table above). In Ghosh et
al.'s table 1 the autoencoder's 58.73 is already that of a fitted Gaussian, not of N(0, I).
"""


def _results(records: Sequence[Record]) -> str:
    rows = []
    for family, title in FAMILIES.items():
        values = _values(records, family)
        for prior, label in PRIORS.items():
            cells = [mean_sd(values[prior, metric], 3 if metric == "fd" else 2) for metric in METRICS]
            rows.append([f"{title} + {label}", *cells, mean_sd(values[prior, "code_log_density_nats"])])
    for family, title in FAMILIES.items():
        rebuilt = [r.outcome.results["reconstructions_fd"] for r in _of(records, family)]
        rows.append([f"{title}: reconstructed test images", mean_sd(rebuilt), *[""] * len(METRICS)])
    floor = _floor(records)
    rows.append(
        ["training images", *(mean_sd([floor[metric]], 3 if metric == "fd" else 2) for metric in METRICS), ""]
    )
    return table(["sampled", "FD", "precision", "recall", "density", "coverage", "codes, nats"], rows)


def _published(records: Sequence[Record]) -> str:
    rows = []
    for title, before, after, fid, better, source in PUBLISHED:
        values = _values(records, title.lower())
        rows.append(
            [
                f"{title}: {PRIORS[before]} → {PRIORS[after]}",
                _ratio(values[before, "fd"], values[after, "fd"]),
                f"{better / fid:.2f}",
                f"{source}, FID {fid} → {better}",
            ]
        )
    return table(["", "FD ratio here", "FID ratio, published", "source"], rows)


def _distances(records: Sequence[Record], path: Path) -> None:
    figure, place = axes(width=8.0, height=3.4)
    width = 0.36
    for i, (family, title) in enumerate(FAMILIES.items()):
        values = _values(records, family)
        means = [float(np.mean(values[prior, "fd"])) for prior in PRIORS]
        x = np.arange(len(PRIORS)) + (i - 0.5) * width
        place.bar(x, means, width * 0.94, color=COLOURS[i], label=title)
        for j, prior in enumerate(PRIORS):
            seeds = values[prior, "fd"]
            place.plot([x[j]] * len(seeds), seeds, ".", color="#222222", markersize=4)
            place.annotate(
                f"{means[j]:,.0f}", (x[j], max(seeds)), xytext=(0, 4), textcoords="offset points", ha="center"
            )
        rebuilt = float(np.mean([r.outcome.results["reconstructions_fd"] for r in _of(records, family)]))
        place.axhline(
            rebuilt, color=COLOURS[i], linestyle="--", linewidth=1, label=f"{title}: reconstructions"
        )
    place.axhline(_floor(records)["fd"], color="#222222", linestyle=":", linewidth=1, label="training images")
    place.set_yscale("log")
    place.set_xticks(np.arange(len(PRIORS)), list(PRIORS.values()))
    place.set_ylabel("FD, squared feature units (log)")
    place.set_title("The same decoders, sampled from different priors (dots: seeds)")
    place.grid(False, axis="x")
    place.set_axisbelow(True)
    place.margins(y=0.12)
    figure.legend(loc="outside right upper")
    save(figure, path)


def _samples(pictures: dict[str, Record], path: Path) -> None:
    figure, places = axes(len(FAMILIES), len(PRIORS), width=10.0, height=7.0)
    for row, (family, title) in zip(places, FAMILIES.items(), strict=True):
        for place, (prior, label) in zip(row, PRIORS.items(), strict=True):
            sheet = pictures[family].outcome.arrays[f"samples_{prior}"]
            show_images(place, sheet, 6, f"{title} + {label}")
    save(figure, path)


def _codes(pictures: dict[str, Record], path: Path) -> None:
    figure, places = axes(len(FAMILIES), len(PRIORS), width=12.0, height=6.4)
    for row, (family, title) in zip(places, FAMILIES.items(), strict=True):
        arrays = pictures[family].outcome.arrays
        points = arrays["plane_codes"]
        low, high = np.percentile(points, (0.5, 99.5), axis=0)
        low, high = low - 0.2 * (high - low), high + 0.2 * (high - low)
        for place, (prior, label) in zip(row, PRIORS.items(), strict=True):
            draws = arrays[f"plane_{prior}"]
            dots = place.scatter(
                *points.T, c=arrays["digits"], cmap="tab10", vmin=-0.5, vmax=9.5, s=6, alpha=0.5, lw=0
            )
            place.scatter(*draws[:DRAWS].T, color="black", s=4, lw=0)
            if prior == "mixture10":
                _ellipses(place, arrays)
            place.set_xlim(low[0], high[0])
            place.set_ylim(low[1], high[1])
            place.set_axisbelow(True)
            outside = 1 - float(np.mean(np.all((draws >= low) & (draws <= high), axis=1)))
            place.set_title(f"{title}, {label}" + (f" ({outside:.0%} outside)" if outside > 0.02 else ""))
        row[0].set_ylabel("second principal axis")
    for place in places[-1]:
        place.set_xlabel("first principal axis")
    bar = figure.colorbar(dots, ax=places, ticks=range(10), shrink=0.7, pad=0.01)
    bar.set_label("digit")
    bar.solids.set_alpha(1)
    save(figure, path)


def _ellipses(place: Axes, arrays: Arrays) -> None:
    for mean, covariance in zip(arrays["mixture_means"], arrays["mixture_covariances"], strict=True):
        variances, directions = np.linalg.eigh(covariance)
        width, height = 4 * np.sqrt(variances[::-1])
        angle = float(np.degrees(np.arctan2(directions[1, 1], directions[0, 1])))
        place.add_patch(
            Ellipse(tuple(mean), width, height, angle=angle, fill=False, color="#222222", linewidth=1)
        )


def _of(records: Sequence[Record], family: str) -> list[Record]:
    return [r for r in records if r.run.config.get("train", {}).get("family") == family]


def _values(records: Sequence[Record], family: str) -> dict[tuple[str, str], list[float]]:
    """By prior and metric: a value a seed."""
    found = _of(records, family)
    metrics = (*METRICS, "code_log_density_nats")
    return {(p, m): [r.outcome.results[p][m] for r in found] for p in PRIORS for m in metrics}


def _code_sd(records: Sequence[Record], family: str) -> list[float]:
    """Mean over the dimensions, a value a seed."""
    return [float(np.mean(r.outcome.results["code_sd"])) for r in _of(records, family)]


def _floor(records: Sequence[Record]) -> dict[str, float]:
    return dict(next(r.outcome.results for r in records if "train" not in r.run.config))


def _ratio(before: Sequence[float], after: Sequence[float]) -> str:
    """Mean ± sd over the seeds of after / before."""
    return mean_sd([b / a for a, b in zip(before, after, strict=True)], 2)
