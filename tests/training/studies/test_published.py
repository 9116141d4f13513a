"""What `docs/studies` holds: every page is what its records say, and every record lies beside its page."""

import re
from pathlib import Path

import pytest

from training.studies import pages, studies
from training.studies.runner import load_records
from training.studies.study import Record

DOCS = Path(__file__).parents[3] / "docs" / "studies"
STUDIES = studies()


def records(name: str) -> list[Record]:
    found = load_records(STUDIES[name], DOCS)
    assert found is not None, f"a run of the study's plan has no record in {DOCS / name / 'runs'}"
    return list(found)


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_is_made_of_the_records_beside_it(name: str, tmp_path: Path) -> None:
    pages.write(STUDIES[name], records(name), tmp_path, quick=False)
    assert (tmp_path / f"{name}.md").read_text() == (DOCS / f"{name}.md").read_text()
    drawn, published = (
        {file.name for file in (root / name).iterdir() if file.is_file()} for root in (tmp_path, DOCS)
    )
    assert drawn == published


@pytest.mark.parametrize("name", STUDIES)
def test_no_record_is_left_of_an_older_plan(name: str) -> None:
    planned = {f"{run.name}{suffix}" for run in STUDIES[name].plan(False) for suffix in (".json", ".npz")}
    assert {file.name for file in (DOCS / name / "runs").iterdir()} <= planned


def test_the_index_tells_all(tmp_path: Path) -> None:
    pages.write_index([(study, records(name)) for name, study in STUDIES.items()], tmp_path)
    assert (tmp_path / "README.md").read_text() == (DOCS / "README.md").read_text()


@pytest.mark.parametrize("page", [*(f"{name}.md" for name in STUDIES), "README.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text()):
        assert target.startswith("http") or (DOCS / target).exists(), target
