"""docs/soak.md, and its chart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from load_tests.bench_charts import LATENTRY_COLOUR, LIMIT_COLOUR, PEER_COLOUR, STYLE
from load_tests.chaos.page import conditions, table
from load_tests.chaos.promises import MIB
from load_tests.soak.traffic import CONNECTIONS, PARTS, Sample, Soak

PAGE = Path(__file__).resolve().parents[2] / "docs" / "soak.md"
CHART = "soak.svg"
COLOURS = (LIMIT_COLOUR, LATENTRY_COLOUR, PEER_COLOUR)


def write(found: Soak, machine: Mapping[str, Any], page: Path) -> None:
    """The page, and its chart in a folder beside it."""
    folder = page.parent / page.stem
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({**STYLE, "axes.grid.axis": "y", "svg.hashsalt": "soak"}):
        draw(found).savefig(folder / CHART, metadata={"Date": None})
    page.write_text(render(found, machine, f"{page.stem}/{CHART}"))


def render(found: Soak, machine: Mapping[str, Any], chart: str) -> str:
    kinds = ", ".join(f"{name} ({count:,})" for name, count in sorted(found.asked.items()))
    parts = [
        f"# {found.seconds / 60:g} minutes of everything",
        "`make soak` wrote this page, and fails when a promise is not kept; a short form is in `make test`. "
        f"{conditions(machine)} Two workers, {CONNECTIONS} connections that ask without pause, now and then over a new "
        "connection; now and then nobody asks for a moment, and a new version of `mnist-gan` takes the place of an "
        "old one.",
        table(found.promises()),
        f"![memory, descriptors and threads]({chart})",
        "Memory is private to each process (USS): lines amid requests, dots between them. "
        f"The first {found.warm_up_s:.0f} seconds are the warm-up; of {PARTS} equal parts of the rest the first is "
        "compared with the last: by the median of memory and descriptors, and by the fewest threads.",
        f"Requests by kind: {kinds}.",
    ]
    return "\n\n".join(parts) + "\n"


def draw(found: Soak) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    memory, counts = figure.subplots(2, 1, sharex=True)
    minutes = [sample.at_s / 60 for sample in found.samples]
    for number, pid in enumerate(found.samples[0].held):
        name, color = f"worker {number}" if number else "parent", COLOURS[number % len(COLOURS)]
        memory.plot(minutes, _mib(found.samples, pid), label=name, color=color)
        rests = [sample.at_s / 60 for sample in found.rests]
        memory.plot(rests, _mib(found.rests, pid), ".", color=color, zorder=3)
    for number, name in enumerate(("descriptors", "threads")):
        sums = [sum(getattr(held, name) for held in sample.held.values()) for sample in found.samples]
        counts.plot(minutes, sums, label=name, color=COLOURS[number])
    memory.set_title("Private memory, MiB")
    counts.set_title("All processes")
    counts.set_xlabel("minutes; grey: warm-up")
    for place in (memory, counts):
        _finish(place, found.warm_up_s / 60)
    return figure


def _mib(samples: Sequence[Sample], pid: int) -> list[float | None]:
    return [sample.held[pid].uss_bytes / MIB if pid in sample.held else None for sample in samples]


def _finish(place: Axes, warm_up: float) -> None:
    place.axvspan(0, warm_up, color="#f2f2f2")
    place.set_ylim(bottom=0)
    place.legend(loc="lower right", ncols=3)
