"""The speed run's record -> Markdown and its figure."""

from pathlib import Path

import numpy as np

from training.speedrun import Look, Speedrun
from training.studies.figures import COLOURS, axes, save
from training.studies.pages import mean_sd, table


def page_name(*, whole: bool) -> str:
    """Runs that went on to the end of the recipe have a page of their own."""
    return "speedrun-whole" if whole else "speedrun"


def write(found: Speedrun, out: Path) -> Path:
    """`out/<name>.md`, and `out/<name>/reverse_kl.png` beside it; where the page is."""
    name = page_name(whole=found.whole)
    page = out / f"{name}.md"
    figure, place = axes(width=6.5, height=3.2)
    for attempt in found.attempts:
        seconds = [look.seconds for look in attempt.looks]
        nats = [look.reverse_kl_nats for look in attempt.looks]
        place.plot(seconds, nats, marker="o", markersize=3, label=f"seed {attempt.seed}")
    place.axhline(found.real_reverse_kl_nats, color=COLOURS[-1], linestyle="--", label="real images")
    place.set(
        xlabel="seconds of training",
        ylabel="nats",
        title=f"Reverse KL of the modes of {found.samples:,} samples",
        ylim=(0, None),
    )
    place.legend()
    save(figure, out / name / "reverse_kl.png")
    page.write_text(_text(found))
    return page


def _text(found: Speedrun) -> str:
    ends = [(attempt, attempt.first_with(found.goal)) for attempt in found.attempts]
    reached = [look for _, look in ends if look is not None]
    rows = [
        [
            str(attempt.seed),
            *(_figures(look) if look else ["not reached", "", "", ""]),
            f"{attempt.looks[-1].modes:,} modes, {attempt.looks[-1].reverse_kl_nats:.3f} nats, "
            f"{attempt.looks[-1].images_seen:,} images, {attempt.looks[-1].seconds:,.0f} s"
            if attempt.looks
            else "",
        ]
        for attempt, look in ends
    ]
    rates = [
        attempt.looks[-1].images_seen / attempt.looks[-1].seconds
        for attempt in found.attempts
        if attempt.looks
    ]
    flops = np.mean(rates) / found.batch_images * found.step_flop if rates else float("nan")
    times = mean_sd([look.seconds for look in reached]) if reached else "–"
    ends_nats = [attempt.looks[-1].reverse_kl_nats for attempt in found.attempts if attempt.looks]
    options = (
        f"--seeds {len(found.attempts)} --every {found.every_images} --minutes {found.minutes:g} "
        f"--processes {found.processes} --threads {found.threads}{' --whole' * found.whole}"
    )
    whole = ""
    if found.whole and ends_nats:
        whole = f"They went on; at the last look of each: **{mean_sd(ends_nats)} nats, {max(ends_nats):.3f} at most**. "
    beside = f" {found.processes} seeds were trained beside each other." if found.processes > 1 else ""
    header = ["seed", "seconds", "images", "modes", "reverse KL, nats", "at the end"]
    return (
        f"# From nothing to {found.goal:,} modes{', and on to the end' * found.whole}\n\n"
        f'`make speedrun ARGS="{options}"` trains `{found.recipe}` from nothing, once a seed, and stops the clock when '
        f"{found.samples:,} samples reach {found.goal:,} modes. **{times} seconds**; "
        f"{len(reached)} of {len(found.attempts)} seeds reached it. "
        f"{whole}As many real images reach {found.real_modes:,}, at {found.real_reverse_kl_nats:.4f} nats.\n\n"
        f"{table(header, rows)}\n\n"
        f"The clock runs while it trains and saves, data already in memory; it stands while samples are counted, "
        f"which is every {found.every_images:,} images. A seed has {found.minutes:g} minutes at most.{beside}\n\n"
        f"![reverse KL over time]({page_name(whole=found.whole)}/reverse_kl.png)\n\n"
        f"{mean_sd(rates) if rates else '–'} images/s. A step of {found.batch_images} images is "
        f"{found.step_flop / 1e9:.3g} GFLOP in convolutions and matrix products: {flops / 1e12:.3g} TFLOP/s in all; "
        f"the device does {found.matrix_flop_per_second / 1e12:.3g} TFLOP/s in square matrix products. "
        f"{found.device}, {found.threads} thread(s); torch {found.torch}; commit `{found.commit}`; "
        f"config sha256 `{found.config_sha256[:16]}`.\n"
    )


def _figures(look: Look) -> list[str]:
    return [f"{look.seconds:,.1f}", f"{look.images_seen:,}", f"{look.modes:,}", f"{look.reverse_kl_nats:.3f}"]
