"""Parts of the ELBO, in nats, against torch.distributions and constants worked out by hand."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from training.metrics.elbo import (
    active_units,
    bernoulli_log_likelihood_nats,
    gaussian_kl_nats,
    gaussian_log_likelihood_nats,
    mse,
    psnr_db,
)


def test_kl_by_hand() -> None:
    # logvar is the log of the variance: variance 4 -> (0 + 4 - 1 - log 4) / 2. Read as log of the standard
    # deviation it would be (16 - 1 - log 16) / 2.
    mean, logvar = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, math.log(4)]])
    expected = torch.tensor([[0.0, 2.0, 1.5 - math.log(2)]])
    torch.testing.assert_close(gaussian_kl_nats(mean, logvar), expected, rtol=1e-6, atol=1e-7)


def test_kl_agrees_with_torch_and_keeps_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, logvar = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64).unbind()
    mean.requires_grad_()
    kl = gaussian_kl_nats(mean, logvar)
    torch.testing.assert_close(kl, kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)))
    (gradient,) = torch.autograd.grad(kl.sum(), mean)
    torch.testing.assert_close(gradient, mean.detach())


def test_kl_near_the_prior_is_not_lost_to_rounding() -> None:
    # For a small logvar KL is logvar^2 / 4, here 2.5e-7: exp(logvar) - 1 would lose it in float32.
    logvar = torch.tensor([[1e-3]])
    assert gaussian_kl_nats(torch.zeros(1, 1), logvar).item() == pytest.approx(2.5e-7, rel=1e-2)


def test_active_units_are_those_whose_mean_moves() -> None:
    # Variances over x: 0; 0.0081 and 0.0121 either side of 0.01; 1. A large constant mean is not active.
    signs = torch.tensor([-1.0, 1.0]).repeat(5000)
    means = torch.stack([torch.full((10000,), 50.0), 0.09 * signs, 0.11 * signs, signs], dim=1)
    assert active_units(means).tolist() == [False, False, True, True]
    assert active_units(means, threshold=0.5).tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match=r"means: expected \(N >= 2, D\), got \(1, 4\)"):
        active_units(means[:1])


def test_bernoulli_by_hand_and_against_torch() -> None:
    x = torch.tensor([[[1.0, 0.0]], [[0.5, 1.0]]])
    p = torch.tensor([[[0.25, 0.25]], [[0.5, 1.0]]])
    expected = torch.tensor([math.log(0.25 * 0.75), -math.log(2)], dtype=torch.float64)
    # The last pixel is certain; clipping at 1e-6 costs it 1e-6 nats.
    torch.testing.assert_close(bernoulli_log_likelihood_nats(x, p), expected, rtol=0, atol=2e-6)

    x = torch.bernoulli(torch.full((4, 1, 6, 6), 0.5), generator=torch.Generator().manual_seed(0))
    p = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = -F.binary_cross_entropy(p, x.double(), reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_log_likelihood_nats(x, p), expected)


def test_a_certain_error_costs_the_floor_and_not_infinity() -> None:
    value = bernoulli_log_likelihood_nats(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(value, torch.full((2,), math.log(1e-6), dtype=torch.float64))


def test_gaussian_by_hand_and_against_torch() -> None:
    # Two pixels one standard deviation off: -2 (1/2 + log 0.1 + log(2 pi) / 2), a density above 1.
    x, mean = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.5, 0.5]])
    value = gaussian_log_likelihood_nats(x, mean, 0.1).item()
    assert value == pytest.approx(-1 - 2 * math.log(0.1) - math.log(2 * math.pi), rel=1e-6)
    assert value > 0

    x, mean = torch.rand(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stddev = torch.linspace(0.05, 1, 4, dtype=torch.float64)
    nll = F.gaussian_nll_loss(mean, x, stddev.expand_as(mean) ** 2, full=True, reduction="none")
    expected = -nll.sum((1, 2, 3))
    torch.testing.assert_close(gaussian_log_likelihood_nats(x, mean, stddev), expected)


def test_reconstruction_errors_are_per_image() -> None:
    x = torch.zeros(3, 1, 2, 2)
    y = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.1), torch.eye(2)[None]])
    torch.testing.assert_close(
        mse(x, y), torch.tensor([0, 0.01, 0.5], dtype=torch.float64), rtol=1e-6, atol=0
    )
    decibel = psnr_db(x, y)
    assert decibel[0] == math.inf
    assert decibel[1].item() == pytest.approx(20, abs=1e-4)
    assert decibel[2].item() == pytest.approx(3.0103, abs=1e-4)
