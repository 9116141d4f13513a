"""A film of a GAN of points: its samples over what its discriminator takes for real."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from PIL import Image

from training.metrics.modes import mode_counts
from training.studies.collapse_points import DATA, PointGAN
from training.studies.figures import COLOURS, STYLE
from training.studies.study import Device, Outcome, Record, Run

EXTENT = 1.5
"""The picture reaches from -EXTENT to EXTENT, in units of the data."""
CELLS = 40
POINTS = 256
PIXELS = 240


def execute(run: Run, device: Device) -> Outcome:
    """Frames at even distances, of the last generator and not of its average: what hops is what is trained."""
    config = run.config
    gan = PointGAN(config, run.seeds, device)
    steps = np.linspace(1, config["steps"], config["frames"]).round().astype(int).tolist()
    line = torch.linspace(-EXTENT, EXTENT, CELLS)
    places = torch.cartesian_prod(line, line)[None].to(device) / gan.scale
    z = gan.latents(POINTS)
    frames: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = []
    log: list[Mapping[str, Any]] = []
    for step in range(config["steps"]):
        loss_d, loss_g = gan.step(step)
        if step + 1 not in steps:
            continue
        with torch.no_grad():
            points = gan.scale * gan.generator(z)[0].cpu()
            logits = gan.discriminator(places)[0].cpu()
        frames.append((as_bytes(points / EXTENT), relief(logits)))
        counts = mode_counts(points.numpy(), gan.data.centres.numpy(), 0.2)
        log.append(
            {"step": step + 1, "loss_d": loss_d.item(), "loss_g": loss_g.item(), "near": counts.captured}
        )
    points_bytes, reliefs = zip(*frames, strict=True)
    near = [row["near"] for row in log]
    results = {"mean_modes_near": float(np.mean(near[len(near) // 4 :]))}
    return Outcome(results, log, {"points": np.stack(points_bytes), "relief": np.stack(reliefs)})


def as_bytes(values: torch.Tensor) -> npt.NDArray[np.uint8]:
    """[-1, 1] -> 0 to 255; what lies outside is put on the border."""
    out: npt.NDArray[np.uint8] = ((values.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    return out


def relief(logits: torch.Tensor) -> npt.NDArray[np.uint8]:
    """The discriminator's ranks over the picture, 0 to 255: a relativistic one has no level, and ranks need none."""
    ranks = logits.argsort().argsort() / (len(logits) - 1)
    return as_bytes(2 * ranks - 1)


def write_film(records: Mapping[str, Record], path: Path) -> None:
    """An animated WebP, lossless: a panel a record, in step; `records` by caption."""
    length = min(len(record.outcome.log) for record in records.values())
    frames = [_frame(records, i) for i in range(length)]
    frames[0].save(
        path, "WEBP", save_all=True, append_images=frames[1:], duration=180, loop=0, lossless=True, method=6
    )


def _frame(records: Mapping[str, Record], index: int) -> Image.Image:
    with mpl.rc_context({**STYLE, "axes.grid": False, "font.size": 7, "axes.titlesize": 8}):
        dpi = 100
        size = (PIXELS * len(records) / dpi, (PIXELS + 24) / dpi)
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        for place, (caption, record) in zip(
            figure.subplots(1, len(records), squeeze=False).flat, records.items(), strict=True
        ):
            arrays, row = record.outcome.arrays, record.outcome.log[index]
            heat = arrays["relief"][index].reshape(CELLS, CELLS).T
            box = (-EXTENT, EXTENT, -EXTENT, EXTENT)
            # 12 levels: what is flat compresses.
            levels = np.floor(heat / 255 * 11.99) / 12
            place.imshow(levels, cmap="Blues_r", vmin=-0.3, vmax=1.1, origin="lower", extent=box, alpha=0.85)
            centres = DATA[record.run.config["data"]]().centres.numpy()
            place.plot(centres[:, 0], centres[:, 1], "o", ms=7, mfc="none", mec="white", mew=1)
            x, y = (arrays["points"][index].T / 127.5 - 1) * EXTENT
            place.plot(x, y, ".", ms=2.5, color=COLOURS[1])
            place.set(xticks=[], yticks=[], xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
            place.set_title(f"{caption}\nstep {row['step']:,}")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi)
        return Image.open(file).convert("RGB")
