"""Priors that are fitted afterwards: a mixture as a function of noise, and the run that gets one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from tests.training.recipes import mini
from training import fitted_prior, priors
from training.checkpoint import write_tensors
from training.errors import CheckpointError
from training.onnx_graph import export_graph, open_session

CPU = torch.device("cpu")


def noise(n: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def mixture() -> priors.Mixture:
    """Three far-apart components in three dimensions, the middle one sheared."""
    means = torch.tensor([[-100.0, 0, 0], [0, 0, 0], [100, 0, 0]])
    sheared = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0, 2]])
    factors = torch.stack([torch.eye(3), sheared, 0.5 * torch.eye(3)])
    return priors.Mixture(torch.tensor([0.2, 0.5, 0.3]), means, factors)


def test_each_component_gets_its_weight_its_mean_and_its_covariance() -> None:
    z = mixture()(noise(200_000, 3)).double()
    component = (z[:, 0] / 100).round().long() + 1
    np.testing.assert_allclose(component.bincount() / len(z), [0.2, 0.5, 0.3], atol=4 * 0.5 / 200_000**0.5)
    covariances = [torch.eye(3), torch.tensor([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 4]]), 0.25 * torch.eye(3)]
    for k, covariance in enumerate(covariances):
        part = z[component == k]
        np.testing.assert_allclose(part.mean(0), [100 * (k - 1), 0, 0], atol=0.05)
        np.testing.assert_allclose(part.T.cov(), covariance, atol=0.06)


def test_within_a_component_the_noise_is_normal_again() -> None:
    z = mixture()(noise(50_000, 3))
    right = (z[z[:, 0] > 50] - torch.tensor([100.0, 0, 0])) / 0.5
    for values in right.T:
        assert kstest(values.numpy(), "norm").pvalue > 0.001
    # The pair that chose the component, its direction above all, keeps nothing of the choice.
    angle = torch.atan2(right[:, 1], right[:, 0]) / (2 * math.pi) + 0.5
    assert kstest(angle.numpy(), "uniform").pvalue > 0.001
    assert abs(float(np.corrcoef(right.T.numpy())[0, 1])) < 0.04


def test_truncation_keeps_the_components_and_nears_their_means() -> None:
    eps = noise(20_000, 3)
    whole, half = mixture()(eps), mixture()(0.5 * eps)
    centres = 100 * (whole[:, :1] / 100).round() * torch.tensor([[1.0, 0, 0]])
    torch.testing.assert_close(half - centres, 0.5 * (whole - centres), atol=1e-3, rtol=1e-3)


def test_codes_of_a_mixture_give_it_back() -> None:
    fitted = priors.fit_mixture(mixture()(noise(20_000, 3)), components=3)
    order = fitted.means[:, 0].argsort()
    np.testing.assert_allclose(fitted.weights[order], [0.2, 0.5, 0.3], atol=0.02)
    np.testing.assert_allclose(fitted.means[order][:, 0], [-100, 0, 100], atol=0.1)
    np.testing.assert_allclose(fitted.factors[order[1]][1, 0], 0.8, atol=0.05)
    again = priors.fit_mixture(mixture()(noise(20_000, 3)), components=3)
    assert torch.equal(fitted.factors, again.factors)


def test_the_graph_is_the_mixture_row_by_row() -> None:
    eps = noise(64, 3)
    graph = export_graph(mixture(), {"eps": eps}, ("z",))  # raises where bits depend on the batch
    (z,) = open_session(graph.onnx).run(None, {"eps": eps.numpy()})
    np.testing.assert_allclose(z, mixture()(eps), atol=1e-4)


class Encoder(torch.nn.Module):
    """q(z|x) = N((mean pixel, 1), (0.01, 4)) ; without variance, an autoencoder's code."""

    def __init__(self, variational: bool) -> None:
        super().__init__()
        self.variational = variational

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean = torch.stack([x.mean((1, 2, 3)), torch.ones(len(x))], dim=1)
        logvar = torch.tensor([0.01, 4.0]).log().expand(len(x), 2)
        return (mean, logvar) if self.variational else (mean,)


def test_codes_are_draws_of_the_posterior() -> None:
    images = torch.from_numpy(mini().images)
    plain = fitted_prior.codes(Encoder(False), images, CPU)
    drawn = fitted_prior.codes(Encoder(True), images, CPU)
    pixels = (images.float() / 255).mean((1, 2, 3))
    torch.testing.assert_close(plain, torch.stack([pixels, torch.ones(len(images))], 1))
    error = 4 / len(images) ** 0.5
    np.testing.assert_allclose((drawn - plain).std(0), [0.1, 2.0], rtol=error)


def test_a_run_keeps_the_prior_of_its_weights(tmp_path: Path) -> None:
    fitted = fitted_prior.fit(tmp_path, Encoder(True), mini(), 640, CPU)
    kept = priors.read(tmp_path, 640)
    assert kept is not None
    assert torch.equal(kept(noise(9, 2)), fitted(noise(9, 2)))
    assert priors.read(tmp_path, 1280) is None  # trained on
    assert priors.read(tmp_path / "elsewhere", 640) is None
    write_tensors(tmp_path / priors.FILE, {"means": torch.zeros(1, 2)}, {"images_seen": "640"})
    with pytest.raises(CheckpointError, match="expected weights, means and factors, found means"):
        priors.read(tmp_path, 640)
