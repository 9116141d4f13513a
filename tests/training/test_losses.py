"""Each loss against two constants worked out by hand; penalties against derivatives known in closed form."""

import math

import pytest
import torch
from torch.distributions import Normal

from training.losses import (
    GAN_LOSSES,
    free_bits,
    gradient_penalty,
    importance_weighted_bound,
    zero_centred_penalty,
)
from training.metrics.elbo import (
    gaussian_kl_nats,
    gaussian_log_density_nats,
    standard_normal_log_density_nats,
)

LOG2 = math.log(2)
SOFTPLUS_1 = math.log(1 + math.e)

# logits real = (1, -1), fake = (2, 0): mean over the batch of discriminator and generator loss
real, fake = torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.0])
sp = {x: math.log1p(math.exp(x)) for x in (-2, -1, 0, 1, 2)}
CASES = {
    "minimax": ((sp[-1] + sp[1]) / 2 + (sp[2] + sp[0]) / 2, -(sp[2] + sp[0]) / 2),
    "nonsaturating": ((sp[-1] + sp[1]) / 2 + (sp[2] + sp[0]) / 2, (sp[-2] + sp[0]) / 2),
    "hinge": ((0 + 2) / 2 + (3 + 1) / 2, -1.0),
    "wasserstein": (1.0 - 0.0, -1.0),
    "relativistic": ((sp[1] + sp[1]) / 2, (sp[-1] + sp[-1]) / 2),
}


@pytest.mark.parametrize("name", GAN_LOSSES)
def test_losses_by_hand(name: str) -> None:
    discriminator, generator = GAN_LOSSES[name]
    assert float(discriminator(real, fake)) == pytest.approx(CASES[name][0], abs=1e-6)
    assert float(generator(real, fake)) == pytest.approx(CASES[name][1], abs=1e-6)


def test_at_equilibrium_the_minimax_game_is_2_log_2_and_minus_log_2() -> None:
    zero = torch.zeros(3)
    discriminator, generator = GAN_LOSSES["minimax"]
    assert float(discriminator(zero, zero)) == pytest.approx(2 * LOG2, abs=1e-6)
    assert float(generator(zero, zero)) == pytest.approx(-LOG2, abs=1e-6)


@pytest.mark.parametrize("name", GAN_LOSSES)
def test_the_players_pull_apart(name: str) -> None:
    """The discriminator's gradient lowers the fake logit where the generator's raises it."""
    logit = torch.tensor([0.3], requires_grad=True)
    discriminator, generator = GAN_LOSSES[name]
    (down,) = torch.autograd.grad(discriminator(torch.zeros(1), logit), logit)
    (up,) = torch.autograd.grad(generator(torch.zeros(1), logit), logit)
    assert float(down) > 0 > float(up)


def test_zero_centred_penalty_of_a_linear_function_is_its_squared_weight() -> None:
    w = torch.tensor([1.0, 2.0, 0.0, -2.0]).reshape(1, 1, 2, 2)
    penalty = zero_centred_penalty(lambda x: (x * w).sum((1, 2, 3)), torch.rand(4, 1, 2, 2))
    assert float(penalty) == pytest.approx(9.0)


def test_zero_centred_penalty_trains_the_discriminator() -> None:
    w = torch.tensor(3.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        zero_centred_penalty(lambda x: (w * x).flatten(), torch.rand(4, 1, 1, 1)), w
    )
    assert float(gradient) == pytest.approx(6.0)  # d w^2 / dw


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_gradient_penalty_is_the_squared_distance_of_the_slope_from_one(
    slope: float, expected: float
) -> None:
    def critic(x: torch.Tensor) -> torch.Tensor:
        return slope * x.flatten(1)[:, 0]

    real, fake = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2)
    assert float(gradient_penalty(critic, real, fake)) == pytest.approx(expected, abs=1e-5)


def test_free_bits_floors_the_batch_mean_of_each_dimension() -> None:
    kl = torch.tensor([[0.0, 2.0], [0.2, 4.0]])  # means 0.1 and 3
    assert float(free_bits(kl, 0.5)) == pytest.approx(3.5)
    assert float(free_bits(kl, 0.0)) == pytest.approx(3.1)


def test_the_importance_weighted_bound_is_that_of_its_definition() -> None:
    torch.manual_seed(0)
    mean, logvar, z, likelihoods = (
        torch.randn(2, 3),
        torch.randn(2, 3),
        torch.randn(5, 2, 3),
        torch.randn(5, 2),
    )
    q, p = Normal(mean, (0.5 * logvar).exp()), Normal(torch.zeros(3), 1.0)
    for beta in (1.0, 0.3):
        log_ratios = (p.log_prob(z) - q.log_prob(z)).sum(2)  # type: ignore[no-untyped-call]
        expected = (likelihoods + beta * log_ratios).exp().mean(0).log().mean()
        found = importance_weighted_bound(likelihoods, log_ratios, beta)
        torch.testing.assert_close(found, expected)


def test_of_one_draw_the_importance_weighted_bound_is_an_estimate_of_the_elbo() -> None:
    torch.manual_seed(0)
    mean, logvar = torch.randn(1, 3), torch.randn(1, 3)
    z = mean + torch.exp(0.5 * logvar) * torch.randn(20_000, 1, 3)
    log_ratios = standard_normal_log_density_nats(z) - gaussian_log_density_nats(z, mean, logvar)
    bounds = torch.stack([importance_weighted_bound(torch.zeros(1, 1), one[None]) for one in log_ratios])
    assert float(bounds.mean()) == pytest.approx(-float(gaussian_kl_nats(mean, logvar).sum()), rel=0.03)
