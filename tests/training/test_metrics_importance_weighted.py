"""Importance-weighted bounds of a linear Gaussian model, whose log p(x) is known."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from training.metrics.elbo import standard_normal_log_density_nats
from training.metrics.importance_weighted import Bounds, importance_weighted_bounds

SIGMA = 0.5
W = torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])
"""z ~ N(0, I) in 2 dimensions, x = W z + SIGMA noise in 3: q is diagonal, the true posterior is not."""
X = torch.tensor([[1.0, 0.5, -1.0], [0.0, 0.0, 0.0], [-2.0, 1.0, 3.0]])


def log_likelihood(w: Tensor) -> Callable[[int, Tensor], Tensor]:
    def of(index: int, z: Tensor) -> Tensor:
        errors = (X[index] - z @ w.T).double() / SIGMA
        return (-0.5 * errors.square() - math.log(SIGMA) - 0.5 * math.log(2 * math.pi)).sum(1)

    return of


def truth(w: Tensor) -> Tensor:
    covariance = w @ w.T + SIGMA**2 * torch.eye(3)
    found: Tensor = MultivariateNormal(torch.zeros(3), covariance).log_prob(X)  # type: ignore[no-untyped-call]
    return found.double()


def posterior(w: Tensor) -> tuple[Tensor, Tensor]:
    """Means (3, 2), and the diagonal of the covariance as logvar (3, 2)."""
    covariance = torch.linalg.inv(torch.eye(2) + w.T @ w / SIGMA**2)
    return X @ w @ covariance / SIGMA**2, covariance.diagonal().log().expand(3, 2)


def bounds(draws: int, *, batch: int = 250, seed: int = 0, w: Tensor = W) -> Bounds:
    return importance_weighted_bounds(*posterior(w), log_likelihood(w), draws, seed, batch)


def test_the_true_posterior_gives_log_p_with_one_draw() -> None:
    # Orthogonal columns: the true posterior is diagonal, and every weight is p(x).
    w = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    found = bounds(1, w=w)
    torch.testing.assert_close(found.importance_weighted_nats, truth(w), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.elbo_nats, truth(w), rtol=1e-5, atol=1e-5)


def test_more_draws_of_a_wrong_posterior_come_nearer_to_log_p() -> None:
    mean, logvar = posterior(W)

    def found(draws: int, seed: int = 0) -> Bounds:
        return importance_weighted_bounds(mean + 0.3, logvar + 0.5, log_likelihood(W), draws, seed)

    many = found(20_000)
    few = torch.stack([found(5, seed).importance_weighted_nats for seed in range(300)]).mean(0)
    assert torch.all(many.elbo_nats < few - 0.2)
    assert torch.all(few < truth(W) - 0.05)
    torch.testing.assert_close(many.importance_weighted_nats, truth(W), rtol=0, atol=0.05)


def test_the_batch_changes_nothing_and_the_seed_does() -> None:
    torch.testing.assert_close(bounds(100, batch=7), bounds(100, batch=100), rtol=1e-12, atol=1e-12)
    assert not torch.equal(bounds(100, seed=1).importance_weighted_nats, bounds(100).importance_weighted_nats)


def test_each_image_has_its_own_noise() -> None:
    def sum_of_z(index: int, z: Tensor) -> Tensor:
        return z.sum(1)

    found = importance_weighted_bounds(torch.zeros(3, 2), torch.zeros(3, 2), sum_of_z, 1).elbo_nats
    assert len(set(found.tolist())) == 3
    alone = importance_weighted_bounds(torch.zeros(1, 2), torch.zeros(1, 2), sum_of_z, 1).elbo_nats
    assert alone[0] == found[0]


def test_likelihoods_that_underflow_do_not_matter() -> None:
    def tiny(index: int, z: Tensor) -> Tensor:
        return torch.full((len(z),), -5000.0)

    found = importance_weighted_bounds(torch.zeros(1, 2), torch.zeros(1, 2), tiny, 10)
    assert found.importance_weighted_nats.item() == pytest.approx(-5000, abs=1e-4)


def test_another_prior_counts_as_it_says() -> None:
    """All latents moved by 1, the prior with them: the same bounds."""

    def moved(z: torch.Tensor) -> torch.Tensor:
        return standard_normal_log_density_nats(z - 1)

    mean, logvar = posterior(W)
    there = importance_weighted_bounds(mean, logvar, log_likelihood(W), 40)
    likelihood = log_likelihood(W)
    here = importance_weighted_bounds(
        mean + 1, logvar, lambda i, z: likelihood(i, z - 1), 40, log_prior=moved
    )
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
