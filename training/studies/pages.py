"""Records -> Markdown."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.studies.study import Record, Study


def write(study: Study, records: Sequence[Record], out: Path, *, quick: bool) -> None:
    """`out/<name>.md`: claim, finding, the study's own page, and how to make it again."""
    figures = out / study.name
    figures.mkdir(parents=True, exist_ok=True)
    note = "*Quick form: it shows the direction, not the figures.*\n\n" if quick else ""
    (out / f"{study.name}.md").write_text(
        f"# {study.title}\n\n{note}**Theory.** {study.claim}\n\n**Found.** {study.headline(records)}\n\n"
        f"{study.page(records, figures).strip()}\n\n{_again(study, records, quick)}"
    )


def write_index(found: Sequence[tuple[Study, Sequence[Record]]], out: Path) -> None:
    """`out/README.md`: the studies in the order of the story, with what each found."""
    parts = ["# What the theory says, shown with numbers"]
    parts.append(
        "Each page is one study: the claim, the numbers, the pictures, and the command that makes them again. "
        "Beside it lie the records that it is made of: config, seeds, log and results of every run."
    )
    for i, (study, records) in enumerate(found, 1):
        parts.append(
            f"## {i}. [{study.title}]({study.name}.md)\n\n{study.claim}\n\n**Found.** {study.headline(records)}"
        )
    (out / "README.md").write_text("\n\n".join(parts) + "\n")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """ "mean ± sd" of the values, `digits` significant ones of the mean; the value alone where there is one.

    The sd is that of a sample (n - 1).
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(mean))))) if mean else digits - 1
    if len(array) < 2:
        return f"{mean:,.{decimals}f}"
    return f"{mean:,.{decimals}f} ± {array.std(ddof=1):,.{decimals}f}"


def _again(study: Study, records: Sequence[Record], quick: bool) -> str:
    environments = [record.environment for record in records]
    devices = ", ".join(sorted({f"{e.device}, {e.threads} thread(s) a run" for e in environments}))
    versions = ", ".join(sorted({f"torch {e.torch}, Python {e.python}" for e in environments}))
    commits = ", ".join(f"`{commit}`" for commit in sorted({e.commit for e in environments}))
    minutes = sum(record.seconds for record in records) / 60
    flag = " --quick" if quick else ""
    return (
        f"## Make it again\n\n```bash\nmake study NAME={study.name}{' ARGS=--quick' if quick else ''}\n```\n\n"
        f"or `python -m training study {study.name}{flag}`. {len(records)} runs, {minutes:.1f} minutes in all on "
        f"{devices}; {versions}; commit {commits}. "
        f"Config, seeds, log and results of each run: [`{study.name}/runs/`]({study.name}/runs/).\n"
    )
