import math

import pytest
import torch

from training.metrics.aggregate_posterior import elbo_surgery, log_mixture_density
from training.metrics.elbo import standard_normal_log_density_nats


def test_equal_posteriors_say_nothing_of_the_image() -> None:
    mean, logvar = torch.full((50, 3), 1.5), torch.full((50, 3), math.log(0.25))
    parts = elbo_surgery(mean, logvar)
    # KL(N(3/2, 1/4) || N(0, 1)) = (9/4 + 1/4 - 1 - log 1/4) / 2 in each of three dimensions.
    assert parts.marginal_kl_nats == pytest.approx(3 * (0.75 + math.log(2)), abs=1e-6)
    assert parts.mutual_information_nats == pytest.approx(0, abs=1e-6)
    assert parts.standard_error_nats == pytest.approx(0, abs=1e-6)


def test_posteriors_far_apart_name_the_image() -> None:
    mean = torch.arange(8.0)[:, None]
    parts = elbo_surgery(mean, torch.full((8, 1), -14.0))
    assert parts.mutual_information_nats == pytest.approx(math.log(8), abs=1e-6)
    assert parts.kl_nats == pytest.approx(0.5 * (17.5 + math.exp(-14) - 1 + 14), abs=1e-4)
    assert parts.marginal_kl_nats == pytest.approx(parts.kl_nats - math.log(8), abs=1e-6)


def test_a_linear_gaussian_channel() -> None:
    """z | x = N(a x, 1 - a^2), x = N(0, 1): q(z) is the prior, and I = -log(1 - a^2) / 2."""
    a = 0.9
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    parts = elbo_surgery(a * x, torch.full_like(x, math.log(1 - a**2)), samples=4)
    assert parts.mutual_information_nats == pytest.approx(-0.5 * math.log(1 - a**2), abs=0.02)
    assert parts.marginal_kl_nats == pytest.approx(0, abs=0.02)
    assert 0 < parts.standard_error_nats < 0.02


def test_a_shifted_aggregate_is_the_marginals_fault() -> None:
    a, x = 0.9, torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    logvar = torch.full_like(x, math.log(1 - a**2))
    there, away = elbo_surgery(a * x, logvar), elbo_surgery(a * x + 2, logvar)
    assert away.mutual_information_nats == pytest.approx(there.mutual_information_nats, abs=1e-6)
    assert away.marginal_kl_nats == pytest.approx(there.marginal_kl_nats + 2, abs=0.1)


def test_the_mixture_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    mean, logvar, z = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    components = torch.distributions.Independent(torch.distributions.Normal(mean, torch.exp(0.5 * logvar)), 1)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(probs=torch.ones(7)), components
    )
    monkeypatch.setattr("training.metrics.aggregate_posterior.CHUNK_ELEMENTS", 14)
    expected = mixture.log_prob(z)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(log_mixture_density(z, mean, logvar), expected)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        elbo_surgery(torch.zeros(3, 2), torch.zeros(3, 1))


def test_posteriors_that_are_nearly_points_tell_the_image() -> None:
    mean = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 5
    parts = elbo_surgery(mean, torch.full((50, 3), -60.0), 0)
    assert parts.mutual_information_nats == pytest.approx(math.log(50), rel=1e-6)


def test_another_prior_counts_as_it_says() -> None:
    """All latents moved by 3, the prior with them: the same parts, the KL by draws in place of the exact one."""
    torch.manual_seed(0)
    mean, logvar = torch.randn(400, 3), torch.full((400, 3), -1.0)
    exact = elbo_surgery(mean, logvar, samples=50)
    drawn = elbo_surgery(
        mean + 3, logvar, samples=50, log_prior=lambda z: standard_normal_log_density_nats(z - 3)
    )
    assert drawn.mutual_information_nats == pytest.approx(exact.mutual_information_nats, abs=1e-4)
    assert drawn.kl_nats == pytest.approx(exact.kl_nats, abs=0.03)
    assert drawn.marginal_kl_nats == pytest.approx(exact.marginal_kl_nats, abs=0.03)
