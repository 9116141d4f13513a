"""The record of a comparison -> Markdown."""

from collections.abc import Sequence
from pathlib import Path

from training.peers.compare import IW_DRAWS, IW_IMAGES, Row
from training.studies.pages import table


def write(rows: Sequence[Row], page: Path) -> None:
    page.write_text(_text(rows))


def _text(rows: Sequence[Row]) -> str:
    minutes = sorted({row.minutes for row in rows})
    how = sorted(
        {
            f"{row.device}, {row.processes} at a time, {row.threads} thread(s) each, torch {row.torch}"
            for row in rows
        }
    )
    commits = ", ".join(f"`{commit[:12]}`" for commit in dict.fromkeys(row.commit for row in rows))
    parts = [
        "# Beside what one would otherwise train\n",
        f"Each was trained from nothing for {' or '.join(f'{m:g}' for m in minutes)} minutes on "
        f"the same machine ({'; '.join(how)}; {commits}), and measured alike: 10,000 samples, drawn from N(0, I), the "
        "learned prior or one that was fitted afterwards within the same time, against 10,000 test images in the "
        "features of the dataset's classifier. Ours are the recipes of `training/recipes`, with the budget of images "
        "that fits the time.\n",
    ]
    for dataset, kind in dict.fromkeys((row.dataset, row.kind) for row in rows):
        own = [row for row in rows if (row.dataset, row.kind) == (dataset, kind)]
        parts.append(f"## {kind}s of {dataset}\n\n{_table(own)}\n")
    parts.append(
        "FD is the Frechet distance, lower is better; coverage with k = 5. Modes and reverse KL are of 26,000 samples, "
        f"as in the protocol of PacGAN. -log p(x): importance weighted bound of {IW_DRAWS} draws, the mean of "
        f"{IW_IMAGES} test images, binarised at random, nats. The DCGAN is that of Radford et al. 2016 at this size, "
        "the textbook VAE the one layer model of Burda et al. 2016 (200-200-50), pythae's VAE that of the package with "
        "its networks and trainer, 16 latents, Bernoulli pixels and a learning rate of 0.001. `mnist-gan`, "
        "`fashion-gan` and `fashion-vae` are told the class, of as many samples each, the others are not. "
        "(`fashion-vae` hardly obeys: its prior is not told, and its latents hold the class.)\n\n"
        f"Make it again with {_command(rows)}.\n"
    )
    return "\n".join(parts)


def _command(rows: Sequence[Row]) -> str:
    commands = {
        f'`make peers ARGS="--minutes {row.minutes:g} --processes {row.processes} --threads {row.threads}"`'
        for row in rows
    }
    return " and ".join(sorted(commands))


def _table(rows: Sequence[Row]) -> str:
    header = ["model", "parameters", "seconds", "images seen", "FD", "coverage"]
    stacked, dense = any(row.modes is not None for row in rows), any(row.iw_nats is not None for row in rows)
    header += ["modes", "reverse KL, nats"] * stacked + ["-log p(x), nats"] * dense
    lines = []
    for row in sorted(rows, key=lambda row: row.fd10k):
        line = [
            f"**{row.name}**" if row.is_ours else row.name,
            f"{row.parameters:,}",
            f"{row.seconds:.0f}",
            f"{row.images_seen:,}",
            f"{row.fd10k:.1f}",
            f"{row.coverage:.3f}",
        ]
        if stacked:
            line += [f"{row.modes:,}", f"{row.reverse_kl_nats:.3f}"]
        if dense:
            line += ["" if row.iw_nats is None else f"{-row.iw_nats:.1f}"]
        lines.append(line)
    return table(header, lines)
