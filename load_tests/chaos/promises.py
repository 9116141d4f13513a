"""What a part of the chaos shows: promises, each with what was measured of it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

MIB = 2**20


class Promise(NamedTuple):
    """`text`: what is promised; `measured`: what was found; `kept`: whether that is within it."""

    text: str
    measured: str
    kept: bool


class Figures(Protocol):
    """What a part measured: a frozen dataclass."""

    def promises(self) -> list[Promise]:
        """What the figures are to show."""


def told(promises: Sequence[Promise]) -> str:
    """A line each."""
    return "\n".join(f"  {'kept' if p.kept else 'BROKEN'}: {p.text}: {p.measured}" for p in promises)
