"""A generator that repeats its training images is found out, one that draws new ones is not."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.recipes import mini
from training.evaluation.copies import copies, neighbours
from training.metrics.nearest import nearest


def images(*levels: int) -> Tensor:
    """Flat 1 x 2 x 2 images of these grey levels."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()


def test_the_nearest_are_found_in_order_with_their_distances() -> None:
    found = nearest(images(100, 255), images(255, 0, 102, 90), 2)
    assert found.indices.tolist() == [[2, 3], [0, 2]]
    np.testing.assert_allclose(found.distances, [[2 / 255, 10 / 255], [0, 153 / 255]], atol=1e-6)


def test_it_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (torch.from_numpy(mini(split).images) for split in ("train", "test"))
    whole = nearest(test, train, 3)
    monkeypatch.setattr("training.metrics.nearest.SEARCHED_BYTES", 4 * 784 * 7)
    parts = nearest(test, train, 3)
    np.testing.assert_array_equal(parts.indices, whole.indices)
    np.testing.assert_array_equal(parts.distances, whole.distances)


def test_the_distance_is_a_root_mean_square() -> None:
    """One of four pixels is off by 255: sqrt(1 / 4)."""
    other = images(0)
    other[0, 0, 0, 0] = 255
    assert nearest(other, images(0), 1).distances.item() == pytest.approx(0.5)


def test_copies_are_told_from_new_images() -> None:
    train, test = (torch.from_numpy(mini(split).images) for split in ("train", "test"))
    new = test[::2]

    def measured(samples: Tensor) -> dict[str, float]:
        return {r.name: r.value for r in copies(samples, train, test[1::2], "samples", 0)}

    copied, honest = measured(train[:100]), measured(new)
    assert copied["copies10k"] == 1
    assert copied["nearest_train10k"] == 0
    assert honest["copies10k"] < 0.05
    assert honest["nearest_train10k"] == pytest.approx(honest["nearest_train10k_test"], rel=0.1)
    same = copies(train[:100], train, train[:50], "samples,", 0)
    assert {r.name: r.value for r in same}["copies10k"] == 1, "also where test images are copies themselves"
    half = torch.cat([train[:50], new[:50]])
    assert measured(half)["copies10k"] == pytest.approx(0.5, abs=0.03)


def test_the_picture_has_each_sample_beside_its_neighbours() -> None:
    """Of samples 0, 10, .. 190 and training images 3, 33, ..: the ones with 3 between are the nearest."""
    samples, train = images(*range(0, 200, 10)), images(*range(3, 250, 30))
    sheet = neighbours(samples, train)[:, 0, 0, 0].reshape(8, 8)
    assert sheet[:, 0].tolist() == list(range(0, 80, 10))
    assert sheet[0, 1:4].tolist() == [3, 33, 63]
    assert sheet[:, 4].tolist() == [0, 30, 60, 90, 120, 150, 180, 10]
    assert sheet[1, 5:8].tolist() == [33, 3, 63]
