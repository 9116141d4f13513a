"""docs/bad-inputs.md: every bad request of the tests, and what it is answered. `make inputs` writes it."""

import re
import tempfile
from functools import cache
from pathlib import Path

import httpx

from tests.service import bundles
from tests.service.http.bad import ALL
from tests.service.http.bad.case import Bad, message, send
from tests.service.http.conftest import LIMITS
from tests.service.server import ROOT, serve

PAGE = ROOT / "docs" / "bad-inputs.md"
STALE = "docs/bad-inputs.md says otherwise: `make inputs` writes it anew"
_SHOWN_CHARACTERS = 60
_HEAD = """# What bad input is answered

{count} requests that are wrong in one way each, and the status and message that each of them gets, word for word.
Tests send them all to a service of tiny models that takes {max_body_bytes:,} bytes and {max_pixels:,} pixels (else the
defaults of the settings), expect what stands here, and have a good request answered after each. `make inputs` writes
this page.
"""


def row(bad: Bad, answer: httpx.Response) -> str:
    """The line of a request in its table."""
    asked = f"{bad.method} {bad.path}"
    if len(asked) > _SHOWN_CHARACTERS:
        asked = asked[:_SHOWN_CHARACTERS] + "..."
    return f"| {bad.name} | {_code(asked)} | {answer.status_code} | {_code(message(answer))} |"


@cache
def committed() -> dict[tuple[str, str], str]:
    """Rows of the page by group and name, in order."""
    rows: dict[tuple[str, str], str] = {}
    group = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif found := re.match(r"\| (.+?) \| `", line):
            rows[group, found[1]] = line
    return rows


def write() -> None:
    count = sum(map(len, ALL.values()))
    parts = [_HEAD.format(count=count, **LIMITS)]
    with tempfile.TemporaryDirectory() as scratch:
        bundles.write_all(Path(scratch) / "models")
        with (
            serve(Path(scratch) / "models", Path(scratch), workers=2, **LIMITS) as url,
            httpx.Client(base_url=url, timeout=30) as http,
        ):
            for group, cases in ALL.items():
                rows = "\n".join(row(bad, send(http, bad)) for bad in cases)
                parts.append(
                    f"## {group}\n\n| what is wrong | request | status | message |\n| --- | --- | --- | --- |\n{rows}\n"
                )
    PAGE.write_text("\n".join(parts))


def _code(text: str) -> str:
    """Markdown of a cell of a table."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


if __name__ == "__main__":
    write()
