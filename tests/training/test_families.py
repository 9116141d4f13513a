"""Every family learns, every option of a config changes what is learned."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from tests.training.recipes import MODELS, mini, small
from training.checkpoint import read_tensors
from training.config import Config
from training.errors import ConfigError
from training.families import build
from training.families.gan import GAN
from training.loop import make_players, train
from training.losses import zero_centred_penalty
from training.networks import Discriminator
from training.player import Batch, Player, Progress
from training.run_dir import RunDir
from training.trained import load_trained, published_tensors


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
    ("gan", {"reconstruction_weight": 10.0}),
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


def test_the_generator_learns_what_the_discriminator_takes_for_its_class() -> None:
    """One that cannot tell real from fake, and cannot learn: what is left is the class."""

    def moved(class_weight: float) -> float:
        torch.manual_seed(0)
        model = {"conditional": True, "coupling": "none", "r1_gamma": 0.0, "class_weight": class_weight}
        config = small("gan", model)
        gan = build(config.model, (1, 28, 28), 10)
        discriminator = gan.networks["discriminator"]
        assert isinstance(discriminator, Discriminator)
        assert discriminator.by_class is not None
        for layer in (discriminator.head, discriminator.by_class):
            torch.nn.init.zeros_(layer.weight)
        players = make_players(gan, config, Fabric(accelerator="cpu", devices=1))
        players["discriminator"].optimizer.param_groups[0]["lr"] = 0.0
        gan.step(players, [Batch(torch.rand(8, 1, 28, 28), torch.arange(8))], Progress(0, 0, 0.0))
        averages = (
            state["exp_avg"] for state in players["generator"].optimizer.state_dict()["state"].values()
        )
        return max(float(average.abs().max()) for average in averages)

    assert moved(0.0) == 0
    assert moved(1.0) > 1e-6


def test_the_discriminator_learns_the_class_of_reals(tmp_path: Path) -> None:
    model = {"conditional": True, "class_weight": 3.0, "coupling": "none"}
    run = RunDir(tmp_path / "run")
    config = small("gan", model, images=2_560, optimizer={"lr": 3e-3})
    run.create(config)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert rows[0]["class_real_nats"] == pytest.approx(math.log(10), abs=0.2)
    assert rows[-1]["class_real_nats"] < 1.5


def test_the_features_of_reals_learn_to_hold_what_a_decoder_draws_them_from(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    config = small("gan", {"reconstruction_weight": 10.0}, images=2_560, optimizer={"lr": 3e-3})
    run.create(config)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert rows[-1]["reconstruction_mse"] < 0.5 * rows[0]["reconstruction_mse"]


def test_a_decoder_of_features_moves_with_the_discriminator_and_is_not_published(tmp_path: Path) -> None:
    """In micro-batches; and a run goes on with it."""
    run = RunDir(tmp_path / "run")
    config = small("gan", {"reconstruction_weight": 10.0}, images=64, accumulate=2)
    run.create(config)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    before = read_tensors(run.checkpoint)[0]
    moments = {name for name in before if name.startswith("optimizer.decoder.") and name.endswith("exp_avg")}
    assert moments
    assert all(before[name].any() for name in moments)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=None, resume=True)
    trained = load_trained(run.path, mini())
    assert set(trained.networks) == {"generator", "discriminator"}
    assert not any("decoder" in name for name in published_tensors(trained)[0])


def test_a_class_that_nobody_is_told_has_no_weight() -> None:
    with pytest.raises(ConfigError, match=r"class_weight = 1\.0: of a conditional model"):
        small("gan", {"class_weight": 1.0})


@pytest.mark.parametrize(("conditional", "class_weight"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_reals_and_fakes_are_judged_together_as_they_are_apart(
    conditional: bool, class_weight: float
) -> None:
    torch.manual_seed(0)
    model = {"coupling": "none", "conditional": conditional, "class_weight": class_weight}
    model |= {"r1_gamma": 1.0, "r2_gamma": 1.0}
    gan = build(small("gan", model).model, (1, 28, 28), 10)
    assert isinstance(gan, GAN)
    discriminator, of = gan.networks["discriminator"], (torch.arange(4),) if conditional else ()
    reals, fakes = torch.rand(4, 1, 28, 28), torch.rand(4, 1, 28, 28)
    judged = gan.judge(discriminator, reals, fakes, of, penalise=True)
    for images, of_these in zip((reals, fakes), judged, strict=True):
        alone = discriminator(images, *of, judge=True, slopes=True)
        assert (alone.classes is None) == (class_weight == 0)
        torch.testing.assert_close(of_these, alone)
        torch.testing.assert_close(of_these.logits, discriminator(images, *of))
        penalty = zero_centred_penalty(lambda x: discriminator(x, *of), images)
        torch.testing.assert_close(alone.slopes.mean(), penalty)


def test_slopes_are_float32_in_mixed_precision() -> None:
    """Of a discriminator behind the wrapper that a run puts around it."""
    config = small("gan", {"coupling": "none"}, precision="bf16-mixed")
    gan = build(config.model, (1, 28, 28), 10)
    players = make_players(gan, config, Fabric(accelerator="cpu", devices=1, precision=config.precision))
    slopes = players["discriminator"].network(torch.rand(8, 1, 28, 28), judge=True, slopes=True).slopes
    assert (slopes.bfloat16().float() != slopes).any()


def test_a_coupled_discriminator_sees_no_fakes_among_reals() -> None:
    torch.manual_seed(0)
    gan = build(small("gan").model, (1, 28, 28), 10)
    assert isinstance(gan, GAN)
    reals = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        alone = gan.networks["discriminator"](reals)
        for fakes in (torch.zeros_like(reals), reals):
            real, _ = gan.judge(gan.networks["discriminator"], reals, fakes, ())
            torch.testing.assert_close(real.logits, alone)


@pytest.mark.parametrize(("r1", "r2"), [(6.0, 0.0), (0.0, 6.0), (6.0, 6.0), (6.0, 2.0)])
@pytest.mark.parametrize("of_reals", [True, False])
@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (Progress(0, 0, 0.0), 4.0),
        (Progress(1, 0, 0.0), 0.0),
        (Progress(4, 0, 0.5), 4 * 0.6),
        (Progress(4, 0, 1.0), 4 * 0.2),
    ],
)
@pytest.mark.parametrize("coupling", ["none", "minibatch-stddev"])
def test_each_penalty_is_of_its_own_images_at_its_step_and_falls_as_told(
    coupling: str, progress: Progress, factor: float, of_reals: bool, r1: float, r2: float
) -> None:
    """A discriminator that is steep for reals alone feels R1, one that is for fakes alone R2: d (gamma/2 s^2) / ds."""
    model = {"coupling": coupling, "penalty_every": 4, "r1_gamma": r1, "r2_gamma": r2, "gamma_left": 0.2}
    torch.manual_seed(0)
    config = small("gan", model)
    gan, discriminator = build(config.model, (1, 28, 28), 10), Steep(for_bright=of_reals)
    gan.networks["discriminator"] = discriminator
    players = make_players(gan, config, Fabric(accelerator="cpu", devices=1))
    bright = Batch(torch.full((4, 1, 28, 28), 0.9), None)  # fakes of an untrained generator are near 1/2
    gan.step(players, [bright], progress)
    average = players["discriminator"].optimizer.state_dict()["state"][0]["exp_avg"]
    gamma = factor * (r1 if of_reals else r2)
    assert float(average) / (1 - config.optimizer.betas[0]) == pytest.approx(gamma)


class Steep(Discriminator):
    """Has a slope for images of which the first pixel is above 0.7, or for the others."""

    def __init__(self, for_bright: bool) -> None:
        super().__init__((1, 28, 28), (1, 1, 1), 1, "none", 1, 1, False)
        self.slope = nn.Parameter(torch.tensor(1.0))
        self.for_bright = for_bright

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def logit(self, f: torch.Tensor) -> torch.Tensor:
        pixel = f[:, 0, 0, 0]
        # The value is 0 wherever it is taken: only the slope is there.
        return self.slope * (pixel - pixel.detach()) * ((pixel > 0.7) == self.for_bright)


@pytest.mark.parametrize("coupling", ["none", "minibatch-discrimination"])
def test_every_penalty_works_in_mixed_precision(coupling: str, tmp_path: Path) -> None:
    change = {"r2_gamma": 1.0, "gp_lambda": 1.0, "penalty_every": 1, "coupling": coupling}
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
