"""The page of the study `blur`: its tables, figures and words, from records alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.metrics.sharpness import HIGH_FREQUENCY, high_frequency_power
from training.studies.figures import COLOURS, axes, save, show_images
from training.studies.pages import mean_sd, table
from training.studies.study import Record

MODELS = {
    "data": "test data",
    "mnist-vae": "published VAE (Bernoulli)",
    "mnist-gan": "published GAN",
    "vae-gaussian": "VAE, Gaussian",
    "vae-bernoulli": "VAE, Bernoulli",
    "vae-gan": "VAE + adversary",
    "gan": "GAN",
}
COLOUR = dict(zip(MODELS, ("#222222", *COLOURS), strict=False))
NETWORKS = {"completion-mse": "squared error", "completion-adversarial": "adversarial"}


def headline(records: Sequence[Record]) -> str:
    data = _values(records, "data", "sharpness")[0]
    ratio = {
        name: mean_sd([value / data for value in _values(records, name, "sharpness")]) for name in MODELS
    }
    truth = _neighbours(records).outcome.results["truth"]["sharpness"]
    half = {
        name: mean_sd([value / truth for value in _values(records, name, "sharpness")]) for name in NETWORKS
    }
    return (
        f"The variance of the Laplacian of samples is, as a multiple of the data's: VAE {ratio['vae-gaussian']} "
        f"(Gaussian) and {ratio['vae-bernoulli']} (Bernoulli), VAE with an adversarial term {ratio['vae-gan']}, GAN "
        f"{ratio['gan']}; of the published models, trained for longer, VAE {ratio['mnist-vae']} and GAN "
        f"{ratio['mnist-gan']}. Of the completed halves of ambiguous digits it is {half['completion-mse']} times the "
        f"truth's with squared error alone, and {half['completion-adversarial']} with an adversary."
    )


def page(records: Sequence[Record], folder: Path) -> str:
    _sheets(records, folder / "samples.png")
    _spectra(records, folder / "spectra.png")
    _bars(records, folder / "sharpness.png")
    _completions(records, folder / "completions.png")
    name = folder.name
    data = _of(records, "data")[0]
    asked = _neighbours(records).run.config["asked"]
    found = _neighbours(records).outcome.results
    seeds = len(_of(records, "gan"))
    published = " and ".join(
        f"{_values(records, name, 'images_seen')[0]:,} (`{name}`, version {_values(records, name, 'version')[0]})"
        for name in ("mnist-vae", "mnist-gan")
    )
    images = _of(records, "gan")[0].run.config["recipe"]["images"]
    return f"""
## Samples

{_results(records)}

Mean ± sd over {seeds} seed(s). Sharpness: variance of the Laplacian, mean of {data.run.config["samples"]:,} samples,
pixels in [0, 1]. High frequencies: power above {HIGH_FREQUENCY} cycles/pixel, as a multiple of the data's. FD: to as
many test images, in the features of the digit classifier (in the first row: of training images); not Inception's FID.
A VAE's sample is the mean of p(x|z), without the noise that its likelihood would add. The networks of the study are
small, have the same decoder, and saw {images:,} images each; the published ones {published}.

![Samples]({name}/samples.png)

![Power spectra]({name}/spectra.png)

![Sharpness]({name}/sharpness.png)

Neither number says that a sample is good: the Laplacian also sees the speckle and the checkerboards of a generator
that was trained for a short time, which is why its value may exceed the data's. A blur takes high frequencies away, and
that is what the right panel of the spectra shows.

## Where several completions fit

The lower half of a digit is hidden. For {asked["n"]:,} test digits, the {asked["k"]} training digits whose upper
halves are nearest tell, without any model, what may lie below. The {asked["ambiguous"]} digits whose neighbours'
labels have the highest entropy are looked at (on average {found["entropy_bits_ambiguous"]:.2f} bits; of all:
{found["entropy_bits"]:.2f}). Two networks complete them: one is trained with squared error, the other with the
same and a discriminator, which sees the upper half too.

{_completion_results(records)}

Sharpness and mean squared errors, a pixel, of the lower halves; mean ± sd over the seeds. Of all that one can answer,
the mean has the least squared error to what fits (last column, an average over the {asked["k"]}), and it is not like
any of them.

![Completions]({name}/completions.png)

Each column is a digit, all with the upper half that was seen; the three completions are those of the nearest neighbours
with different labels. The second network also takes noise. Two draws of it give completions that differ by
{mean_sd(_values(records, "completion-adversarial", "mse_between_draws"), 2)} (mean squared error, a pixel), while two
neighbours differ by {mean_sd([found["neighbour"]["mse_to_neighbours"]])}: how much it chooses anew each time. That
conditional GANs tend to ignore their noise is known (Isola et al. 2017, section 3.1).

## What this does not show

Neighbours whose upper halves are near, not equal, are a crude conditional distribution: their mean is more blurred than
the true one. The study's own models are small and trained for a short time, as their FD says; of the two that are not,
there is one seed. And the VAE with an adversary keeps its likelihood of pixels, where Larsen et al. 2016 measure the
error in the discriminator's features.
"""


def _results(records: Sequence[Record]) -> str:
    data = _of(records, "data")[0].outcome.results
    high = high_frequency_power(data["frequencies"], data["power"])
    rows = []
    for name, title in MODELS.items():
        results = [record.outcome.results for record in _of(records, name)]
        sharpness = [r["sharpness"] for r in results]
        rows.append(
            [
                title,
                mean_sd(sharpness),
                mean_sd([value / data["sharpness"] for value in sharpness]),
                mean_sd([high_frequency_power(r["frequencies"], r["power"]) / high for r in results]),
                mean_sd([r["fd"] for r in results]),
            ]
        )
    return table(["samples of", "sharpness", "per data's", "high frequencies, per data's", "FD"], rows)


def _completion_results(records: Sequence[Record]) -> str:
    found = _neighbours(records).outcome.results
    keys = ("sharpness", "mse_to_mean", "mse_to_truth", "mse_to_neighbours")
    names = {"truth": "the truth", "neighbour": "the nearest neighbour", "mean": "the neighbours' mean"}
    rows = [[title, *(mean_sd([found[name][key]]) for key in keys)] for name, title in names.items()]
    for name, title in NETWORKS.items():
        rows.append([f"network: {title}", *(mean_sd(_values(records, name, key)) for key in keys)])
    k = _neighbours(records).run.config["asked"]["k"]
    header = ["lower half", "sharpness", "MSE to the neighbours' mean", "to the truth", f"to all {k}"]
    return table(header, rows)


def _sheets(records: Sequence[Record], path: Path) -> None:
    order = ("data", "vae-gaussian", "vae-bernoulli", "vae-gan", "gan", "mnist-vae", "mnist-gan")
    figure, places = axes(2, 4, width=12.0, height=4.6)
    for place, name in zip(places.flat, order, strict=False):
        show_images(place, _of(records, name)[0].outcome.arrays["sheet"], 8, MODELS[name])
    places.flat[-1].set_axis_off()
    save(figure, path)


def _spectra(records: Sequence[Record], path: Path) -> None:
    figure, (left, right) = axes(1, 2, width=10.0, height=4.0)
    data = np.array(_of(records, "data")[0].outcome.results["power"])
    for name, title in MODELS.items():
        frequencies = np.array(_of(records, name)[0].outcome.results["frequencies"])[1:]
        power = np.array([record.outcome.results["power"] for record in _of(records, name)])
        style = "--" if name.startswith("mnist") else "-"
        for place, values in ((left, power[:, 1:]), (right, (power / data)[:, 1:])):
            logs = np.log10(values)
            mean, spread = logs.mean(axis=0), logs.std(axis=0, ddof=1) if len(logs) > 1 else 0
            label = title if place is left else None
            place.plot(frequencies, 10**mean, style, color=COLOUR[name], label=label)
            place.fill_between(
                frequencies,
                10 ** (mean - spread),
                10 ** (mean + spread),
                color=COLOUR[name],
                alpha=0.15,
                lw=0,
            )
    for place, label in ((left, "mean power in a ring"), (right, "power / the data's")):
        place.set_xscale("log")
        place.set_yscale("log")
        ticks = (0.04, 0.1, 0.2, 0.5)
        place.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        place.minorticks_off()
        place.set_xlabel("spatial frequency, cycles/pixel")
        place.set_ylabel(label)
    left.set_title("Power spectrum")
    right.set_title("Beside the data's")
    figure.legend(loc="outside right center", frameon=False)
    save(figure, path)


def _bars(records: Sequence[Record], path: Path) -> None:
    figure, place = axes(width=8.0, height=3.2)
    for i, name in enumerate(MODELS):
        results = [record.outcome.results for record in _of(records, name)]
        means = [r["sharpness"] for r in results]
        spread = float(np.mean([r["sharpness_sd"] for r in results]))
        place.barh(
            i, np.mean(means), 0.7, xerr=spread, color=COLOUR[name], error_kw={"lw": 1, "ecolor": "#888888"}
        )
        if len(means) > 1:
            place.plot(means, [i] * len(means), "o", color="white", markeredgecolor="#222222", markersize=4)
    place.axvline(np.mean(_values(records, "data", "sharpness")), color="#222222", linestyle=":", linewidth=1)
    place.set_yticks(range(len(MODELS)), list(MODELS.values()))
    place.invert_yaxis()
    place.set_xlim(0)
    place.grid(False, axis="y")
    place.set_xlabel(
        "variance of the Laplacian (bars: sd from image to image; dots: seeds; dotted: the data)"
    )
    place.set_title("Sharpness of samples")
    save(figure, path)


def _completions(records: Sequence[Record], path: Path) -> None:
    arrays = _neighbours(records).outcome.arrays
    truth = arrays["truth"]  # (S, 28, 28)
    upper = truth[:, :14]
    rows = {
        "input": np.full_like(upper, 60),
        "truth": truth[:, 14:],
        **{f"completion {i + 1}": arrays["neighbours"][:, i] for i in range(arrays["neighbours"].shape[1])},
        "neighbours'\nmean": arrays["mean"],
        **{
            f"network:\n{title}": _of(records, name)[0].outcome.arrays["completed"]
            for name, title in NETWORKS.items()
        },
    }
    figure, places = axes(len(rows), 1, width=9.0, height=0.78 * len(rows))
    for place, (title, lower) in zip(places, rows.items(), strict=True):
        show_images(place, np.concatenate([upper, lower], axis=1), len(truth))
        place.text(-0.02, 0.5, title, transform=place.transAxes, ha="right", va="center", fontsize=8)
    save(figure, path)


def _of(records: Sequence[Record], name: str) -> list[Record]:
    """The runs called `name`, or `name` and a seed."""
    return [r for r in records if r.run.name in {name, *(f"{name}-{seed}" for seed in r.run.seeds)}]


def _neighbours(records: Sequence[Record]) -> Record:
    return _of(records, "neighbours")[0]


def _values(records: Sequence[Record], name: str, key: str) -> list[Any]:
    return [record.outcome.results[key] for record in _of(records, name)]
