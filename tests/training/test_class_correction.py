"""A score that favours no class: what is taken from it, how that is fitted, and that it is served so."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.recipes import MINI, mini
from training import class_correction
from training.__main__ import main
from training.checkpoint import write_tensors
from training.class_correction import ClassCorrection, CorrectedDiscriminator
from training.errors import CheckpointError
from training.fitted_correction import class_log_odds, class_offsets, linear_readout
from training.metrics.monotone_scaling import monotone_scaling
from training.networks import Discriminator, ServedDiscriminator
from training.onnx_graph import export_graph
from training.report import Report
from training.trained import MODELS, load_trained

CPU = torch.device("cpu")


def test_what_is_taken_from_each_class_by_hand() -> None:
    # Ratios 2 and 4 in class 0, 1 in class 1, of four samples: weights (2 + 4) / 4 and (1 + 1) / 4.
    log_odds = np.log([2.0, 1.0, 4.0, 1.0])
    labels = np.array([0, 1, 0, 1])
    shift = class_log_odds(log_odds, labels, np.array([0.25, 0.75]))
    np.testing.assert_allclose(np.exp(shift), [1.5 / 0.25, 0.5 / 0.75])
    # Afterwards each class has its fraction of the data.
    ratio = np.exp(log_odds - shift[labels])
    assert ratio.sum() / 4 == pytest.approx(1)
    assert ratio[labels == 0].sum() / ratio.sum() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="of every class"):
        class_log_odds(log_odds, np.zeros(4, np.int64), np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("error", "fraction"), [((1.0, -1.0), 0.5), ((0.0, 0.0), 0.7), ((-0.3, 0.6), 0.4)], ids=str
)
def test_known_ratios_of_two_classes_are_found(error: tuple[float, float], fraction: float) -> None:
    """Samples N(0, 1), data N(1, 1): the log ratio is x - 1/2, and that of the classes' fractions beside it."""
    rng = np.random.default_rng(0)
    n = 10_000
    is_real = np.arange(2 * n) < n
    labels = (rng.random(2 * n) >= np.where(is_real, fraction, 0.5)).astype(int)
    logits = rng.standard_normal(2 * n) + is_real - 0.5 + np.array(error)[labels]
    data = np.bincount(labels[is_real]) / n
    offsets = class_offsets(logits, np.eye(2)[labels], is_real, labels[~is_real], data)
    right = np.array(error) - np.log([fraction / 0.5, (1 - fraction) / 0.5])
    np.testing.assert_allclose(offsets, right - right.mean(), atol=0.06)
    corrected = logits - offsets[labels]
    ratio = np.exp(monotone_scaling(corrected, is_real)(corrected[~is_real]))
    means = [ratio[labels[~is_real] == c].mean() for c in (0, 1)]
    wanted = data / (np.bincount(labels[~is_real]) / n)
    np.testing.assert_allclose(means[0] / means[1], wanted[0] / wanted[1], rtol=0.003)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_read_off_features(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % classes
    means = 100 * np.eye(classes, 5)
    features = torch.from_numpy(means[labels] + rng.standard_normal((300, 5))).float()
    features[:, 4] = 7
    weight, bias = linear_readout(features, labels, classes)
    p = ClassCorrection(weight, bias, torch.zeros(classes)).probabilities(features)
    assert (p.argmax(1).numpy() == labels).all()
    assert p.sum(1).numpy() == pytest.approx(1)
    with pytest.raises(ValueError, match=f"of {classes + 1} classes"):
        linear_readout(features, labels, classes + 1)


def test_offsets_are_weighted_by_the_probabilities() -> None:
    # Logits of the classes (f, -f): at f = 0 both are as probable, at f = ln 3 / 2 as 3 to 1.
    correction = ClassCorrection(torch.tensor([[1.0], [-1.0]]), torch.zeros(2), torch.tensor([2.0, -6.0]))
    taken = correction(torch.tensor([[0.0], [math.log(3) / 2], [50.0], [-50.0]]))
    np.testing.assert_allclose(taken.numpy(), [-2, 0, 2, -6], atol=1e-5)


def test_the_corrected_graph_scores_each_row_alone() -> None:
    """`export_graph` refuses a graph whose rows depend on their batch."""
    torch.manual_seed(0)
    discriminator = Discriminator((1, 12, 12), (4, 4, 8), 16, "minibatch-discrimination", 4, 4, False)
    images = torch.rand(64, 1, 12, 12)
    served = ServedDiscriminator(discriminator, images[:31])
    f = discriminator.features(images).detach()
    weight = torch.randn(10, 16) / f.std(0)
    correction = ClassCorrection(weight, -weight @ f.mean(0), torch.randn(10))
    corrected = CorrectedDiscriminator(served, correction)
    graph = export_graph(corrected, {"image": images}, ("logit",))
    assert graph.difference < 1e-5
    with torch.no_grad():
        taken = served(images) - corrected(images)
        np.testing.assert_allclose(taken, correction(f), atol=1e-6)
    assert taken.std() > 0.1


def test_a_correction_is_of_the_weights_it_was_fitted_to(tmp_path: Path) -> None:
    assert class_correction.read(tmp_path, 7) is None
    class_correction.write(
        tmp_path, ClassCorrection(torch.randn(3, 5), torch.randn(3), torch.randn(3)), images_seen=7
    )
    first, again = (class_correction.read(tmp_path, 7) for _ in range(2))
    assert first is not None
    assert again is not None
    f = torch.randn(4, 5)
    assert torch.equal(first(f), again(f))
    assert first(f).std() > 0
    assert class_correction.read(tmp_path, 8) is None
    write_tensors(tmp_path / class_correction.FILE, {"weight": torch.ones(1)}, {"images_seen": "7"})
    with pytest.raises(CheckpointError, match="expected weight, bias and offsets, found weight"):
        class_correction.read(tmp_path, 7)


def test_evaluating_a_run_corrects_its_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published networks, as a run that has no correction yet."""
    for name in ("config.json", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes((MODELS / "mnist-gan" / "4" / name).read_bytes())
    monkeypatch.setattr("training.evaluation.samples.SAMPLES", 1000)
    monkeypatch.setattr("training.fitted_correction.LEAST", 3)
    assert main(["evaluate", str(tmp_path), "--data", str(MINI), "--device", "cpu"]) == 0
    trained = load_trained(tmp_path, mini("test"))
    assert trained.correction is not None
    # Of a few images, much the same digits are rated too high as were found with all of the test images.
    published = load_trained(MODELS / "mnist-gan" / "4", mini("test")).correction
    assert published is not None
    offsets, as_published = (c.tensors()["offsets"].numpy() for c in (trained.correction, published))
    assert np.corrcoef(offsets, as_published)[0, 1] > 0.6
    assert offsets.mean() == pytest.approx(0, abs=1e-6)
    values = Report.from_json((tmp_path / "metrics.json").read_text()).values()
    assert 0.5 < values["kept_fraction"] < 0.9
    assert values["fd10k_kept"] > 0
