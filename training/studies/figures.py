"""How the figures of the studies look: one style, one file a figure."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageChops

COLOURS = ("#4878a8", "#c8553d", "#5a9367", "#8a5a9e", "#c99a2e", "#4aa3a2", "#7a7a7a", "#b0587c", "#2f4b6e")
"""In the order of use; grey is the seventh."""
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=list(COLOURS)),
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
DPI = 120


def axes(rows: int = 1, columns: int = 1, *, width: float = 8.0, height: float = 3.0, **kwargs: Any) -> Any:
    """A figure and its axes (an array, unless there is one): `width` x `height` inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **kwargs)


def save(figure: Figure, path: Path) -> None:
    """Write `png` to a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure))


def png(figure: Figure) -> bytes:
    """Without a date in it: the same figure is the same file. Grey, or of 256 colours: a third of the bytes."""
    drawn, stream = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format="png", dpi=DPI)
    compact(Image.open(drawn)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def compact(picture: Image.Image) -> Image.Image:
    """A picture in shades of grey as it is, any other in the 256 colours that come nearest to its own."""
    colours = picture.convert("RGB")
    grey = colours.convert("L")
    if ImageChops.difference(colours, grey.convert("RGB")).getbbox() is None:
        return grey
    return colours.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def show_images(place: Axes, images: Any, columns: int, title: str = "") -> None:
    """A contact sheet (N, H, W) or (N, H, W, 3), uint8 or in [0, 1], white on black, without ticks."""
    n, height, width, *colours = images.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, height, width, *colours), images.dtype)
    sheet[:n] = images
    sheet = sheet.reshape(rows, columns, height, width, *colours).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, *colours)
    place.imshow(
        sheet, cmap="gray", vmin=0, vmax=255 if images.dtype == np.uint8 else 1, interpolation="nearest"
    )
    place.set_axis_off()
    place.set_title(title)
