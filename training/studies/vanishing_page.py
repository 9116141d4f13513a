"""The page of the study `vanishing`: its table, figures and words, from records alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from training.studies.figures import COLOURS, axes, save, show_images
from training.studies.pages import table
from training.studies.study import Record

TITLES = {"minimax": "log(1 - D(G(z)))", "nonsaturating": "-log D(G(z))"}
LOSS_COLOURS = dict(zip(TITLES, COLOURS, strict=False))
FIRST, HIGHEST, LAST = range(3)
"""Places in the lists of the results."""


def headline(records: Sequence[Record]) -> str:
    config = records[0].run.config
    ages, sd = config["ages_images"], config["noise_sds"][-1]
    steps = config["probe"]["steps"]
    losses, falls, kept, grown = [], [], [], []
    for age in ages:
        losses.append(_mean(_result(records, age, 0.0, "loss_d", LAST)))
        falls.append(_mean(_result(records, age, 0.0, "norm_minimax", LAST, per=HIGHEST)))
        kept.append(_mean(_result(records, age, sd, "norm_minimax", LAST, per=HIGHEST)))
        grown.append(_mean(_result(records, age, 0.0, "norm_nonsaturating", LAST, per=FIRST)))
    return (
        f"Against generators trained on {_listed([f'{age:,}' for age in ages])} images, {steps} steps of a fresh "
        f"discriminator bring its loss to {_listed(losses)} nats. The gradient of log(1 - D) is then "
        f"{_listed(falls)} of its highest; with instance noise of standard deviation {sd}, {_listed(kept)}. That of "
        f"-log D has grown to {_listed(grown)} times what an untrained discriminator gave."
    )


def page(records: Sequence[Record], folder: Path) -> str:
    _curves(records, folder / "gradients.png")
    _noise(records, folder / "noise.png")
    _samples(records, folder / "generators.png")
    config = records[0].run.config
    probe, name, sd = config["probe"], folder.name, config["noise_sds"][-1]
    ages = _listed([f"{age:,}" for age in config["ages_images"]])
    images = probe["probe_batches"] * probe["batch_size"]
    return f"""
{_results(records)}

Geometric mean over {len(records)} seed(s), and the factor of one geometric standard deviation. L_D: the discriminator's
loss in nats on {probe["test_images"]:,} test images and {images} samples, {probe["steps"]} steps after it began;
2 log 2 = 1.386 is chance. Gradient: the norm of the mean gradient in the generator's parameters over
{probe["probe_batches"]} batches of {probe["batch_size"]} latents; the generator is never updated. Agreement: cosine
between the gradients of -log D that two discriminators give, each trained from its own start (mean).

![L_D and gradient norms]({name}/gradients.png)

Bands: one standard deviation of the logarithm over the seeds. Step 0 is a discriminator that was not trained at all:
it has next to no gradient to give, so both norms rise first. Where it grows sure, the two part: they are the same
gradients of logits, weighted with D(G(z)) in the first loss and with 1 - D(G(z)) in the second. How soon depends on
the generator: few steps are enough to tell what no digit looks like. Arjovsky & Bottou 2017 saw a fall by up to five
orders of magnitude after 4,000 steps (figure 2; a DCGAN of 1, 10 and 25 epochs). The smallest norms here are near the
end of what float32 resolves.

## How noisy the gradient that remains is

![Noise of the gradients]({name}/noise.png)

Above: the standard deviation of the gradient from batch to batch (all parameters together). Below, for -log D: the
cosine between the gradients of two batches, and between those of two discriminators on the same batches. The
theorem's noise is the second kind: how the discriminator errs around the optimum decides the direction. After
{probe["steps"]} steps, and for the generators trained on {ages} images, the cosine between discriminators
is {_agreements(records, 0.0)} without and {_agreements(records, sd)} with instance noise.

## The generators

![Samples of the frozen generators]({name}/generators.png)

What this does not show: the theorems are about the optimum, and {probe["steps"]} steps of a small network need not
reach it, least of all with noise and against the oldest generator. Nor does a gradient that is large say that it is
useful.
"""


def _results(records: Sequence[Record]) -> str:
    config = records[0].run.config
    rows = []
    for age in config["ages_images"]:
        for sd in config["noise_sds"]:
            minimax = [_geometric(_result(records, age, sd, "norm_minimax", place)) for place in range(3)]
            other = [
                _geometric(_result(records, age, sd, "norm_nonsaturating", place)) for place in (FIRST, LAST)
            ]
            fall = _geometric(_result(records, age, sd, "norm_minimax", LAST, per=HIGHEST))
            growth = _geometric(_result(records, age, sd, "norm_nonsaturating", LAST, per=FIRST))
            loss = _geometric(_result(records, age, sd, "loss_d", LAST))
            agreement = f"{_result(records, age, sd, 'agreement_nonsaturating', LAST).mean():.2f}"
            rows.append([f"{age:,}", f"{sd}", loss, *minimax, fall, *other, growth, agreement])
    header = ["generator's age, images", "noise sd", "L_D, last"]
    header += [f"{TITLES['minimax']}: first", "highest", "last", "last / highest"]
    header += [f"{TITLES['nonsaturating']}: first", "last", "last / first", "agreement"]
    return table(header, rows)


def _curves(records: Sequence[Record], path: Path) -> None:
    config = records[0].run.config
    ages, sds = config["ages_images"], config["noise_sds"]
    figure, places = axes(
        1 + len(sds), len(ages), width=9.0, height=7.4, squeeze=False, sharex=True, sharey="row"
    )
    for column, age in zip(places.T, ages, strict=True):
        column[0].set_title(f"generator after {age:,} images")
        for i, sd in enumerate(sds):
            label = f"noise sd {sd}" if sd else "no noise"
            _band(column[0], records, age, sd, "loss_d", COLOURS[2 + i], "-", label)
            for loss, title in TITLES.items():
                _band(column[1 + i], records, age, sd, f"norm_{loss}", LOSS_COLOURS[loss], "-", title)
        column[0].axhline(2 * np.log(2), color="#222222", linestyle=":", linewidth=1)
        column[-1].set_xlabel("steps of the discriminator")
    places[0, 0].set_ylabel("L_D, nats (dotted: chance)")
    for i, sd in enumerate(sds):
        places[1 + i, 0].set_ylabel(f"gradient norm, {f'noise sd {sd}' if sd else 'no noise'}")
    low = min(place.get_ylim()[0] for place in places[1:, 0])
    high = max(place.get_ylim()[1] for place in places[1:, 0])
    for place in places[1:].flat:
        place.set_ylim(low, high)
    places[0, 0].legend(loc="lower left", frameon=False)
    places[1, 0].legend(loc="lower left", frameon=False)
    save(figure, path)


def _noise(records: Sequence[Record], path: Path) -> None:
    config = records[0].run.config
    ages, sds = config["ages_images"], config["noise_sds"]
    figure, places = axes(2, len(ages), width=12.5, height=5.6, squeeze=False, sharex=True, sharey="row")
    for column, age in zip(places.T, ages, strict=True):
        column[0].set_title(f"generator after {age:,} images")
        for sd, style in zip(sds, ("-", "--"), strict=True):
            noise = f"noise sd {sd}" if sd else "no noise"
            for loss, title in TITLES.items():
                label = f"{title}, {noise}"
                _band(column[0], records, age, sd, f"sd_{loss}", LOSS_COLOURS[loss], style, label)
            for key, what, colour in (
                ("cosine", "batches", COLOURS[6]),
                ("agreement", "discriminators", COLOURS[3]),
            ):
                steps, values = _series(records, age, sd, f"{key}_nonsaturating")
                mean, spread = values.mean(axis=0), _sd(values)
                column[1].plot(steps, mean, style, color=colour, label=f"two {what}, {noise}")
                column[1].fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.12, lw=0)
        column[1].set_xlabel("steps of the discriminator")
        column[1].set_ylim(-0.6, 1.05)
    places[0, 0].set_ylabel("sd of the gradient\nfrom batch to batch")
    places[1, 0].set_ylabel("cosine of two gradients")
    for row in places:
        handles, labels = row[0].get_legend_handles_labels()
        row[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save(figure, path)


def _samples(records: Sequence[Record], path: Path) -> None:
    ages = records[0].run.config["ages_images"]
    figure, places = axes(1, len(ages), width=9.0, height=1.6, squeeze=False)
    for place, age, sheet in zip(places[0], ages, records[0].outcome.arrays["samples"], strict=True):
        show_images(place, sheet, 8, f"{age:,} images")
    save(figure, path)


def _band(
    place: Axes, records: Sequence[Record], age: int, sd: float, key: str, colour: str, style: str, label: str
) -> None:
    """Geometric mean over the seeds, and a geometric standard deviation to each side."""
    steps, values = _series(records, age, sd, key)
    logs = np.log10(np.maximum(values, 1e-12))
    mean, spread = logs.mean(axis=0), _sd(logs)
    place.plot(steps, 10**mean, style, color=colour, label=label)
    place.fill_between(steps, 10 ** (mean - spread), 10 ** (mean + spread), color=colour, alpha=0.15, lw=0)
    place.set_yscale("log")
    place.set_xscale("symlog", linthresh=1, linscale=0.3)
    place.set_xlim(0, steps[-1])
    ticks = [0, *(10**i for i in range(6) if 10**i <= steps[-1])]
    place.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    place.minorticks_off()


def _series(
    records: Sequence[Record], age: int, sd: float, key: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps (T,), and the values of all seeds (S, T)."""
    rows = [
        [row for row in r.outcome.log if (row["age_images"], row["noise_sd"]) == (age, sd)] for r in records
    ]
    steps = np.array([row["step"] for row in rows[0]])
    return steps, np.array([[row[key] for row in seed] for seed in rows], np.float64)


def _result(
    records: Sequence[Record], age: int, sd: float, key: str, place: int, per: int | None = None
) -> npt.NDArray[np.float64]:
    """A number of each seed; `per`: as a multiple of the same number in another place."""
    lists = np.array([record.outcome.results[f"{age}/{sd}"][key] for record in records], np.float64)
    return lists[:, place] if per is None else lists[:, place] / lists[:, per]


def _geometric(values: npt.NDArray[np.float64]) -> str:
    """ "mean x/÷ factor" of one geometric standard deviation (n - 1); the value alone where there is one."""
    logs = np.log(np.maximum(values, 1e-300))
    return _mean(values) if len(values) < 2 else f"{_mean(values)} ×/÷ {np.exp(logs.std(ddof=1)):.1f}"


def _mean(values: npt.NDArray[np.float64]) -> str:
    """The geometric mean."""
    mean = float(np.exp(np.log(np.maximum(values, 1e-300)).mean()))
    return f"{mean:.2g}" if mean < 100 else f"{mean:,.0f}"


def _listed(values: Sequence[str]) -> str:
    return values[0] if len(values) < 2 else f"{', '.join(values[:-1])} and {values[-1]}"


def _sd(values: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])


def _agreements(records: Sequence[Record], sd: float) -> str:
    ages = records[0].run.config["ages_images"]
    means = [_result(records, age, sd, "agreement_nonsaturating", LAST).mean() for age in ages]
    return _listed([f"{mean:.2f}" for mean in means])
