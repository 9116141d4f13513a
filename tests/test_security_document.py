"""SECURITY.md promises what tests hold: each test that it names is there, and each of its rows names one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from service.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[^`]*)`", DOCUMENT)))
ROWS = [
    line
    for line in DOCUMENT.splitlines()
    if line.startswith("| ") and not line.startswith(("| what", "| ---"))
]


@cache
def functions(file: Path) -> set[str]:
    """What pytest finds in it."""
    nodes = ast.parse(file.read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_each_test_that_is_named_exists(name: str) -> None:
    file, _, function = name.partition("::")
    assert Path(file).name.startswith("test_")
    assert function.startswith("test_")
    assert function in functions(ROOT / file)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:50])
def test_each_row_names_a_test(row: str) -> None:
    threat, answer, tests = (cell.strip() for cell in row.strip("|").split("|"))
    assert threat
    assert answer
    assert re.fullmatch(r"`tests/[\w/]+\.py::\w+`(, `tests/[\w/]+\.py::\w+`)*", tests)


def test_there_is_something_to_check() -> None:
    assert len(NAMED) > 40
    assert len(ROWS) > 30


def test_each_setting_that_is_named_exists() -> None:
    named = set(re.findall(rf"`{ENV_PREFIX}(\w+)`", DOCUMENT))
    assert len(named) >= 5
    assert named <= {name.upper() for name in Settings.model_fields}
