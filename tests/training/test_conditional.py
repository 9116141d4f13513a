"""A GAN that is conditional on the class: trained, measured, exported, and sampled as the service does it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from service import operations
from service.registry import load_model
from service.steps import finish
from tests.training.recipes import MINI, mini, small
from training.__main__ import main
from training.errors import ConfigError
from training.families.gan import GAN, GANConfig
from training.loop import train
from training.networks import Discriminator, InTurn, ServedDiscriminator
from training.report import Report
from training.run_dir import RunDir
from training.trained import load_trained

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Trained and evaluated."""
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for name, config in {
        "classifier": small("classifier"),
        "gan": small("gan", {"conditional": True}),
    }.items():
        found[name] = RunDir(root / name)
        found[name].create(config)
        found[name].begin_session(mini(), CPU, 1)
        train(config, mini(), found[name], Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.samples.SAMPLES", 1000)
        for name, more in {"classifier": [], "gan": ["--classifier", str(found["classifier"].path)]}.items():
            command = ["evaluate", str(found[name].path), "--data", str(MINI), "--device", "cpu", *more]
            assert main(command) == 0
    return found["gan"]


def test_a_generator_draws_what_it_is_told(run: RunDir) -> None:
    trained = load_trained(run.path, mini("test"))
    generate = trained.operations(mini(), CPU)["generate"]
    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).expand(10, -1)
    with torch.no_grad():
        drawn = generate(z, torch.arange(10))
        in_turn = trained.of_latents(generate)(z)
    assert torch.equal(drawn, in_turn)
    assert all(not torch.equal(drawn[0], drawn[i]) for i in range(1, 10))


def test_a_score_is_that_of_all_classes_together() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator((1, 12, 12), (4, 4, 8), 16, "none", 1, 1, normalise=False, classes=3).eval()
    images = torch.rand(5, 1, 12, 12)
    with torch.no_grad():
        of_each = torch.stack([discriminator(images, torch.full((5,), c)) for c in range(3)], 1)
        served = ServedDiscriminator(discriminator, images)(images)
    assert not torch.allclose(of_each[:, 0], of_each[:, 1])
    torch.testing.assert_close(served, of_each.exp().mean(1).log())


def test_it_is_measured_how_many_samples_are_what_they_were_to_be(run: RunDir) -> None:
    report = Report.from_json(run.metrics.read_text())
    (agreement,) = (result for result in report.results if result.name == "label_agreement10k")
    assert 0 <= agreement.value <= 1
    assert agreement.n == 1000
    assert "in turn" in agreement.protocol


def test_a_bundle_of_it_is_served_by_label(run: RunDir, tmp_path: Path) -> None:
    command = ["export", str(run.path), "--data", str(MINI), "--models", str(tmp_path)]
    assert main(command) == 0
    folder = tmp_path / "small-gan" / "1"
    model = load_model(folder, threads=1)  # checks its golden outputs, too
    assert len(model.manifest.class_names or ()) == 10
    labels = [3, 3, 7]
    images = finish(operations.sample(model, range(3), None, labels))
    assert images.shape == (3, 28, 28, 1)
    alone = finish(operations.sample(model, range(2, 3), None, [7]))
    np.testing.assert_array_equal(alone[0], images[2])
    other = finish(operations.sample(model, range(2, 3), None, [3]))
    assert not np.array_equal(other[0], images[2])


def test_classes_are_drawn_in_turn() -> None:
    labels = InTurn(torch.nn.Identity(), 10).labels(250)
    assert labels[:12].tolist() == [*range(10), 1, 2]
    assert labels.bincount().tolist() == [25] * 10
    for half in (labels[::2], labels[1::2]):  # samples are halved so
        assert set(half.bincount().tolist()) == {12, 13}


def test_without_classes_it_is_refused() -> None:
    config = GANConfig(4, (4, 4), (4, 4, 4), 4, "hinge", conditional=True)
    with pytest.raises(ConfigError, match="two classes or more"):
        GAN(config, (1, 8, 8), classes=0)
