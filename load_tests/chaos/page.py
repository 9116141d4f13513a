"""docs/chaos.md: what was promised, and what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from load_tests.chaos.parts import PARTS
from load_tests.chaos.promises import Promise

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"


def write(found: Mapping[str, list[Promise]], machine: Mapping[str, Any], page: Path) -> None:
    """`found`: the promises of each part that was run."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(found, machine))


def render(found: Mapping[str, list[Promise]], machine: Mapping[str, Any]) -> str:
    parts = [
        "# What the service does when things go wrong",
        "`make chaos` wrote this page, and fails when a promise is not kept; short forms of its parts are in "
        f"`make test`. {conditions(machine)} Two workers; requests of 64 images as npy, where nothing else is said.",
    ]
    for name, promises in found.items():
        parts.append(f"## {name.capitalize()}\n\n{sentence(PARTS[name].how)}")
        if promises:
            parts.append(table(promises))
    return "\n\n".join(parts) + "\n"


def table(promises: Sequence[Promise]) -> str:
    rows = [f"| {p.text} | {p.measured} | {'yes' if p.kept else '**no**'} |" for p in promises]
    return "\n".join(["| promise | measured | kept |", "| --- | --- | --- |", *rows])


def conditions(machine: Mapping[str, Any]) -> str:
    """What the numbers depend on, as a sentence."""
    return (
        f"{machine['date']}, commit `{machine['commit']}`; {machine['cpu']}, {machine['cores']} cores that the load "
        f"generator shares, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}."
    )


def sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."
