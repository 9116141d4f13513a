"""The page of the study `rejection`: its tables, figures and words, from records alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.studies.figures import COLOURS, axes, save, show_images
from training.studies.pages import mean_sd, table
from training.studies.study import Record

SOURCES = {"triples": "GAN of triples", "digits": "GAN of digits", "vae": "VAE of digits"}
GANS = ("triples", "digits")
RULES = {
    "uncorrected": "the plain score",
    "by_class": "the score set right in each class",
    "served": "the served score",
}
METRICS = ("fd", "fd_odd", "precision", "recall", "density", "coverage")
PUBLISHED = (
    ("ImageNet, SAGAN: IS", "62.36", "76.08", "Azadi et al. 2019, abstract"),
    ("ImageNet, SAGAN: FID", "14.79", "13.75", "Azadi et al. 2019, abstract"),
)


def headline(records: Sequence[Record]) -> str:
    parts = []
    for source in GANS:
        keep = f"{max(_keeps(records, source)):g}"
        rate = _percent(_values(records, source, "served", keep, "acceptance_rate"))
        plain, kept = _plain_and_kept(records, source)
        parts.append(
            f"Of the samples of {_config(records, source)['model']}, with an FD of {plain}, the served score keeps "
            f"{rate}, with an FD of {kept}."
        )
    ratios = _class_mean_ratio(records, "uncorrected")
    return " ".join(
        [
            *parts,
            f"Without the correction in its graph, the score of {_config(records, 'digits')['model']} is right over "
            f"all samples, but has a mean r of {ratios.min():.2f} to {ratios.max():.2f} over those of one digit.",
        ]
    )


def page(records: Sequence[Record], folder: Path) -> str:
    _distances(records, folder / "distances.png")
    _classes(records, folder / "classes.png")
    pictures = "\n\n".join(_pictures(records, source, folder) for source in GANS)
    config = _config(records, "digits")
    triples = _config(records, "triples")["model"]
    plain, kept = _plain_and_kept(records, "digits")
    name = folder.name
    return f"""
A sample x is kept with probability min(1, keep r(x)), r = p_data / p_model: the rule of `/sample`'s option `keep`.
The GAN of triples is {triples}, that of digits {config["model"]}; each is chosen from by its own discriminator.
`keep` is 1 / M of rejection sampling: the mean of r over the model's samples is 1, so about `keep` of them are kept,
less what min(1, .) cuts off.

{_results(records)}

Mean ± sd over {len(_of(records, "digits"))} seed(s) of the samples, {config["samples"]:,} of each kind. FD: against
{config["samples"]:,} test images in the features of the digit classifier, of triples in those of their three colours,
and against the odd-numbered half of them; it does not compare with Inception's FID, nor between triples and digits.
Precision and recall (k = 3), density and coverage (k = 5): {config["neighbour_samples"]:,} against
{config["neighbour_samples"]:,}.

The plain score is the discriminator's logit, calibrated; set right in each class, it has ten numbers less, one a digit
of the classifier; the served score has such numbers inside its graph (that of triples, with a thousand classes, has
none). What is fitted is not what is measured: all calibrations were fitted to the even-numbered test images and to
samples of seed 0, and so were the ten numbers ({config["fitted_samples"]:,} samples). The samples measured here have
other seeds.

![FD and acceptance rate]({name}/distances.png)

## Where there is something to choose

The GAN of triples is of latents alone. N(0, I) is of one piece and triples are not, so that some of what it draws lies
between them: that is what its discriminator finds. The GAN of digits is told the class, and draws nearly what the data
has; the less there is to choose by, the more of a score is error. All of its samples have an FD of {plain}, those
kept by the served score {kept}.

## What a score that is right on average has wrong

{_table_classes(records)}

The mean of r over all samples of the GAN of digits is
{mean_sd(_values(records, "digits", "uncorrected", "mean_ratio"))}; it must be 1:
on average the score is right. Over the samples of one digit it should be the digit's fraction of the data over its
fraction of the samples, which is near 1 for each. Where it is not, rejection sampling moves weight between digits that
already had their share. The score divided by ten numbers, one a digit, that bring those means to where they must be,
leaves the digits alone and chooses among the samples of each.

![Fractions of the digits]({name}/classes.png)

## As it is served

{_served_now(records)}

## What is kept, and what is not

{pictures}

## The samples of another model

Those of {_config(records, "vae")["model"]}, with its fitted prior, by the discriminator of {config["model"]}: that has
learned to tell the data from the GAN's samples, not from the VAE's. Its r is no density ratio of theirs, and nothing
says that choosing by it helps. {_of_the_vae(records)}

## Beside the published figures

{table(["", "all samples", "kept", "source"], [list(row) for row in PUBLISHED])}

Of another model, of other data, in other features: what compares is the direction.
"""


def _served_now(records: Sequence[Record]) -> str:
    ratios, were = (_class_mean_ratio(records, rule) for rule in ("served", "uncorrected"))
    return (
        "What is taken from the logit is weighted by how probable each digit is, as read linearly off the "
        "discriminator's own features, and the calibration comes after it. Over the samples of one digit the mean of "
        f"r is {ratios.min():.2f} to {ratios.max():.2f}, where it was {were.min():.2f} to {were.max():.2f}."
    )


def _class_mean_ratio(records: Sequence[Record], rule: str) -> np.ndarray:
    """Of each class of the GAN's samples, mean over the seeds."""
    values = [r.outcome.results["class_mean_ratio"][rule] for r in _of(records, "digits")]
    mean: np.ndarray = np.array(values).mean(0)
    return mean


def _plain_and_kept(records: Sequence[Record], source: str) -> tuple[str, str]:
    """The FD of all samples, and of those that the served score keeps."""
    keep = f"{max(_keeps(records, source)):g}"
    plain, kept = (mean_sd(_values(records, source, *path, "fd")) for path in (("plain",), ("served", keep)))
    return plain, kept


def _of_the_vae(records: Sequence[Record]) -> str:
    keep = f"{max(_keeps(records, 'vae')):g}"

    def shown(metric: str) -> list[str]:
        kept = (_values(records, "vae", rule, keep, metric) for rule in RULES)
        return [mean_sd(values) for values in (_values(records, "vae", "plain", metric), *kept)]

    (plain, *by_rule), odd = shown("fd"), shown("fd_odd")
    kept = ", ".join(f"by {label}, {fd}" for label, fd in zip(RULES.values(), by_rule, strict=True))
    return (
        f"The FD of the VAE's samples is {plain}; of those kept {kept} (the ten numbers of the second are fitted to "
        f"the VAE's samples). Against the odd-numbered test images: {', '.join(odd)}."
    )


def _results(records: Sequence[Record]) -> str:
    def row(title: str, source: str, rule: str, key: str) -> list[str]:
        cells = [_cell(_values(records, source, rule, key, metric), metric) for metric in METRICS]
        return [title, key, mean_sd(_values(records, source, rule, key, "acceptance_rate")), *cells]

    rows = []
    for source, title in SOURCES.items():
        cells = [_cell(_values(records, source, "plain", metric), metric) for metric in METRICS]
        rows.append([f"**{title}**: all", "", "1", *cells])
        for rule in _config(records, source)["rules"]:
            rows += [row(f"{title}: {RULES[rule]}", source, rule, f"{k:g}") for k in _keeps(records, source)]
    return table(
        ["samples", "keep", "acceptance", "FD", "FD, odd half", "precision", "recall", "density", "coverage"],
        rows,
    )


def _table_classes(records: Sequence[Record]) -> str:
    keep = f"{max(_keeps(records, 'digits')):g}"
    ratios = _class_mean_ratio(records, "uncorrected")
    rows = [["mean r of its samples", *(f"{v:.2f}" for v in ratios)]]
    for key, label in (
        ("data", "fraction of the data, %"),
        ("plain", "of all samples, %"),
        *((f"{rule} {keep}", f"of those kept by {label}, %") for rule, label in RULES.items()),
    ):
        rows.append([label, *(f"{100 * v:.1f}" for v in _fractions(records, key))])
    return table([f"keep = {keep}", *(str(c) for c in range(len(ratios)))], rows)


def _distances(records: Sequence[Record], path: Path) -> None:
    figure, places = axes(1, len(SOURCES), width=11.0, height=3.9)
    for place, (source, title) in zip(places, SOURCES.items(), strict=True):
        plain = _values(records, source, "plain", "fd")
        place.axhline(float(np.mean(plain)), color=COLOURS[6], linestyle=":", linewidth=1)
        for colour, up, (rule, label) in zip(COLOURS[1:], (4, -13, 4), RULES.items(), strict=False):
            if rule not in _config(records, source)["rules"]:
                continue
            keeps = [f"{keep:g}" for keep in _keeps(records, source)]
            rates = [_values(records, source, rule, keep, "acceptance_rate") for keep in keeps]
            fds = [_values(records, source, rule, keep, "fd") for keep in keeps]
            x = [1.0, *(float(np.mean(rate)) for rate in rates)]
            y = [float(np.mean(plain)), *(float(np.mean(fd)) for fd in fds)]
            place.plot(x, y, color=colour, label=f"kept by {label}")
            place.plot(np.concatenate(rates), np.concatenate(fds), ".", color=colour, markersize=6)
            for keep, at, value in zip(keeps, x[1:], y[1:], strict=True):
                place.annotate(
                    f"keep {keep}",
                    (at, value),
                    xytext=(-5, up),
                    textcoords="offset points",
                    fontsize=8,
                    color=colour,
                    ha="right",
                )
        place.plot([1.0] * len(plain), plain, "o", color=COLOURS[0], markersize=5, label="all samples")
        place.set(title=title, xlabel="acceptance rate", xlim=(1.05, 0.22))
        place.set_ylim(0, 1.15 * place.dataLim.y1)
    places[0].set_ylabel("FD, squared feature units")
    handles, labels = places[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def _classes(records: Sequence[Record], path: Path) -> None:
    keep = f"{max(_keeps(records, 'digits')):g}"
    figure, place = axes(width=8.0, height=3.5)
    data = _fractions(records, "data")
    kinds = {"plain": "all samples"} | {f"{rule} {keep}": f"kept by {label}" for rule, label in RULES.items()}
    x, width = np.arange(len(data)), 0.8 / len(kinds)
    for i, (key, label) in enumerate(kinds.items()):
        place.bar(
            x + (i - (len(kinds) - 1) / 2) * width,
            _fractions(records, key) / data,
            width * 0.94,
            color=COLOURS[i],
            label=label,
        )
    place.axhline(1, color="#222222", linewidth=1)
    place.set_xticks(x, [str(c) for c in x])
    place.set(xlabel="digit", ylabel="its fraction, of that in the data")
    place.set_title(f"Which digits are kept of the samples of the GAN of digits, keep = {keep}")
    place.grid(False, axis="x")
    place.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def _pictures(records: Sequence[Record], source: str, folder: Path) -> str:
    """The line of Markdown that shows the figure."""
    arrays = next(record for record in _of(records, source) if record.outcome.arrays).outcome.arrays
    figure, places = axes(1, 3, width=10.0, height=2.3)
    titles = {
        "all": "The first samples",
        "kept": "The first that are kept",
        "rejected": "The first that are not",
    }
    for place, (key, title) in zip(places, titles.items(), strict=True):
        show_images(place, arrays[key], 10, title)
    save(figure, folder / f"{source}.png")
    return f"![{SOURCES[source]}: samples kept and rejected]({folder.name}/{source}.png)"


def _of(records: Sequence[Record], source: str) -> list[Record]:
    return [record for record in records if record.run.name.startswith(source)]


def _config(records: Sequence[Record], source: str) -> Mapping[str, Any]:
    return _of(records, source)[0].run.config


def _keeps(records: Sequence[Record], source: str) -> list[float]:
    return list(_config(records, source)["keep"])


def _values(records: Sequence[Record], source: str, *path: str) -> list[float]:
    """A value a seed."""
    values = []
    for record in _of(records, source):
        value = record.outcome.results
        for key in path:
            value = value[key]
        values.append(float(value))  # type: ignore[arg-type]  # JSON
    return values


def _fractions(records: Sequence[Record], key: str) -> np.ndarray:
    """Of each class, mean over the seeds."""
    values = [r.outcome.results["class_fractions"][key] for r in _of(records, "digits")]
    mean: np.ndarray = np.array(values).mean(0)
    return mean


def _cell(values: Sequence[float], metric: str) -> str:
    return mean_sd(values, 3 if metric.startswith("fd") else 2)


def _percent(rates: Sequence[float]) -> str:
    return f"{mean_sd([100 * rate for rate in rates])} %"
