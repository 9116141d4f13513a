"""Figures of the study `collapse`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.studies import figures
from training.studies.collapse_points import DATA
from training.studies.study import Record

TITLES = {
    "real": "real data",
    "minimax": "minimax",
    "nonsaturating": "non-saturating",
    "minibatch-discrimination": "+ minibatch discr.",
    "minibatch-stddev": "+ minibatch stddev",
    "packing": "+ packing",
    "r1-r2": "+ R1 + R2",
    "relativistic-r1-r2": "relativistic + R1 + R2",
}


def draw_points(groups: Mapping[str, Mapping[str, Sequence[Record]]], path: Path) -> None:
    """The first seed's samples: a row a data set, a column a method."""
    columns = max(len(found) for found in groups.values())
    figure, places = figures.axes(
        len(groups), columns, width=1.65 * columns, height=1.85 * len(groups), squeeze=False
    )
    for row, (data, found) in zip(places, groups.items(), strict=True):
        centres = DATA[data]().centres.numpy()
        limit = 1.25 * np.abs(centres).max()
        for place, (name, (record,)) in zip(row, found.items(), strict=False):
            x, y = record.outcome.arrays["points"][0].astype(np.float32).T
            place.plot(*centres.T, "o", ms=8, mfc="none", mec="#bbbbbb", mew=0.7)
            place.plot(x, y, ".", ms=2, color=figures.COLOURS[1 if name != "real" else 0], alpha=0.6)
            place.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
            place.set_title(TITLES[name], fontsize=8)
    figures.save(figure, path)


def draw_progress(groups: Mapping[str, Mapping[str, Sequence[Record]]], path: Path) -> None:
    """Means over seeds of modes and of high-quality samples, by step."""
    figure, places = figures.axes(
        len(groups), 2, width=8, height=2.6 * len(groups), squeeze=False, sharex=True
    )
    for row, (data, found) in zip(places, groups.items(), strict=True):
        for colour, (name, (record,)) in zip(figures.COLOURS, found.items(), strict=False):
            log = record.outcome.log
            steps = [entry["step"] for entry in log]
            style = {"color": colour, "marker": ".", "label": TITLES[name]}
            if log:
                row[0].plot(steps, [np.mean(entry["modes"]) for entry in log], **style)
                row[1].plot(steps, [100 * np.mean(entry["high_quality"]) for entry in log], **style)
        modes = len(DATA[data]().means)
        row[0].axhline(modes, color="black", lw=0.8, ls="--")
        row[1].axhline(98.9, color="black", lw=0.8, ls="--")
        row[0].set(ylabel=f"{data}: modes of {modes}", ylim=(0, 1.08 * modes))
        row[1].set(ylabel="high quality, %", ylim=(0, 104))
    for place in places[-1]:
        place.set_xlabel("step (dashed: real data)")
    handles, labels = places[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figures.save(figure, path)


def draw_digits(found: Mapping[str, Sequence[Record]], path: Path) -> None:
    """48 samples of each method's first seed, in colour."""
    columns = min(4, len(found))
    rows = math.ceil(len(found) / columns)
    figure, places = figures.axes(rows, columns, width=2.4 * columns, height=3.3 * rows, squeeze=False)
    for place in places.flat:
        place.set_axis_off()
    for place, (name, records) in zip(places.flat, found.items(), strict=False):
        images = records[0].outcome.arrays["images"].transpose(0, 2, 3, 1)
        sheet = images.reshape(8, 6, 28, 28, 3).swapaxes(1, 2).reshape(8 * 28, 6 * 28, 3)
        place.imshow(sheet, interpolation="nearest")
        place.set_title(TITLES[name], fontsize=8)
    figures.save(figure, path)
