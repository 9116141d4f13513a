"""Every family learns, every option of a config changes what is learned."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from tests.training.recipes import MODELS, mini, small
from training.checkpoint import read_tensors
from training.config import Config
from training.loop import train
from training.player import Batch, Player
from training.run_dir import RunDir


def weights(config: Config, folder: Path) -> dict[str, torch.Tensor]:
    """The trained networks' weights."""
    run = RunDir(folder)
    run.create(config)
    fabric = Fabric(accelerator="cpu", devices=1, precision=config.precision)
    train(config, mini(), run, fabric, minutes=None, resume=False)
    tensors, _ = read_tensors(run.checkpoint)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("network.")}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether the tensors that both have, in the same shape, are equal."""
    common = [name for name in a.keys() & b.keys() if a[name].shape == b[name].shape]
    assert common
    return all(torch.equal(a[name], b[name]) for name in common)


OPTIONS = [
    ("ae", {"latent_dim": 3}),
    ("vae", {"beta": 4.0}),
    ("vae", {"likelihood": "gaussian"}),
    ("vae", {"kl_warmup_images": 1000}),
    ("vae", {"free_bits_nats": 2.0}),
    ("vae", {"pixels": "binarised"}),
    ("vae", {"importance_samples": 3}),
    ("vae", {"conditional": True}),
    ("vae", {"conditional": True, "importance_samples": 3}),
    ("vae", {"conditional": True, "blocks": 1}),
    ("vae", {"latent_dim": 32, "flow_layers": 2}),
    ("vae", {"latent_dim": 32, "flow_layers": 2, "importance_samples": 3}),
    ("gan", {"loss": "minimax"}),
    ("gan", {"loss": "hinge"}),
    ("gan", {"loss": "wasserstein"}),
    ("gan", {"loss": "relativistic"}),
    ("gan", {"coupling": "none"}),
    ("gan", {"coupling": "minibatch-stddev"}),
    ("gan", {"spectral_norm": True}),
    ("gan", {"r1_gamma": 5.0}),
    ("gan", {"r2_gamma": 5.0}),
    ("gan", {"gp_lambda": 10.0}),
    ("gan", {"penalty_every": 1}),
    ("gan", {"conditional": True}),
    ("classifier", {"flip": True}),
    ("classifier", {"rotate_degrees": 20}),
    ("classifier", {"shift_pixels": 3}),
    ("classifier", {"zoom": 0.2}),
]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("baseline")
    return {family: weights(small(family, images=96), folder / family) for family in MODELS}


@pytest.mark.parametrize(("family", "change"), OPTIONS, ids=str)
def test_each_option_changes_the_weights(
    family: str, change: dict[str, Any], baseline: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    trained = weights(small(family, change, images=96), tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in trained.values())
    assert not equal(trained, baseline[family])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"optimizer": {"lr": 2e-3}},
        {"optimizer": {"lr": 1e-3, "weight_decay": 0.1}},
        {"optimizer": {"lr": 1e-3, "betas": [0.5, 0.9]}},
        {"optimizer": {"lr": 1e-3}},
        {"optimizer": {"lr": 1e-3, "decay": "cosine"}},
        {"precision": "bf16-mixed"},
    ],
    ids=str,
)
def test_each_setting_of_the_run_changes_the_weights(
    change: dict[str, Any], baseline: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    assert not equal(weights(small("ae", images=96, **change), tmp_path / "run"), baseline["ae"])


def test_the_same_config_gives_the_same_weights(
    baseline: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    assert equal(weights(small("gan", images=96), tmp_path / "run"), baseline["gan"])


@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_add_up_to_the_batch(parts: int) -> None:
    """One step of plain gradient descent on a mean: exact, and any wrong factor shows."""
    images = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))

    def stepped(parts: int) -> torch.Tensor:
        torch.manual_seed(0)
        network = nn.Linear(3, 1)
        player = Player(
            network, torch.optim.SGD(network.parameters(), lr=1.0), Fabric(accelerator="cpu", devices=1)
        )

        def loss(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            value = player.network(batch.images).square().mean()
            return value, {"value": value}

        player.update([Batch(part, None) for part in images.chunk(parts)], loss)
        return network.weight.detach()

    torch.testing.assert_close(stepped(parts), stepped(1))


def test_every_penalty_works_in_mixed_precision(tmp_path: Path) -> None:
    change = {"r2_gamma": 1.0, "gp_lambda": 1.0, "penalty_every": 1}
    trained = weights(small("gan", change, images=96, precision="bf16-mixed"), tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in trained.values())


@pytest.mark.parametrize(
    ("family", "model", "scalar", "factor"),
    [
        ("ae", {}, "mse", 0.8),
        ("vae", {}, "elbo_nats", 0.7),
        ("vae", {"likelihood": "gaussian"}, "log_likelihood_nats", None),
        ("classifier", {}, "cross_entropy_nats", 0.8),
    ],
    ids=["ae", "vae", "vae-gaussian", "classifier"],
)
def test_training_improves_the_loss(
    family: str, model: dict[str, Any], scalar: str, factor: float | None, tmp_path: Path
) -> None:
    config = small(family, model, images=2_560, optimizer={"lr": 5e-3})
    run = RunDir(tmp_path / "run")
    run.create(config)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    first, last = rows[0][scalar], rows[-1][scalar]
    if factor is None:
        assert last > first + 100
    else:
        assert abs(last) < factor * abs(first)
