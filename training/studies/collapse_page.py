"""What the page of the study `collapse` says, from its records alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.studies import collapse_figures
from training.studies.collapse_film import write_film
from training.studies.collapse_points import DATA
from training.studies.pages import mean_sd, table
from training.studies.study import Record

NAMES = {
    "real": "*real data*",
    "minimax": "minimax",
    "nonsaturating": "non-saturating",
    "minibatch-discrimination": "+ minibatch discrimination",
    "minibatch-stddev": "+ minibatch stddev",
    "packing": "+ packing",
    "r1-r2": "+ R1 + R2",
    "relativistic-r1-r2": "relativistic + R1 + R2",
}
"""In the order of the tables; those with a plus are added to the non-saturating loss."""
CURE = "relativistic-r1-r2"
PUBLISHED_POINTS = (
    ["GAN, published¹", "6.3", "98.2", "", "17.3", "94.8", ""],
    ["PacGAN, packs of 4, published¹", "7.8", "95.9", "", "24.8", "93.6", ""],
)
PUBLISHED_DIGITS = (
    ["DCGAN, published²", "99", "3.40"],
    ["VEEGAN, published²", "150", "2.95"],
    ["PacDCGAN, packs of 2, published²", "1000", "0.06"],
    ["R3GAN, published³", "1000", "0.029"],
)

Group = Mapping[str, Sequence[Record]]


def headline(records: Sequence[Record]) -> str:
    parts = []
    for data in DATA:
        found = group(records, data)
        if CURE not in found:
            continue
        modes = len(DATA[data]().means)
        (cure,), (plain,) = found[CURE], found["minimax"]
        every = sum(m == modes for m in cure.outcome.results["modes"])
        best = cure.outcome.results["high_quality"]
        parts.append(
            f"{data.capitalize()}: all {modes} modes in {every} of {len(best)} seeds with the relativistic loss and "
            f"R1 + R2, {100 * min(best):.1f} % of samples or more of high quality; the minimax game finds "
            f"{mean_sd(plain.outcome.results['modes'], 2)} modes, "
            f"{percent(plain.outcome.results['high_quality'])} %."
        )
    digits = group(records, "digits")
    if digits:
        modes_of = {name: mean_sd([r.outcome.results["modes"] for r in rs]) for name, rs in digits.items()}
        parts.append(
            f"Stacked-MNIST: {modes_of[CURE]} of 1000 modes, against {modes_of['nonsaturating']} of the "
            f"non-saturating game and {modes_of['real']} of as many real images."
        )
    return " ".join(parts)


def page(records: Sequence[Record], folder: Path) -> str:
    parts = [_film(records, folder), _points(records, folder)]
    digits = group(records, "digits")
    if digits:
        parts.append(_digits(digits, folder))
    return "\n\n".join(parts)


def group(records: Sequence[Record], data: str) -> Group:
    """Method -> its records, of one kind of data ("ring", "grid", "digits")."""
    out: dict[str, list[Record]] = {}
    for name in NAMES:
        found = [r for r in records if r.run.name.removesuffix(f"-{r.run.seeds[0]}") == f"{data}-{name}"]
        if found:
            out[name] = found
    return out


def percent(fractions: Sequence[float]) -> str:
    """Mean ± sd, to a tenth of a percent."""
    values = 100 * np.asarray(fractions)
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def _film(records: Sequence[Record], folder: Path) -> str:
    films = {record.run.name: record for record in records if record.run.config["kind"] == "film"}
    plain, cure = films["film-minimax"], films[f"film-{CURE}"]
    write_film({"minimax": plain, "relativistic + R1 + R2": cure}, folder / "collapse.webp")
    config = plain.run.config
    near, near_cure = (r.outcome.results["mean_modes_near"] for r in (plain, cure))
    return f"""
## A generator that hops

![Samples over the discriminator's ranks, step by step]({folder.name}/collapse.webp)

Left, the minimax game in a setting made for hopping: {config["generator_steps"]} generator steps to each of the
discriminator's, Adam with beta1 = {config["beta1"]} at constant rates ({config["lr"][0]:g} and {config["lr"][1]:g}),
plain networks, a latent of {config["latent_normals"]} normal numbers. Right, the cure, as below, one step each.
Red: 256 samples, of the same latents in every frame. Circles: the 8 modes. Light: where the
discriminator finds points more real than elsewhere (its logits' ranks in the frame). Where the samples go, the light
goes out, and they move on. In the last three quarters of the film the left one is near (within 0.2 of)
{near:.1f} modes at a time, the right one near {near_cure:.1f}.
""".strip()


def _points(records: Sequence[Record], folder: Path) -> str:
    groups = {data: found for data in DATA if CURE in (found := group(records, data))}
    rows = []
    for name, label in NAMES.items():
        row = [label]
        for found in groups.values():
            r = found[name][0].outcome.results if name in found else None
            row += (
                [
                    mean_sd(r["modes"], 2),
                    percent(r["high_quality"]),
                    mean_sd(r["reverse_kl_nats"], 2),
                ]
                if r
                else [""] * 3
            )
        if any(row[1:]):
            rows.append(row)
    rows += [row[: 1 + 3 * len(groups)] for row in PUBLISHED_POINTS]
    header = ["method"]
    for data in groups:
        header += [f"{data}: modes of {len(DATA[data]().means)}", "high quality, %", "reverse KL, nats"]
    collapse_figures.draw_points(groups, folder / "points.png")
    collapse_figures.draw_progress(groups, folder / "progress.png")
    first = next(iter(groups.values()))[CURE][0]
    c, seeds = first.run.config, len(first.run.seeds)
    sizes = "\n".join(
        f"* {data.capitalize()}: {own['steps']:,} steps of {own['batch_points']} points; the rate goes down to "
        f"{own['lr_floor']:g} of the first, and gamma, where there is one, from {own['gamma'][0]:g} "
        f"to {own['gamma'][1]:g}."
        for data, own in ((data, found[CURE][0].run.config) for data, found in groups.items())
    )
    return f"""
## Ring and grid

{table(header, rows)}

Mean ± sd of {seeds} seeds. The protocol is VEEGAN's and PacGAN's: a ring of 8 Gaussians (radius 1, sd 0.01) and a grid
of 25 (spacing 2, sd 0.05), 2,500 samples; a sample is of high quality within 3 sd of a mode, and a mode with one such
sample counts. Reverse KL is that of the samples' histogram over their nearest modes from the uniform one. 98.9 % of
real points lie within 3 sd: a generator that is above has modes too narrow. ¹ Lin et al. 2018; their networks and
training differ.

All methods share everything but what their row names: perceptrons of {len(c["hidden"])} hidden layers of
{c["hidden"][0]}, Adam at {c["lr"][0]:g} for the generator and {c["lr"][1]:g} for the discriminator
(beta1 {c["beta1"]:g}, beta2 {c["beta2"]}) in half a cosine, the generator's moving average, packs of 4.

{sizes}

Three choices make so few steps enough. The data are islands, and a continuous image of a connected latent leaves
samples on bridges between them: the latent is {c["latent_bits"]} fair bits and {c["latent_normals"]} normal numbers of
sd {c["normals_sd"]:g}. The generator's hidden units are tanh, with first weights {c["gain"]:g} times as large as
usual, because leaky ReLU is slow to make steep steps. The discriminator also sees sines and cosines of the
coordinates, {c["octaves"]} octaves of them: a mode is a hundredth as wide as the ring.

The settings were chosen for the relativistic row, the last of them (the bits, the rate's floor) on eight seeds that
are not among those reported; the other rows show what the loss, the penalties and the rest do in *this* recipe, and
not the best that each could do. The seeds of a row are trained side by side as one stack of networks, each with its own
noise, data and weights.

![Samples of every method]({folder.name}/points.png)

![Modes and high-quality samples along the run]({folder.name}/progress.png)
""".strip()


def _digits(found: Group, folder: Path) -> str:
    rows = []
    for name, records in found.items():
        results = [record.outcome.results for record in records]
        rows.append(
            [
                NAMES[name],
                mean_sd([r["modes"] for r in results]),
                mean_sd([r["reverse_kl_nats"] for r in results]),
            ]
        )
    rows += PUBLISHED_DIGITS
    collapse_figures.draw_digits(found, folder / "digits.png")
    config = found[CURE][0].run.config
    slowest = max(float(np.mean([r.seconds for r in records])) for records in found.values())
    return f"""
## Stacked-MNIST

{table(["method", "modes of 1000", "reverse KL, nats"], rows)}

Three random MNIST digits are the colours of one image; the published classifier reads each colour. Mean ± sd of
{len(found[CURE])} seeds, {config["samples"]:,} samples each: the real data's row, as many real images, is the floor.
This is at the size of a CPU: {config["steps"] * config["batch_images"]:,} images seen,
{slowest / 60:.0f} minutes of one busy core for the slowest method, small convolutional networks. The published rows are
not: 26,000 samples, GPUs, and far larger networks (² Lin et al. 2018; ³ Huang et al. 2024, 7 hours on 8 L40). A
classifier gives every image some mode, also those that show strokes rather than digits, as many do after so few steps.

![Samples of Stacked-MNIST]({folder.name}/digits.png)
""".strip()
