"""What the page of the study `equilibrium` says and shows, from its records alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.studies import figures
from training.studies.pages import table
from training.studies.study import Record

TWO_LOG_2 = 2 * math.log(2)


def headline(records: Sequence[Record]) -> str:
    same, apart = split(records)
    at = max(abs(percent(loss, TWO_LOG_2)) for r in same for loss in r.outcome.results["loss_d_nats"])
    generator = max(
        abs(percent(loss, -math.log(2))) for r in same for loss in r.outcome.results["loss_g_nats"]
    )
    away = max(abs(percent(loss, expected(r))) for r in apart for loss in r.outcome.results["loss_d_nats"])
    seeds = len(records[0].run.seeds)
    return (
        f"Where p_gen = p_data, a learned discriminator's L_D is 2 log 2 within {rounded_up(at)} % and the minimax L_G "
        f"is -log 2 within {rounded_up(generator)} %, in each of {len(same)} densities x {seeds} seeds. Elsewhere "
        f"L_D is 2 log 2 - 2 JSD within {rounded_up(away)} % in each of {len(apart)} pairs x {seeds} seeds."
    )


def page(records: Sequence[Record], folder: Path) -> str:
    same, apart = split(records)
    draw_curves(records, folder / "curves.png")
    draw_losses(records, folder / "losses.png")
    config = records[0].run.config
    return f"""
A perceptron with hidden layers of {" and ".join(str(n) for n in config["hidden"])} learns the logit of D from
{config["batch_samples"]:,} fresh samples of either density a step, {config["steps"]:,} steps, with Adam from
{config["lr"]} down to 0 in half a cosine; the weights of the second half of the steps are averaged. It is told
nothing of the densities. They are known in closed form, so what is compared has no sampling noise: L_D and L_G of
the learned D, and JSD, are integrals on a grid. Deviations are the worst of {len(records[0].run.seeds)} seeds.

## At the equilibrium

{_table_same(same)}

E|D - 1/2| is the mean over both densities.

## Away from it

{_table_apart(apart)}

The learned L_D cannot be below 2 log 2 - 2 JSD, the minimum over all D: a deviation is what D has not learned. It is
relative to the loss, so it grows where the densities hardly overlap and little loss is left.

![Learned D(x) and D*(x) for the pairs on the line]({folder.name}/curves.png)

The lines of the seeds lie on D* where there are samples. Outside of both densities nothing is learned, and nothing is
lost: neither player ever sees those x.

![L_D against the Jensen-Shannon divergence]({folder.name}/losses.png)

## What this does not show

That training gets there. Here the generator is given and stands still, and D is trained to its optimum; in a GAN, D
follows a moving generator and has never converged. [Collapse](collapse.md) shows what that does.
"""


def split(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Those with p_gen = p_data, and the others."""
    same = [r for r in records if r.run.config["p"] == r.run.config["q"]]
    return same, [r for r in records if r not in same]


def expected(record: Record) -> float:
    """The loss of the best discriminator, nats."""
    return TWO_LOG_2 - 2 * float(record.outcome.results["jsd_nats"])


def percent(value: float, reference: float) -> float:
    return 100 * (value / reference - 1)


def rounded_up(value: float) -> str:
    """To one significant digit: a bound stays a bound."""
    unit = 10.0 ** math.floor(math.log10(value))
    return f"{unit * math.ceil(value / unit):.1g}"


def _worst(values: Sequence[float], reference: float) -> str:
    return f"{max((percent(value, reference) for value in values), key=abs):+.2g} %"


def _table_same(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        r = record.outcome.results
        rows.append(
            [
                record.run.config["what"],
                f"{np.mean(r['mean_D']):.5f}",
                f"{np.mean(r['mean_abs_error_of_D']):.5f}",
                f"{np.mean(r['loss_d_nats']):.5f}",
                _worst(r["loss_d_nats"], TWO_LOG_2),
                f"{np.mean(r['loss_g_nats']):.5f}",
                _worst(r["loss_g_nats"], -math.log(2)),
            ]
        )
    rows.append(["*theory*", "0.5", "0", f"{TWO_LOG_2:.5f}", "", f"{-math.log(2):.5f}", ""])
    return table(
        ["p_data, p_gen", "mean D", "E\\|D - 1/2\\|", "L_D, nats", "deviation", "L_G, nats", "deviation"],
        rows,
    )


def _table_apart(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        r = record.outcome.results
        rows.append(
            [
                record.run.config["what"],
                f"{r['jsd_nats']:.4f}",
                f"{expected(record):.4f}",
                f"{np.mean(r['loss_d_nats']):.4f}",
                _worst(r["loss_d_nats"], expected(record)),
                f"{np.mean(r['mean_abs_error_of_D']):.4f}",
            ]
        )
    return table(
        ["p_data, p_gen", "JSD, nats", "2 log 2 - 2 JSD", "L_D, nats", "deviation", "E\\|D - D*\\|"], rows
    )


def draw_curves(records: Sequence[Record], path: Path) -> None:
    lines = [record for record in records if record.outcome.arrays]
    columns = min(4, len(lines))
    rows = -(-len(lines) // columns)
    figure, places = figures.axes(rows, columns, width=2.9 * columns, height=2.5 * rows, squeeze=False)
    for place in places.flat[len(lines) :]:
        place.set_axis_off()
    for place, record in zip(places.flat, lines, strict=False):
        a = record.outcome.arrays
        top = 2.2 * max(a["p"].max(), a["q"].max())
        shown = (a["p"] + a["q"]) / 2 > 1e-4
        place.fill_between(a["x"], a["p"] / top, color=figures.COLOURS[0], alpha=0.25, lw=0, label="p_data")
        place.fill_between(a["x"], a["q"] / top, color=figures.COLOURS[1], alpha=0.25, lw=0, label="p_gen")
        for seed, D in enumerate(a["D"]):
            label = "learned D, one line a seed" if seed == 0 else None
            place.plot(a["x"], D, color=figures.COLOURS[2 + seed], lw=1.2, label=label)
        place.plot(a["x"], a["optimum"], "k--", lw=1, label="D* = p / (p + q)")
        place.set(xlim=(a["x"][shown].min() - 1, a["x"][shown].max() + 1), ylim=(0, 1.02), xlabel="x")
        place.set_title(record.run.config["what"], fontsize=9)
    for place in places[:, 0]:
        place.set_ylabel("D(x); densities scaled")
    handles, labels = places[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figures.save(figure, path)


def draw_losses(records: Sequence[Record], path: Path) -> None:
    figure, place = figures.axes(width=6, height=3.6)
    jsd = np.linspace(0, math.log(2), 50)
    place.plot(jsd, TWO_LOG_2 - 2 * jsd, "k--", lw=1, label="2 log 2 - 2 JSD")
    for label, group, colour, marker in zip(
        ("on the line", "in the plane"),
        ([r for r in records if r.outcome.arrays], [r for r in records if not r.outcome.arrays]),
        figures.COLOURS[:2],
        "oD",
        strict=True,
    ):
        points = [
            (r.outcome.results["jsd_nats"], loss) for r in group for loss in r.outcome.results["loss_d_nats"]
        ]
        if points:
            x, y = zip(*points, strict=True)
            place.plot(x, y, marker, ms=5, color=colour, alpha=0.7, label=f"learned D, densities {label}")
    place.set(xlabel="JSD(p_data, p_gen), nats", ylabel="L_D, nats")
    place.legend(frameon=False, fontsize=9)
    figures.save(figure, path)
