"""Weights between the versions of a model."""

from collections import Counter
from pathlib import Path

import pytest

from service.manifest import BundleError
from service.traffic import Traffic, read


@pytest.mark.parametrize(
    ("weights", "versions", "expected"),
    [
        ({2: 0.1, 3: 0.9}, [1, 2, 3], {1: 0.0, 2: 0.1, 3: 0.9}),
        ({2: 1, 3: 3}, [2, 3], {2: 0.25, 3: 0.75}),
        ({2: 1, 3: 3}, [1, 2], {1: 0.0, 2: 1.0}),  # 3 is not there: its share goes to the others
        ({2: 1}, [3, 4], {3: 0.0, 4: 1.0}),
        ({}, [3, 10], {3: 0.0, 10: 1.0}),
    ],
)
def test_shares(weights: dict[int, float], versions: list[int], expected: dict[int, float]) -> None:
    assert Traffic(weights).shares(versions) == expected


def test_keys_fall_as_the_weights_say() -> None:
    traffic = Traffic({1: 0.2, 2: 0.0, 3: 0.8})
    found = Counter(traffic.version(f"key {i}".encode(), [1, 2, 3]) for i in range(4000))
    assert found.keys() == {1, 3}
    assert found[1] == pytest.approx(800, abs=4 * 25.3)  # four standard deviations of a binomial


def test_a_key_stays_where_it_is_and_few_move_when_weights_do() -> None:
    before, after = Traffic({1: 0.9, 2: 0.1}), Traffic({1: 0.8, 2: 0.2})
    keys = [f"key {i}".encode() for i in range(1000)]
    assert [before.version(key, [1, 2]) for key in keys] == [before.version(key, [1, 2]) for key in keys]
    moved = Counter((before.version(key, [1, 2]), after.version(key, [1, 2])) for key in keys)
    assert set(moved) == {(1, 1), (1, 2), (2, 2)}  # none goes back to 1
    assert 60 < moved[1, 2] < 140


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        (" " * 70_000 + "{}", "has 70,002 bytes; allowed: 65,536"),
        ("[1]", "expected a JSON object of weights by version"),
        ('{"latest": 1}', "'latest' is not the number of a version"),
        ('{"01": 1}', "'01' is not the number of a version"),
        ('{"1": "0.5"}', "the weight of 1 must be a number of 0 or more, got '0.5'"),
        ('{"1": true}', "must be a number of 0 or more, got True"),
        ('{"1": -0.5}', "must be a number of 0 or more, got -0.5"),
        ('{"1": NaN}', "must be a number of 0 or more, got nan"),
        ('{"1": Infinity}', "must be a number of 0 or more, got inf"),
        ('{"1": 0, "2": 0}', "a weight must be above 0"),
        ("{}", "a weight must be above 0"),
    ],
)
def test_what_are_no_weights_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "traffic.json"
    path.write_text(text)
    with pytest.raises(BundleError, match="traffic.json: .*" + reason):
        read(path)


def test_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "traffic.json"
    path.write_text('{"2": 9, "10": 0.5}')
    assert read(path) == Traffic({2: 9.0, 10: 0.5})
