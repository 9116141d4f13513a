"""docs/benchmarks.md, from the raw results alone."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from load_tests import bench_charts, bench_latentry, bench_numbers, goodput
from load_tests.bench_numbers import LATENTRY, Cell, Rate, Row, Table
from load_tests.peers.sampler import NPY, PNG

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
NONE = "–"
EQUAL = 0.05
"""Two servers nearer than this are called equal: rounds differ by as much."""

NO_TRITON = (
    "Triton with its ONNX backend comes as a container image, which is not measured here. Of what pip installs, only "
    "PyTriton has the server, with the Python backend alone: there the graph runs in Python, as in all the others."
)


def write(table: Table, page: Path) -> None:
    """The page, and its charts in `benchmarks/` beside it."""
    charts = bench_charts.write(table, page.parent / "benchmarks")
    page.write_text(render(table, charts))


def render(table: Table, charts: Sequence[str]) -> str:
    rows = bench_numbers.rows(table)
    parts = [
        "# Latentry beside what one would otherwise write or install",
        _what(table),
        _doubts(table),
        _found(table, rows),
        *[f"![{name.removesuffix('.png')}](benchmarks/{name})" for name in charts if name != "footprint.png"],
        "## One image a request, npy",
        _main_table(table, rows),
        _steady(rows),
        _beside(rows),
        "## Closed loop in full",
        *_full_tables(rows),
        "## Start, memory, disk",
        *[f"![{name.removesuffix('.png')}](benchmarks/{name})" for name in charts if name == "footprint.png"],
        _footprint_table(rows),
        "## How each was set up",
        _setup_table(rows),
        NO_TRITON,
        _faults(rows),
        "## How it was measured",
        _method(table),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(table: Table) -> str:
    machine = table["machine"]
    return (
        "`POST /sample` of `mnist-gan`: the same ONNX graph, the same onnxruntime options (one thread a run), "
        f"{table['workers']} worker processes, and the same answer, which is compared byte by byte before a server is "
        f"measured. {machine['date']}, commit `{machine['commit']}`; {machine['cpu']}, {machine['cores']} cores that "
        f"the load generator shares, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; "
        f"{table['settings']['rounds']} round(s). Latentry checks, counts and logs requests, and answers errors as "
        "problem documents; the peers have what their framework does by default."
    )


def _doubts(table: Table) -> str:
    found = bench_numbers.doubts(table)
    return f"**Do not quote these numbers:** {'; '.join(found)}." if found else ""


def _found(table: Table, rows: Sequence[Row]) -> str:
    """One sentence a question, whoever is ahead."""
    questions: list[tuple[str, Callable[[Row], Rate | None], bool]] = [
        ("One image, npy, 16 connections (requests/s)", partial(Row.rps, n=1), True),
        ("One image, PNG, 16 connections (requests/s)", partial(Row.rps, n=1, media_type=PNG), True),
        ("64 images, npy, 16 connections (requests/s)", partial(Row.rps, n=64), True),
        ("64 images, PNG, 16 connections (requests/s)", partial(Row.rps, n=64, media_type=PNG), True),
        (f"Arrivals a second with p99 <= {goodput.P99_MS:.0f} ms", Row.goodput, True),
        ("Cold start (s)", Row.start_s, False),
        ("Memory (MiB)", Row.memory_mib, False),
        ("Environment (MiB)", Row.environment_mib, False),
    ]
    lines = [line for text, value, more in questions if (line := verdict(text, rows, value, more=more))]
    lines += [line for n in (1, 64) if (line := _parts_of_limit(table, n))]
    return "\n".join(f"* {line}" for line in lines)


def _parts_of_limit(table: Table, n: int) -> str:
    told = [
        f"{part.mean:.2f} at {connections} connections{_between(part)}"
        for connections in (16, 64)
        if (part := bench_numbers.part_of_limit(table, n, NPY, connections))
    ]
    what = f"Latentry's part of what onnxruntime alone does in batches of {n} beside it (npy)"
    return f"{what}: {', '.join(told)}." if told else ""


def _between(found: Rate) -> str:
    return f" ({found.low:.2f} to {found.high:.2f})" if found.high > found.low else ""


def verdict(question: str, rows: Sequence[Row], value: Callable[[Row], Rate | None], *, more: bool) -> str:
    """Where Latentry stands among those that were measured; nothing without it or without another.

    Args:
        more: a larger value is better.
    """
    known = {row.name: (row.label, found.mean) for row in rows if (found := value(row)) is not None}
    if LATENTRY not in known or len(known) < 2:
        return ""
    ordered = sorted(known.values(), key=lambda item: item[1], reverse=more)
    own = known[LATENTRY][1]
    place = 1 + sum(1 for _, other in ordered if (other > own if more else other < own))
    label, rival = next(item for item in ordered if item[0] != known[LATENTRY][0])
    ratio = own / rival if rival else float("inf")
    if abs(ratio - 1) < EQUAL:
        relation = f"within {EQUAL:.0%} of the best of the others, {label} ({_number(rival)})"
    else:
        relation = f"{ratio:.2f} times the best of the others, {label} ({_number(rival)})"
    return f"{question}: Latentry is {place} of {len(known)} with {_number(own)}, {relation}."


def _main_table(table: Table, rows: Sequence[Row]) -> str:
    limit = bench_numbers.limit_images_per_s(table, 1)
    lines = []
    for row in _by(rows, partial(Row.rps, n=1)):
        cells = [row.cell(1, NPY, c) for c in (1, 16, 64)]
        sixteen = cells[1]
        lines.append(
            [
                _label(row),
                *[_number(cell.rps.mean) if cell else NONE for cell in cells],
                _spread(sixteen.rps if sixteen else None),
                _ms(sixteen.p50_ms if sixteen else None),
                _ms(sixteen.p99_ms if sixteen else None),
                f"{sixteen.rps.mean / limit.mean:.2f}" if sixteen and limit else NONE,
                _mean(row.goodput()),
                _spread(row.goodput()),
            ]
        )
    header = ["", "1 conn.", "16 conn.", "64 conn.", "spread", "p50, ms", "p99, ms", "of the limit"]
    told = f" The limit, onnxruntime alone in batches of 1: {_number(limit.mean)} a second." if limit else ""
    return (
        _table([*header, f"p99 <= {goodput.P99_MS:.0f} ms", "spread"], lines)
        + "\n\nRequests a second, the mean of the rounds; latencies and part of the limit at 16 connections. Spread: "
        f"how far the lowest round lies below the highest.{told} The last two columns: the highest rate of Poisson "
        "arrivals that is kept up with."
    )


def _steady(rows: Sequence[Row]) -> str:
    found = [turn for row in rows if row.name == LATENTRY for turn in row.raw["steady"] if turn["p50_ms"]]
    if not found:
        return ""
    told = [
        f"{turn['rate']:,.0f} a second: p50 {turn['p50_ms']:.1f} ms, p99 {turn['p99_ms']:.1f} ms, "
        f"ratio {turn['p99_ms'] / turn['p50_ms']:.1f}, {sum(turn['failed'].values())} failed of {turn['sent']:,}"
        for turn in found
    ]
    return (
        "Latentry in an open loop at 70 % of its capacity (the most that a closed loop of that round got), one line a "
        "round:\n\n" + "\n".join(f"* {line}" for line in told)
    )


def _beside(rows: Sequence[Row]) -> str:
    found = [turn for row in rows if row.name == LATENTRY for turn in row.raw["beside"]]
    known = [turn for turn in found if turn["alone"]["p99_ms"] and turn["beside"]["p99_ms"]]
    if not known:
        return ""
    told = [
        f"{turn['connections']} connections: p99 {_ms(turn['alone']['p99_ms'])} ms alone, "
        f"{_ms(turn['beside']['p99_ms'])} ms beside it, {turn['beside']['p99_ms'] / turn['alone']['p99_ms']:.1f} times "
        f"as much, {sum(turn['beside']['failed'].values())} failed"
        for turn in known
    ]
    return (
        f"Latentry in a closed loop beside one client who asks for {bench_latentry.LONG_IMAGES:,} images (npy) again "
        "and again, one line a round:\n\n" + "\n".join(f"* {line}" for line in told)
    )


def _full_tables(rows: Sequence[Row]) -> list[str]:
    header = ["", "1 connection", "16 connections", "64 connections"]
    parts = []
    for n, name, media_type in ((1, "npy", NPY), (1, "PNG", PNG), (64, "npy", NPY), (64, "PNG", PNG)):
        ordered = _by(rows, partial(Row.rps, n=n, media_type=media_type))
        lines = [[_label(row), *(_told(row.cell(n, media_type, c)) for c in (1, 16, 64))] for row in ordered]
        title = (
            f"**{n} image{'s' * (n > 1)} a request, {name}**: requests/s (lowest to highest); p50, p99 in ms"
        )
        parts.append(f"{title}\n\n{_table(header, lines)}")
    return parts


def _told(cell: Cell | None) -> str:
    if cell is None:
        return NONE
    failed = f"; **{cell.failed} failed**" if cell.failed else ""
    rps = cell.rps
    rounds = f" ({_number(rps.low)} to {_number(rps.high)})" if rps.high > rps.low else ""
    return f"{_number(rps.mean)}{rounds}; {_ms(cell.p50_ms)}, {_ms(cell.p99_ms)}{failed}"


def _footprint_table(rows: Sequence[Row]) -> str:
    lines = [
        [
            _label(row),
            _mean(row.start_s()),
            _mean(row.memory_mib()),
            _mean(row.largest_mib()),
            str(row.processes() or NONE),
            _mean(row.environment_mib()),
        ]
        for row in reversed(_by(list(reversed(rows)), Row.start_s))
    ]
    header = ["", "cold start, s", "memory, MiB", "largest process, MiB", "processes", "environment, MiB"]
    return (
        _table(header, lines)
        + "\n\nCold start: from the start of the process to its first good answer, the mean of the "
        "rounds. Memory: the proportional set size (PSS) after the load, where a page that k processes share counts "
        "1 / k in each; its sum, and the largest process. Environment: `site-packages` on the disk. Latentry loads "
        "and verifies every bundle in `models/`, the peers open one graph."
    )


def _setup_table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        versions = ", ".join(f"{name} {version}" for name, version in row.raw.get("versions", {}).items())
        lines.append([_label(row), row.raw["how"], f"[page]({row.raw['docs']})", versions or "not installed"])
    return _table(["", "set up", "as recommended", "versions"], lines)


def _faults(rows: Sequence[Row]) -> str:
    lines = [
        f"* {row.label}, round {fault['round']}: {fault['fault'].replace('|', '/')}"
        for row in rows
        for fault in row.raw["faults"]
    ]
    return "What went wrong:\n\n" + "\n".join(lines) if lines else ""


def _method(table: Table) -> str:
    settings = table["settings"]
    limits = [bench_numbers.limit_images_per_s(table, n) for n in (1, 64)]
    told = [
        f"{limit.mean:,.0f} images/s in batches of {n} (lowest {limit.low:,.0f}, highest {limit.high:,.0f})"
        for n, limit in zip((1, 64), limits, strict=True)
        if limit
    ]
    return (
        "In each round all servers are started, one after the other; 64 answers of each are compared with Latentry's; "
        "it is warmed up, and stopped where it stands (SIGSTOP). For each number of connections, images and media type "
        f"each goes on for a closed loop of {settings['seconds']:g} s, one right after the other, so that a machine "
        "that is slower at times is so for all of them (Ray Serve and Triton do not bear it and have a turn of their "
        "own, at the end of the round). Then they climb, a step of "
        f"{settings['open_seconds']:g} s of an open loop in turns: each from half of its best closed loop, times "
        f"{goodput.FACTOR:g} a step, for as long as p99 is within {goodput.P99_MS:.0f} ms, no request fails, and "
        f"{goodput.BEHIND:.0%} are answered in time; until a rate was not kept {goodput.TRIES} times and the next "
        f"was not either. In the open loop a latency counts from the moment that the request "
        "was due, so that a stall is felt by all that it kept waiting (no coordinated omission). Each request has "
        "another seed. The load generator ([`load_tests/generator.py`](../load_tests/generator.py)) is one process on "
        f"the same cores; it took at most {bench_numbers.generator_cpu(table):.0%} of one. The limit is onnxruntime "
        f"without a service, {table['workers']} processes at once, beside each cell of Latentry's: "
        f"{'; '.join(told)}.\n\n"
        'Make it again with `make bench` (`ARGS="--quick --only latentry granian"` for less); '
        "`make bench ARGS=--render` renders this page from [the raw results](benchmarks/results.json)."
    )


def _by(rows: Sequence[Row], value: Callable[[Row], Rate | None]) -> list[Row]:
    """The largest first, those without a value last."""
    known = [(found.mean, row) for row in rows if (found := value(row)) is not None]
    ordered = [row for _, row in sorted(known, key=lambda item: -item[0])]
    return ordered + [row for row in rows if row not in ordered]


def _mean(found: Rate | None) -> str:
    return NONE if found is None else _number(found.mean)


def _spread(found: Rate | None) -> str:
    return f"{found.spread:.0%}" if found and found.high > found.low else NONE


def _label(row: Row) -> str:
    return f"**{row.label}**" if row.name == LATENTRY else row.label


def _number(value: float) -> str:
    """12,345 or 34.5."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [list(header), ["---"] * len(header), *map(list, lines)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
