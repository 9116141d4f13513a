"""A learned prior: the flow's density and draws, and a VAE that is trained, measured and published with one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from service import elbo, latents
from service.folder import ModelsFolder
from service.manifest import read_bundle
from service.operations import ElboScore
from tests.service import finished
from tests.training.recipes import MINI, mini, small
from training.__main__ import main
from training.datasets import spread
from training.errors import ConfigError
from training.evaluation.likelihood import IW_IMAGES, observed
from training.flows import Flow, LogDensity
from training.loop import train
from training.metrics.elbo import gaussian_log_density_nats, standard_normal_log_density_nats
from training.onnx_graph import export_graph
from training.report import Report
from training.run_dir import RunDir
from training.trained import load_trained

CPU = torch.device("cpu")


def stirred(dim: int, layers: int = 3) -> Flow:
    """One that is no identity, in double precision."""
    torch.manual_seed(1)
    flow = Flow(dim, layers, width=16).double()
    for parameter in flow.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return flow


@pytest.mark.parametrize("dim", [2, 5, 8])
def test_the_density_is_that_of_the_draws(dim: int) -> None:
    """log p(flow(eps)) = log N(eps; 0, I) - log |det of the Jacobian|, taken by autograd."""
    flow = stirred(dim)
    for eps in torch.randn(5, dim, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda e: flow(e[None])[0], eps)  # type: ignore[no-untyped-call]
        expected = standard_normal_log_density_nats(eps) - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(flow.log_density(flow(eps[None]))[0], expected)


def test_each_entry_is_moved_by_the_others() -> None:
    """After two layers: no half stays what the noise was."""
    for dim in (2, 7, 8):
        flow, eps = stirred(dim, layers=2), torch.zeros(dim, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda e, flow=flow: flow(e[None])[0], eps)  # type: ignore[no-untyped-call]
        assert ((jacobian.abs() > 1e-6).sum(1) > dim // 2).all()


def test_a_new_flow_is_the_standard_normal() -> None:
    flow, z = Flow(6, layers=4, width=8), torch.randn(10, 6)
    torch.testing.assert_close(flow.log_density(z), standard_normal_log_density_nats(z))
    torch.testing.assert_close(flow(z).sort(1).values, z.sort(1).values)


def test_it_learns_a_density_that_no_gaussian_has() -> None:
    """(a, a^2 + noise of sd 0.2): its entropy is that of a and of the noise."""
    torch.manual_seed(0)

    def banana(n: int) -> Tensor:
        a = torch.randn(n)
        return torch.stack([a, a.square() - 1 + 0.2 * torch.randn(n)], 1)

    flow = Flow(2, layers=6, width=32)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(400):
        optimizer.zero_grad()
        (-flow.log_density(banana(256)).mean()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        found = -float(flow.log_density(banana(20_000)).mean())
        drawn = flow(torch.randn(20_000, 2))
    entropy = math.log(2 * math.pi * math.e) + math.log(0.2)
    gaussian = math.log(2 * math.pi * math.e) + 0.5 * math.log(2 + 0.2**2)
    assert entropy - 0.05 < found < entropy + 0.3 < gaussian
    assert float((drawn[:, 1] - drawn[:, 0].square() + 1).std()) < 0.5


def test_its_graphs_compute_row_by_row() -> None:
    flow = stirred(32).float()
    eps = torch.randn(64, 32)
    export_graph(flow, {"eps": eps}, ("z",))
    export_graph(LogDensity(flow), {"z": flow(eps).detach()}, ("log_density",))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A VAE with a learned prior, evaluated."""
    root = tmp_path_factory.mktemp("runs")
    runs = {"classifier": RunDir(root / "classifier"), "vae": RunDir(root / "vae")}
    flow = {"latent_dim": 32, "flow_layers": 2, "flow_width": 16, "pixels": "binarised"}
    for family, run in runs.items():
        config = small(family, flow if family == "vae" else {}, images=1_280, optimizer={"lr": 5e-3})
        run.create(config)
        run.begin_session(mini(), CPU, 1)
        train(config, mini(), run, Fabric(accelerator="cpu", devices=1), quiet=True)
    options = ["--data", str(MINI), "--device", "cpu", "--classifier", str(runs["classifier"].path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.samples.SAMPLES", 1000)
        patch.setattr("training.evaluation.likelihood.IW_DRAWS", 50)
        assert main(["evaluate", str(runs["vae"].path), *options]) == 0
    return runs["vae"]


def test_its_bounds_are_of_the_learned_prior(run: RunDir) -> None:
    report = Report.from_json(run.metrics.read_text())
    values = report.values()
    assert not [name for name in values if "fitted_prior" in name]
    protocols = {result.name: result.protocol for result in report.results}
    assert "samples, generate(prior(eps))" in protocols["fd10k"]

    trained, test = load_trained(run.path, mini("test")), mini("test")
    operations = trained.operations(mini(), CPU)
    binary, _ = observed(trained, test.images)

    def rates(images: np.ndarray) -> tuple[float, float, float]:
        """log p(x|z), and the KL to the learned prior and to N(0, I), by draws of their own."""
        torch.manual_seed(0)
        x = torch.from_numpy(images).float() / 255
        with torch.no_grad():
            mean, logvar = operations["encode"](x)
            z = mean + torch.exp(0.5 * logvar) * torch.randn(100, *mean.shape)
            log_q = gaussian_log_density_nats(z, mean, logvar)
            p = operations["generate"](z.flatten(0, 1)).reshape(*z.shape[:2], -1).clamp(1e-6, 1 - 1e-6)
            learned = log_q - operations["log_prior"](z.flatten(0, 1)).reshape(log_q.shape)
            normal = log_q - standard_normal_log_density_nats(z)
        likelihood = torch.where(x.flatten(1) > 0.5, p, 1 - p).log().sum(2)
        return float(likelihood.mean()), float(learned.mean()), float(normal.mean())

    likelihood, learned, normal = rates(binary)
    assert normal - learned > 0.5, "it has learned nothing"
    assert values["kl_nats"] == pytest.approx(learned, abs=0.2)
    assert values["elbo_nats"] == pytest.approx(likelihood - learned, abs=0.3)
    parts = values["mutual_information_nats"] + values["marginal_kl_nats"]
    assert parts == pytest.approx(learned, abs=0.4)
    some, kl, _ = rates(spread(binary, IW_IMAGES))
    assert values["iw50_nats"] - values["iw50_gap_nats"] == pytest.approx(some - kl, abs=0.4)


def test_what_is_served_is_the_same_bound(run: RunDir, tmp_path: Path) -> None:
    assert main(["export", str(run.path), "--data", str(MINI), "--models", str(tmp_path)]) == 0
    folder = tmp_path / "small-vae" / "1"
    bundle = read_bundle(folder)
    assert bundle.operations.keys() == {"encode", "generate", "prior", "log_prior"}
    assert bundle.latent is not None
    assert bundle.latent.prior == "learned"
    assert "learned with it" in (folder / "card.md").read_text()

    served = ModelsFolder(tmp_path).registry.get("small-vae")
    trained = load_trained(folder, mini("test"))
    binary, _ = observed(trained, mini("test").images[:20])
    pictures = binary.transpose(0, 2, 3, 1)
    operations = trained.operations(mini(), CPU)
    x = torch.from_numpy(binary).float() / 255
    with torch.no_grad():
        mean, logvar = operations["encode"](x)
        eps = torch.from_numpy(latents.from_seeds(range(500), mean.shape[1]).astype(np.float32))
        z = mean + torch.exp(0.5 * logvar) * eps[:, None]
        p = operations["generate"](z.flatten(0, 1)).reshape(*z.shape[:2], -1).double().clamp(1e-6, 1 - 1e-6)
        likelihoods = torch.where(x.flatten(1) > 0.5, p, 1 - p).log().sum(2)
        log_prior = operations["log_prior"](z.flatten(0, 1)).reshape(z.shape[:2])
        log_weights = likelihoods + log_prior - gaussian_log_density_nats(z, mean, logvar)
    got = finished.score(served, pictures, k=500)
    assert isinstance(got, ElboScore)
    assert got.iw_nats is not None
    np.testing.assert_allclose(got.elbo_nats, log_weights[: elbo.SAMPLES].mean(0), atol=0.01)
    expected = torch.logsumexp(log_weights, 0) - math.log(500)
    np.testing.assert_allclose(got.iw_nats, expected, atol=0.01)
    assert finished.sample(served, range(4)).shape == (4, 28, 28, 1)


def test_it_trains_in_bfloat16(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    config = small("vae", {"latent_dim": 32, "flow_layers": 2}, images=320, precision="bf16-mixed")
    run.create(config)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), quiet=True)
    density = load_trained(run.path, mini("test")).operations(mini(), CPU)["log_prior"]
    z = torch.randn(8, 32)
    assert not torch.equal(density(z), standard_normal_log_density_nats(z)), "it has learned nothing"


def test_free_bits_are_of_another_prior() -> None:
    with pytest.raises(ConfigError, match="flow_layers must be 0"):
        small("vae", {"latent_dim": 32, "flow_layers": 2, "free_bits_nats": 1.0})


def test_a_size_whose_rows_could_not_be_exported_is_refused() -> None:
    with pytest.raises(ConfigError, match="latent_dim = 16: a flow needs a multiple of 32"):
        small("vae", {"latent_dim": 16, "flow_layers": 2})
