"""Stacked-MNIST: the data, what a classifier of digits sees in it, and which of its modes samples reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.recipes import MINI, mini
from training.data import stacked
from training.data.samples import Samples
from training.data.stacked import stack
from training.datasets import KNOWN, load
from training.errors import DataError
from training.evaluation import modes as modes_module
from training.evaluation.modes import modes, reached
from training.feature_space import FeatureSpace, published_classifier

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "TRIPLES", {"train": 500, "test": 100})


def digits() -> Samples:
    """Thirty flat images, of the level 20 times their digit."""
    labels = np.arange(30) % 10
    return Samples((20 * labels).astype(np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3), labels)


class Reader(nn.Module):
    """A classifier of those: features are the level itself, and its square."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        level = images.mean((1, 2, 3)) * 255 / 20
        logits = -100 * (level[:, None] - torch.arange(10)).square()
        return logits, torch.stack([level, level**2], 1)


def space() -> FeatureSpace:
    return FeatureSpace("reader", "", Reader(), CPU, colours=3)


def test_a_triple_is_of_the_class_of_its_colours() -> None:
    for split, n in (("train", 500), ("test", 100)):
        found = stack(digits(), split)  # type: ignore[arg-type]
        assert found.images.shape == (n, 3, 2, 2)
        assert found.labels is not None
        colours = found.images[:, :, 0, 0].astype(int) // 20
        np.testing.assert_array_equal(found.labels, colours @ [100, 10, 1])
        assert len(set(found.labels)) > 0.7 * n, "drawn at random"
        np.testing.assert_array_equal(stack(digits(), split).images, found.images)  # type: ignore[arg-type]


def test_only_grey_images_with_labels_are_stacked() -> None:
    for samples in (
        replace(digits(), labels=None),
        replace(digits(), images=digits().images.repeat(3, 1)),
        replace(digits(), labels=np.arange(30)),
    ):
        with pytest.raises(DataError, match="grey images with labels"):
            stack(samples, "train")


def test_it_is_loaded_by_name_from_the_digits() -> None:
    found, base = load("stacked-mnist", "train", MINI), mini()
    assert found.images.shape == (500, 3, 28, 28)
    assert found.class_names is not None
    assert (found.class_names[0], found.class_names[-1], len(found.class_names)) == ("000", "999", 1000)
    assert found.licence == "unknown", "the little set is not the published one"
    one = found.images[0, 1]
    assert any(np.array_equal(one, image) for image in base.images[:, 0])
    assert KNOWN["stacked-mnist"].licence == KNOWN["mnist"].licence


def test_the_classifier_of_digits_sees_each_colour() -> None:
    found = stack(digits(), "test")
    seen = space().see(torch.from_numpy(found.images))
    np.testing.assert_array_equal(seen.labels, found.labels)
    assert seen.probabilities.shape == (100, 1000)
    np.testing.assert_allclose(seen.probabilities.sum(1), 1, rtol=1e-4)
    colours = found.images[:, :, 0, 0] / 20
    np.testing.assert_allclose(seen.features[:, ::2], colours, rtol=1e-4)
    np.testing.assert_allclose(seen.features[:, 1::2], colours**2, rtol=1e-3, atol=1e-4)


def test_the_published_one_is_found() -> None:
    folder = published_classifier("stacked-mnist")
    assert folder.parent.name == "mnist-classifier"
    images = load("stacked-mnist", "test", MINI)
    seen = FeatureSpace.load(folder, images, CPU).see(torch.from_numpy(images.images))
    assert seen.features.shape == (100, 3 * 128)
    assert np.mean(seen.labels == images.labels) > 0.95


def test_modes_are_counted_and_weighed() -> None:
    """Two of a thousand modes, alike often: KL = log(1000 / 2)."""
    found = stack(digits(), "test")
    pair = torch.from_numpy(found.images[[0, 1] * 10])
    assert found.labels is not None
    assert found.labels[0] != found.labels[1]
    count, divergence = reached(space(), pair, 1000)
    assert count == 2
    assert divergence == pytest.approx(np.log(500))


class OneTriple(nn.Module):
    """A collapsed generator."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.full((len(z), 3, 2, 2), 40 / 255)


def test_samples_are_measured_beside_as_many_real_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes_module, "SAMPLES", 300)
    train = load("stacked-mnist", "train", MINI)
    small = replace(train, images=stack(digits(), "train").images)
    values = {r.name: r.value for r in modes(space(), OneTriple(), 4, small, CPU)}
    assert values["modes26k"] == 1
    assert values["reverse_kl26k_nats"] == pytest.approx(np.log(1000))
    assert 200 < values["modes26k_train"] <= 300
    assert values["reverse_kl26k_train_nats"] < 2
