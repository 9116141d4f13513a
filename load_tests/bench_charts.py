"""The charts of docs/benchmarks.md. Bars are in order of their result; Latentry has the colour."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from load_tests.bench_numbers import LATENTRY, Rate, Row, Table, limit_images_per_s, rows
from load_tests.goodput import P99_MS
from load_tests.peers.sampler import NPY, PNG

LATENTRY_COLOUR, PEER_COLOUR, LIMIT_COLOUR, INK = "#c8553d", "#9db4cc", "#2f4b6e", "#333333"
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#bbbbbb",
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "grid.linewidth": 0.7,
    "ytick.left": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
DPI = 130
BAR_INCHES = 0.26
CONNECTIONS = 16

Bar = tuple[Row, Rate]


def save(chart: Image.Image, path: Path) -> None:
    """Of the 256 colours that come nearest to its own: a third of the bytes. Without a date in it."""
    colours = chart.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours.save(path, "PNG", optimize=True)


def write(table: Table, folder: Path) -> list[str]:
    """The charts that the results have something for; gives their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "throughput.png": throughput,
        "goodput.png": goodput,
        "latency.png": latency,
        "footprint.png": footprint,
    }
    names = []
    for name, draw in made.items():
        with mpl.rc_context(STYLE):
            figure = draw(table)
            if figure is not None:
                stream = io.BytesIO()
                figure.savefig(stream, format="png", dpi=DPI)
                save(Image.open(stream), folder / name)
                names.append(name)
    return names


def throughput(table: Table) -> Figure | None:
    """Requests a second of 16 connections, a panel for each answer, with the limit of the machine."""
    panels = [
        (f"{n} image{'s' * (n > 1)} a request, {name}", n, media_type)
        for n in (1, 64)
        for name, media_type in (("npy", NPY), ("PNG", PNG))
    ]
    bars = [_bars(table, partial(Row.rps, n=n, media_type=m)) for _, n, m in panels]
    if not any(bars):
        return None
    figure = Figure(figsize=(10, 2 * _height(max(map(len, bars)), 0.75)), layout="constrained")
    for place, (title, n, _), drawn in zip(figure.subplots(2, 2).flat, panels, bars, strict=True):
        _draw(place, drawn, "{:,.0f}")
        place.set_title(title)
        place.set_xlabel(f"requests a second, {CONNECTIONS} connections")
        if limit := limit_images_per_s(table, n):
            _limit(place, limit.mean / n)
    return figure


def goodput(table: Table) -> Figure | None:
    """The highest rate of arrivals with p99 within the bound."""
    bars = _bars(table, Row.goodput)
    if not bars:
        return None
    figure = Figure(figsize=(7.5, _height(len(bars), 0.75)), layout="constrained")
    place = figure.subplots()
    _draw(place, bars, "{:,.0f}")
    place.set_title(f"Goodput: p99 <= {P99_MS:.0f} ms")
    place.set_xlabel("requests a second that arrive (Poisson) and are kept up with; 1 image, npy")
    if limit := limit_images_per_s(table, 1):
        _limit(place, limit.mean)
    return figure


def latency(table: Table) -> Figure | None:
    """From p50 to p99 of 16 connections, one image, npy."""
    found = [(row, cell) for row in rows(table) if (cell := row.cell(1, NPY, CONNECTIONS))]
    spans = [(row, c.p50_ms, c.p99_ms) for row, c in found if c.p50_ms is not None and c.p99_ms is not None]
    if not spans:
        return None
    spans.sort(key=lambda span: span[2], reverse=True)
    figure = Figure(figsize=(7.5, _height(len(spans), 0.75)), layout="constrained")
    place = figure.subplots()
    for y, (row, p50, p99) in enumerate(spans):
        colour = _colour(row)
        place.plot([p50, p99], [y, y], color=colour, linewidth=5, alpha=0.45, solid_capstyle="round")
        place.plot(p50, y, "o", color=colour, markersize=6)
        place.plot(p99, y, "|", color=colour, markersize=13, markeredgewidth=2.5)
        place.annotate(
            f"{p50:,.0f} to {p99:,.0f} ms",
            (p99, y),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    _names(place, [row for row, _, _ in spans])
    place.set_xlim(0, 1.22 * max(p99 for _, _, p99 in spans))
    place.set_title(
        f"Latency: median (dot) to 99th percentile (line), {CONNECTIONS} connections, 1 image, npy"
    )
    place.set_xlabel("ms; p50 is the mean of the rounds, p99 the worst of them")
    return figure


def footprint(table: Table) -> Figure | None:
    """Cold start, memory, environment."""
    panels = [
        ("Cold start", "s to the first answer", "{:,.1f}", _bars(table, Row.start_s)),
        ("Memory", "MiB, all processes (PSS)", "{:,.0f}", _bars(table, Row.memory_mib)),
        ("Environment", "MiB of site-packages", "{:,.0f}", _bars(table, Row.environment_mib)),
    ]
    if not any(bars for *_, bars in panels):
        return None
    figure = Figure(figsize=(11.5, _height(max(len(p[3]) for p in panels), 0.75)), layout="constrained")
    for place, (title, unit, form, bars) in zip(figure.subplots(1, 3), panels, strict=True):
        _draw(place, bars, form, smallest_first=True)
        place.set_title(title)
        place.set_xlabel(unit)
    return figure


def _bars(table: Table, value: Callable[[Row], Rate | None]) -> list[Bar]:
    return [(row, found) for row in rows(table) if (found := value(row)) is not None]


def _draw(place: Axes, bars: Sequence[Bar], form: str, *, smallest_first: bool = False) -> None:
    """Horizontal bars, the best on top, with their values; a line from the lowest round to the highest."""
    ordered = sorted(bars, key=lambda bar: bar[1].mean, reverse=smallest_first)
    for y, (row, rate) in enumerate(ordered):
        place.barh(y, rate.mean, color=_colour(row), height=0.72)
        if rate.high > rate.low:
            place.plot([rate.low, rate.high], [y, y], color=INK, linewidth=1.1, solid_capstyle="butt")
        place.annotate(
            form.format(rate.mean),
            (rate.high, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            fontweight="bold" if row.name == LATENTRY else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
        )
    _names(place, [row for row, _ in ordered])
    place.set_xlim(0, 1.14 * max((rate.high for _, rate in ordered), default=1.0) or 1.0)


def _names(place: Axes, ordered: Sequence[Row]) -> None:
    place.xaxis.set_major_formatter("{x:,g}")
    place.set_ylim(-0.6, max(len(ordered), 1) - 0.4)
    place.set_yticks(range(len(ordered)), [row.label.replace("`", "") for row in ordered])
    for text, row in zip(place.get_yticklabels(), ordered, strict=True):
        if row.name == LATENTRY:
            text.set_fontweight("bold")
            text.set_color(LATENTRY_COLOUR)


def _limit(place: Axes, value: float) -> None:
    place.axvline(value, color=LIMIT_COLOUR, linewidth=1.3, linestyle=(0, (4, 2)))
    place.set_xlim(0, max(place.get_xlim()[1], 1.16 * value))
    place.annotate(
        f"onnxruntime alone: {value:,.0f}",
        (value, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=LIMIT_COLOUR,
    )


def _colour(row: Row) -> str:
    return LATENTRY_COLOUR if row.name == LATENTRY else PEER_COLOUR


def _height(bars: int, around: float) -> float:
    return BAR_INCHES * bars + around
