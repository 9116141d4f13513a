"""Minibatch discrimination and standard deviation against sums worked out by hand."""

import math

import pytest
import torch

from training.layers import MinibatchDiscrimination, MinibatchStddev
from training.networks import Discriminator, ServedDiscriminator


def three_images() -> tuple[MinibatchDiscrimination, torch.Tensor]:
    """A = 2, B = 2, C = 1, T = identity: M_i is f(x_i) itself, one feature a kernel."""
    layer = MinibatchDiscrimination(features=2, kernels=2, kernel_dim=1)
    with torch.no_grad():
        layer.T.weight.copy_(torch.eye(2))
    return layer, torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 2.0]])


def test_minibatch_discrimination_is_the_papers_sum_with_the_self_term() -> None:
    layer, f = three_images()
    e = math.exp
    expected = torch.tensor(
        [
            [1 + e(-1) + e(-3), 1 + e(0) + e(-2)],
            [e(-1) + 1 + e(-2), e(0) + 1 + e(-2)],
            [e(-3) + e(-2) + 1, e(-2) + e(-2) + 1],
        ]
    )
    torch.testing.assert_close(layer(f), expected)


def test_distance_is_the_l1_norm_over_the_kernels_dimensions() -> None:
    layer = MinibatchDiscrimination(features=2, kernels=1, kernel_dim=2)
    with torch.no_grad():
        layer.T.weight.copy_(torch.eye(2))
    out = layer(torch.tensor([[0.0, 0.0], [3.0, -4.0]]))
    torch.testing.assert_close(out, torch.full((2, 1), 1 + math.exp(-7)))


def test_a_collapsed_batch_gives_its_size() -> None:
    layer = MinibatchDiscrimination(features=5, kernels=3, kernel_dim=2)
    torch.testing.assert_close(layer(torch.ones(7, 5)), torch.full((7, 3), 7.0))


def test_minibatch_stddev_is_the_mean_of_the_features_standard_deviations() -> None:
    f = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])  # population variances 8/3 and 0
    out = MinibatchStddev()(f)
    torch.testing.assert_close(out, torch.full((3, 1), (math.sqrt(8 / 3) + 1e-4) / 2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", [MinibatchDiscrimination(6, 4, 3), MinibatchStddev()])
def test_against_a_reference_is_the_batch_of_image_and_reference(
    layer: MinibatchDiscrimination | MinibatchStddev,
) -> None:
    f, reference = 10 + 0.01 * torch.randn(5, 6), 10 + 0.01 * torch.randn(9, 6)
    served = layer.against(f, layer.reference(reference))
    for i in range(len(f)):
        batch = layer(torch.cat([f[i : i + 1], reference]))
        torch.testing.assert_close(served[i], batch[0], rtol=1e-4, atol=1e-5)


def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(
        (1, 28, 28), (4, 4, 8), 16, "minibatch-discrimination", kernels=8, kernel_dim=4, normalise=False
    ).eval()


def test_in_training_the_logit_of_an_image_depends_on_its_batch() -> None:
    network, images = discriminator(), torch.rand(4, 1, 28, 28)
    beside_others = network(images)[0]
    beside_itself = network(images[:1].expand(4, -1, -1, -1))[0]
    assert abs(float((beside_others - beside_itself).detach())) > 1e-3


def test_served_the_logit_of_an_image_depends_on_it_alone() -> None:
    served = ServedDiscriminator(discriminator(), torch.rand(31, 1, 28, 28))
    images = torch.rand(4, 1, 28, 28)
    others = torch.cat([images[:1], torch.rand(3, 1, 28, 28)])
    torch.testing.assert_close(served(images)[0], served(others)[0], rtol=0, atol=1e-6)
    assert served(images).std() > 0
