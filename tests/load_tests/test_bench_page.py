"""The page says what the results say, whoever is ahead, and however much of them there is."""

import json
import re
from pathlib import Path

from load_tests import bench, bench_numbers, bench_page, bench_round
from load_tests.bench_numbers import Row
from load_tests.peers.sampler import NPY, PNG
from tests.load_tests import results


def test_cells_are_means_of_the_rounds_with_their_spread() -> None:
    (row,) = bench_numbers.rows(results.table(latentry=[900.0, 1000.0]))
    cell = row.cell(1, NPY, 16)
    assert cell is not None
    assert (cell.rps.mean, cell.rps.low, cell.rps.high) == (950.0, 900.0, 1000.0)
    assert abs(cell.rps.spread - 0.1) < 1e-12
    png = row.cell(1, PNG, 16)
    assert png is not None
    assert png.rps.mean == 475.0
    memory = row.memory_mib()
    assert memory is not None
    assert memory.mean == 150.0


def test_the_verdict_names_place_and_rival() -> None:
    def said(**rps: list[float]) -> str:
        return bench_page.verdict(
            "Q", bench_numbers.rows(results.table(**rps)), lambda r: r.rps(1), more=True
        )

    ahead = said(latentry=[1000.0], other=[500.0], slow=[50.0])
    assert ahead == "Q: Latentry is 1 of 3 with 1,000, 2.00 times the best of the others, Other (500)."
    behind = said(latentry=[400.0], other=[500.0], slow=[50.0])
    assert behind == "Q: Latentry is 2 of 3 with 400, 0.80 times the best of the others, Other (500)."
    level = said(latentry=[1000.0], other=[1040.0])
    assert level == "Q: Latentry is 2 of 2 with 1,000, within 5% of the best of the others, Other (1,040)."
    assert said(latentry=[1000.0]) == ""
    assert said(other=[1000.0], slow=[1.0]) == ""


def test_less_is_better_where_it_is() -> None:
    table = results.table(latentry=[1.0], other=[1.0])
    table["servers"]["latentry"]["start_s"] = [6.0]
    said = bench_page.verdict("Start", bench_numbers.rows(table), Row.start_s, more=False)
    assert said == "Start: Latentry is 2 of 2 with 6.0, 3.00 times the best of the others, Other (2.0)."


def test_the_page_and_its_charts_are_made_of_the_json_alone(tmp_path: Path) -> None:
    table = results.table(latentry=[900.0, 1000.0], other=[1200.0, 1180.0], gone=[])
    table["servers"]["gone"] |= {"faults": [{"round": 1, "fault": "NotInstalledError: no such | package"}]}
    del table["servers"]["gone"]["environment_bytes"]
    table["servers"]["latentry"]["steady"] = [{"round": 1, "rate": 700.0} | results.load(690.0)]
    beside = results.load(300.0) | {"p99_ms": 25.0}
    table["servers"]["latentry"]["beside"] = [
        {"round": 1, "connections": 4, "alone": results.load(600.0), "beside": beside}
    ]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(table))
    page = tmp_path / "benchmarks.md"
    assert bench.main(["--render", "--results", str(file), "--page", str(page)]) == 0
    text = page.read_text()
    # The faster comes first; the one that was not measured has no numbers, and says why.
    main = text[text.index("## One image a request") :]
    assert (
        main.index("| Other |")
        < main.index("| **Latentry** | 950 | 950 | 950 | 10%")
        < main.index("| Gone | – |")
    )
    assert "* Gone, round 1: NotInstalledError: no such / package" in text
    assert "| Gone | `serve gone` | [page](https://example.org/gone) | not installed |" in text
    assert "700 a second: p50 5.0 ms, p99 12.5 ms, ratio 2.5, 0 failed of 100" in text
    assert "4 connections: p99 12 ms alone, 25 ms beside it, 2.0 times as much, 0 failed" in text
    part = "Latentry's part of what onnxruntime alone does in batches of 64 beside it (npy)"
    assert f"{part}: 0.12 at 16 connections (0.11 to 0.12), 0.12 at 64 connections (0.11 to 0.12)." in text
    assert "Do not quote" not in text
    charts = re.findall(r"\]\((benchmarks/[a-z]+\.png)\)", text)
    assert len(charts) == 4
    assert all((tmp_path / chart).read_bytes().startswith(b"\x89PNG") for chart in charts)
    before = {chart: (tmp_path / chart).read_bytes() for chart in charts}
    bench_page.write(table, page)
    assert page.read_text() == text
    assert before == {chart: (tmp_path / chart).read_bytes() for chart in charts}


def test_the_published_page_is_what_its_results_give(tmp_path: Path) -> None:
    published = bench_page.PAGE.parent / "benchmarks" / "results.json"
    bench_page.write(json.loads(published.read_text()), tmp_path / "benchmarks.md")
    assert (tmp_path / "benchmarks.md").read_text() == bench_page.PAGE.read_text()


def test_what_was_interrupted_is_rendered(tmp_path: Path) -> None:
    table = results.table(latentry=[], other=[])
    table["limits"] = []
    bench_page.write(table, tmp_path / "page.md")
    assert "| **Latentry** | – | – |" in (tmp_path / "page.md").read_text()


def test_numbers_of_a_busy_machine_are_said_to_be_void() -> None:
    table = results.table(latentry=[1000.0], other=[2200.0])
    table["limits"][-1] |= {"after": 6000.0, "busy": 0.6}
    assert bench_numbers.doubts(table) == [
        "at n = 1 a server had 1.10 of a limit that nothing outruns",
        "the limit at n = 64 moved by 25% between its measurements",
        "other programs had up to 60% of the cores between the rounds",
    ]
    assert "**Do not quote these numbers:** at n = 1 a server had 1.10" in bench_page.render(table, [])


def test_a_cell_is_set_beside_the_limit_right_before_and_after_it() -> None:
    table = results.table(latentry=[1000.0, 1000.0], other=[2000.0, 2000.0])
    cell = {"round": 2, "n": 64, "media_type": NPY, "connections": 16}
    [limit] = [limit for limit in table["limits"] if cell.items() <= limit.items()]
    limit |= {"before": 4000.0, "after": 6000.0}
    assert bench_numbers.part_of_limit(table, 64, NPY, 16) == bench_numbers.Rate(0.1625, 0.125, 0.2)
    del limit["after"]
    assert bench_numbers.part_of_limit(table, 64, NPY, 16) == bench_numbers.Rate(0.1875, 0.125, 0.25)
    assert bench_numbers.part_of_limit(table, 64, NPY, 1) == bench_numbers.Rate(0.125, 0.125, 0.125)
    assert bench_numbers.part_of_limit(results.table(other=[2000.0]), 64, NPY, 16) is None


def test_a_fault_is_told_in_one_line_without_folders() -> None:
    error = RuntimeError("no such file:\n  /home/someone/place/.venv-peers/ray/bin/python; asked /sample?n=1")
    assert bench_round.plain(error) == "no such file: python; asked /sample?n=1"


def test_the_quick_form_leaves_the_published_page_alone() -> None:
    assert bench.parse_args([]).page == bench_page.PAGE
    quick = bench.parse_args(["--quick"])
    assert quick.page.parent == quick.results.parents[1] == bench_round.ROOT / "load_tests" / "results"
    assert bench.parse_args([]).results == bench_page.PAGE.parent / "benchmarks" / "results.json"
