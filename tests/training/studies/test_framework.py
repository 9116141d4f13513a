"""Runs, records and pages, by a study that takes no time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.recipes import mini, small
from training.__main__ import main
from training.loop import Outcome as LoopOutcome
from training.studies import figures, networks, pages
from training.studies.runner import load_records, run_study
from training.studies.study import Outcome, Record, Run, Study

executed: list[str] = []


def plan(quick: bool) -> list[Run]:
    return [Run(f"add-{n}", {"n": n}, (n, n + 1)) for n in ((1,) if quick else (1, 2))]


def execute(run: Run, device: torch.device) -> Outcome:
    executed.append(run.name)
    n = run.config["n"]
    log = [{"step": 0, "value": 0.5}, {"step": 1, "value": n}]
    return Outcome({"sum": [n + s for s in run.seeds]}, log, {"points": np.full((2, 2), n, np.float32)})


def headline(records: Sequence[Record]) -> str:
    return f"sums {[record.outcome.results['sum'] for record in records]}"


def page(records: Sequence[Record], folder: Path) -> str:
    figure, place = figures.axes()
    place.plot(records[0].outcome.arrays["points"].ravel())
    figures.save(figure, folder / "points.png")
    return "![points](adding/points.png)"


ADDING = Study("adding", "Adding", "One and one is two.", plan, execute, headline, page)


@pytest.fixture(autouse=True)
def _forget() -> None:
    executed.clear()


def test_a_study_is_its_records_and_its_page(tmp_path: Path) -> None:
    records = run_study(ADDING, tmp_path)
    assert [record.outcome.results["sum"] for record in records] == [[2, 3], [4, 5]]
    np.testing.assert_array_equal(records[1].outcome.arrays["points"], np.full((2, 2), 2))
    assert records[1].outcome.log[1] == {"step": 1, "value": 2}
    assert records[0].run == Run("add-1", {"n": 1}, (1, 2))
    assert records[0].environment.torch == torch.__version__
    text = (tmp_path / "adding.md").read_text()
    for part in (
        "# Adding",
        "One and one is two.",
        "sums [[2, 3], [4, 5]]",
        "make study NAME=adding",
        "2 runs",
    ):
        assert part in text
    assert "Quick form" not in text
    assert Image.open(tmp_path / "adding" / "points.png").size == (960, 360)


def test_what_is_recorded_is_not_run_again(tmp_path: Path) -> None:
    run_study(ADDING, tmp_path, quick=True)
    assert "Quick form" in (tmp_path / "adding.md").read_text()
    assert load_records(ADDING, tmp_path) is None
    run_study(ADDING, tmp_path)
    assert executed == ["add-1", "add-2"]
    assert len(load_records(ADDING, tmp_path) or ()) == 2


def test_a_training_that_a_signal_ended_is_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: object, **kwargs: object) -> LoopOutcome:
        return LoopOutcome(images_seen=64, seconds=1.0, stopped_by="SIGTERM")

    monkeypatch.setattr(networks, "train", stopped)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        networks.train_family(small("ae"), mini(), torch.device("cpu"))


def test_another_config_is_another_run(tmp_path: Path) -> None:
    run_study(ADDING, tmp_path, quick=True)
    seeds = replace(ADDING, plan=lambda quick: [Run("add-1", {"n": 1}, (5,))])
    assert run_study(seeds, tmp_path)[0].outcome.results == {"sum": [6]}
    config = replace(ADDING, plan=lambda quick: [Run("add-1", {"n": 3}, (5,))])
    assert run_study(config, tmp_path)[0].outcome.results == {"sum": [8]}
    assert executed == ["add-1"] * 3


def test_an_interrupted_record_does_not_count(tmp_path: Path) -> None:
    run_study(ADDING, tmp_path, quick=True)
    record = tmp_path / "adding" / "runs" / "add-1.json"
    record.rename(record.with_suffix(".json.part"))
    run_study(ADDING, tmp_path, quick=True)
    assert executed == ["add-1", "add-1"]


def test_several_processes_give_the_same(tmp_path: Path) -> None:
    records = run_study(ADDING, tmp_path, processes=2)
    assert [record.outcome.results["sum"] for record in records] == [[2, 3], [4, 5]]
    assert executed == []  # but in other processes


def test_the_index_tells_what_each_study_found(tmp_path: Path) -> None:
    pages.write_index([(ADDING, run_study(ADDING, tmp_path))], tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "## 1. [Adding](adding.md)" in text
    assert "sums [[2, 3], [4, 5]]" in text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([31.04, 33.16], "32.1 ± 1.5"),
        ([0.01234], "0.0123"),
        ([1234.5, 1234.5], "1,234 ± 0"),
        ([0.0, 0.0], "0.00 ± 0.00"),
        ([-2.5, -3.5, -3.0], "-3.00 ± 0.50"),
    ],
)
def test_mean_and_sample_standard_deviation(values: list[float], text: str) -> None:
    assert pages.mean_sd(values) == text


def test_an_unknown_study_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "astrology"]) == 2
    assert "no study 'astrology': choose one of " in capsys.readouterr().err


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figure, place = figures.axes()
        figures.show_images(place, np.arange(48, dtype=np.uint8).reshape(3, 4, 4), columns=2, title="three")
        figures.save(figure, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
