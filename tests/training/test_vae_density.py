"""A VAE as a density model of binary images: what it is trained on, and what its bounds are of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from tests.training.recipes import mini, small
from training.binarisation import binarise
from training.errors import ConfigError
from training.evaluation.likelihood import elbo, importance_weighted, observed
from training.loop import train
from training.onnx_graph import export_graph
from training.run_dir import RunDir
from training.trained import Trained, load_trained

CPU = torch.device("cpu")
DENSITY = {"pixels": "binarised", "blocks": 1, "importance_samples": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    run = RunDir(tmp_path_factory.mktemp("run"))
    config = small("vae", DENSITY)
    run.create(config)
    run.begin_session(mini(), CPU, 1)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1))
    return load_trained(run.path, mini("test"))


def test_a_pixel_is_white_as_often_as_it_is_bright() -> None:
    grey = torch.tensor([0.0, 0.1, 0.5, 1.0]).reshape(1, 1, 2, 2).expand(20_000, 1, 2, 2)
    drawn = binarise(grey, torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), grey[0], atol=0.02, rtol=0)


def test_the_same_binary_images_are_measured_each_time(trained: Trained) -> None:
    images = mini("test").images
    (first, how), (again, _) = observed(trained, images), observed(trained, images)
    assert set(np.unique(first)) == {0, 255}
    np.testing.assert_array_equal(first, again)
    assert "binarised at random (seed" in how
    assert first.astype(float).mean() == pytest.approx(images.astype(float).mean(), rel=0.01)


def test_bounds_are_of_binary_images(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.likelihood.IW_DRAWS", 50)
    test = mini("test")
    operations = trained.operations(mini(), CPU)
    bound = {result.name: result for result in elbo(trained, operations, test, CPU)}
    assert "binarised at random" in bound["elbo_nats"].protocol
    binary, _ = observed(trained, test.images)
    x = torch.from_numpy(binary).float() / 255
    mean, _ = operations["encode"](x)
    p = operations["generate"](mean)
    at_mean = torch.where(x > 0.5, p, 1 - p).log().flatten(1).sum(1).mean()
    assert bound["log_likelihood_nats"].value == pytest.approx(float(at_mean), rel=0.05)
    found = importance_weighted(trained, operations, test, bound["elbo_nats"].value, CPU)
    values = {result.name: result.value for result in found}
    assert values["iw50_all_nats"] > bound["elbo_nats"].value
    assert all("binarised at random" in result.protocol for result in found if result.name == "iw50_nats")


def test_its_graphs_compute_row_by_row(trained: Trained) -> None:
    operations = trained.operations(mini(), CPU)
    images = torch.from_numpy(mini("test").images[:64]).float() / 255
    export_graph(operations["encode"], {"image": images}, ("mean", "logvar"))
    export_graph(operations["generate"], {"z": torch.randn(64, 4)}, ("image",))


def test_more_draws_give_a_tighter_bound(tmp_path: Path) -> None:
    """The bound that is logged lies above the ELBO of the same draws' posterior, on average."""
    config = small("vae", DENSITY | {"importance_samples": 16}, log_every_images=32)
    run = RunDir(tmp_path)
    run.create(config)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), quiet=True)
    last = json.loads(run.log.read_text().splitlines()[-1])
    assert last["bound_nats"] > last["elbo_nats"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"pixels": "binarised", "likelihood": "gaussian"}, "binarised pixels have a bernoulli likelihood"),
        ({"importance_samples": 2, "free_bits_nats": 1.0}, "importance_samples must be 1"),
        ({"importance_samples": 0}, "importance_samples = 0: must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small("vae", model)
