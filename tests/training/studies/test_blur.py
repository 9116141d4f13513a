from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.recipes import MINI
from training.datasets import Dataset
from training.studies.blur import STUDY
from training.studies.blur_adversarial import Completion
from training.studies.blur_neighbours import Neighbours, completion_errors, label_entropy_bits, nearest
from training.studies.runner import run_study


def test_pixel_likelihoods_blur_and_adversaries_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MINI)
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "data"))
    records = run_study(STUDY, tmp_path, quick=True)
    results = {record.run.name: record.outcome.results for record in records}
    data = results["data"]["sharpness"]
    sharpness = {name: results[name]["sharpness"] for name in results if name != "neighbours"}
    for likelihood in ("gaussian", "bernoulli"):
        assert sharpness[f"vae-{likelihood}-0"] < 0.6 * data
        assert sharpness[f"vae-{likelihood}-0"] < sharpness["gan-0"]
    assert sharpness["mnist-vae"] < 0.95 * data
    assert abs(sharpness["mnist-gan"] - data) < abs(sharpness["mnist-vae"] - data)

    found, network = results["neighbours"], results["completion-mse-0"]
    assert found["mean"]["sharpness"] < 0.3 * found["neighbour"]["sharpness"]
    assert network["sharpness"] < 0.3 * found["truth"]["sharpness"]
    assert network["sharpness"] < sharpness["completion-adversarial-0"]
    assert network["mse_to_mean"] < 0.7 * network["mse_to_truth"]
    assert found["mean"]["mse_to_neighbours"] < network["mse_to_neighbours"]
    assert found["mean"]["mse_to_neighbours"] < found["truth"]["mse_to_neighbours"]

    assert (tmp_path / "blur.md").read_text().count("](blur/") >= 5
    for figure in ("samples", "spectra", "sharpness", "completions"):
        assert (tmp_path / "blur" / f"{figure}.png").stat().st_size > 5_000


def dataset(images: np.ndarray, labels: list[int]) -> Dataset:
    return Dataset("made", images, np.array(labels), None, "", "", "train", "")


def test_neighbours_are_chosen_by_what_is_seen_alone() -> None:
    images = np.zeros((4, 1, 28, 28), np.uint8)
    images[:, 0, 3, 3] = [0, 100, 110, 255]
    images[:, 0, 20, 20] = [1, 2, 3, 4]
    asked = images[2:3].copy()
    asked[0, 0, 20:] = 255
    found = nearest(dataset(images, [5, 6, 7, 8]), dataset(asked, [7]), n=1, k=3)
    assert found.labels.tolist() == [[7, 6, 5]]
    np.testing.assert_allclose(found.lower[0, :, 6, 20] * 255, [3, 2, 1], rtol=1e-5)
    assert found.truth[0, 20, 20] == 1


def test_label_entropy() -> None:
    labels = np.array([[1, 1, 1, 1], [1, 2, 1, 2], [1, 2, 3, 4], [1, 1, 1, 2]])
    quarter = 0.25 * 2 + 0.75 * np.log2(4 / 3)
    np.testing.assert_allclose(label_entropy_bits(labels), [0, 1, 2, quarter])
    found = Neighbours(np.zeros((4, 28, 28), np.float32), np.zeros((4, 4, 14, 28), np.float32), labels)
    assert found.ambiguous(3).tolist() == [2, 1, 3]


def test_differing_completions_come_from_the_commonest_labels_first() -> None:
    labels = np.array([[4, 4, 9, 9, 9, 7, 4, 9]])
    found = Neighbours(np.zeros((1, 28, 28), np.float32), np.zeros((1, 8, 14, 28), np.float32), labels)
    assert found.differing(0, 3).tolist() == [2, 0, 5]
    assert found.differing(0, 5).tolist() == [2, 0, 5, 1, 3]


def test_errors_of_the_mean_and_of_a_neighbour() -> None:
    # Two neighbours, black and white: the mean is grey, 1/4 from each, and each is 1/2 from both on average.
    lower = np.stack([np.zeros((14, 28)), np.ones((14, 28))]).astype(np.float32)[None]
    found = Neighbours(np.ones((1, 28, 28), np.float32), lower, np.array([[0, 1]]))
    rows = np.array([0])
    mean = completion_errors(lower.mean(axis=1), found, rows)
    assert mean == pytest.approx({"mse_to_truth": 0.25, "mse_to_mean": 0, "mse_to_neighbours": 0.25})
    black = completion_errors(lower[:, 0], found, rows)
    assert black == pytest.approx({"mse_to_truth": 1, "mse_to_mean": 0.25, "mse_to_neighbours": 0.5})


def test_a_completion_keeps_what_was_seen_and_ignores_what_was_not() -> None:
    config = {"noise_dim": 2, "latent_dim": 4, "encoder_channels": (4, 4, 4), "decoder_channels": (4, 4)}
    torch.manual_seed(0)
    network = Completion(config).eval()
    images = torch.rand(3, 1, 28, 28)
    other = images.clone()
    other[:, :, 14:] = 0.3
    torch.manual_seed(1)
    first = network(images)
    torch.manual_seed(1)
    second = network(other)
    assert torch.equal(first, second)
    assert torch.equal(first[:, :, :14], images[:, :, :14])
    changed = images.clone()
    changed[:, :, :14] = 0.3
    torch.manual_seed(1)
    assert not torch.allclose(network(changed)[:, :, 14:], first[:, :, 14:], atol=1e-6)
