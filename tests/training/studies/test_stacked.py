"""A stack of networks is its networks, each alone."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from training.layers import MinibatchDiscrimination, MinibatchStddev
from training.studies.collapse import METHODS, points
from training.studies.collapse_points import PointDiscriminator, PointGAN
from training.studies.stacked import StackedLinear, StackedMLP, generators, leaky, normal

CPU = torch.device("cpu")


def layer_of(stack: StackedMLP, index: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weight and bias."""
    layer = stack.layers[index]
    assert isinstance(layer, StackedLinear)
    return layer.weight[seed], layer.bias[seed]


@pytest.mark.parametrize(("name", "activate"), [("leaky-relu", leaky), ("tanh", torch.tanh)])
def test_a_stacked_perceptron_is_each_perceptron(
    name: Literal["leaky-relu", "tanh"], activate: Callable[[Tensor], Tensor]
) -> None:
    stack = StackedMLP((2, 3, 1), generators((0, 1)), name)
    x = torch.randn(2, 5, 2)
    for seed in range(2):
        first, last = (layer_of(stack, i, seed) for i in (0, 1))
        expected = activate(x[seed] @ first[0] + first[1]) @ last[0] + last[1]
        torch.testing.assert_close(stack(x)[seed], expected)
    assert not torch.equal(layer_of(stack, 0, 0)[0], layer_of(stack, 0, 1)[0])


@pytest.mark.parametrize("method", METHODS)
def test_seeds_trained_side_by_side_are_what_they_are_alone(method: str) -> None:
    config = points("ring", method) | {"steps": 6, "hidden": [8, 8], "batch_points": 16}
    together = PointGAN(config, (3, 4), CPU)
    alone = PointGAN(config, (4,), CPU)
    before = layer_of(alone.generator, 0, 0)[0].clone()
    for step in range(6):
        together.step(step)
        alone.step(step)
    assert not torch.equal(layer_of(alone.generator, 0, 0)[0], before)
    for ours, theirs in zip(together.generator.parameters(), alone.generator.parameters(), strict=True):
        torch.testing.assert_close(ours[1], theirs[0], rtol=1e-3, atol=1e-5)
    # Logits less their mean: a relativistic discriminator has no level.
    x = torch.randn(1, 16, 2)
    theirs, ours = alone.discriminator(x)[0], together.discriminator(x.expand(2, -1, -1))[1]
    torch.testing.assert_close(ours - ours.mean(), theirs - theirs.mean(), rtol=1e-3, atol=1e-5)


def test_coupled_stacks_compute_what_the_layers_of_the_project_do() -> None:
    x = torch.randn(2, 6, 2)
    network = PointDiscriminator((4, 4), 1, 1, "minibatch-discrimination", 3, 2, generators((0, 1)))
    layer = MinibatchDiscrimination(4, 3, 2)
    for seed in range(2):
        f = leaky(network.trunk(network.encode(x)))[seed]
        with torch.no_grad():
            layer.T.weight.copy_(network.T[seed].T)
        expected = torch.cat([f, layer(f)], 1) @ network.head.weight[seed] + network.head.bias[seed]
        torch.testing.assert_close(network(x)[seed], expected[:, 0])
    network = PointDiscriminator((4, 4), 1, 1, "minibatch-stddev", 0, 0, generators((0, 1)))
    for seed in range(2):
        f = leaky(network.trunk(network.encode(x)))[seed]
        expected = (
            torch.cat([f, MinibatchStddev()(f)], 1) @ network.head.weight[seed] + network.head.bias[seed]
        )
        torch.testing.assert_close(network(x)[seed], expected[:, 0])


def test_a_pack_is_judged_as_one() -> None:
    network = PointDiscriminator((8,), 0, 2, "none", 0, 0, generators((0,)))
    x = torch.randn(1, 6, 2)
    logits = network(x)
    assert logits.shape == (1, 3)
    x[0, 1] += 1  # the other half of the first pack
    changed = network(x) != logits
    assert changed.tolist() == [[True, False, False]]


def test_each_seed_has_its_own_noise() -> None:
    a, b = normal(generators((0, 1)), 4, 2)
    torch.testing.assert_close(normal(generators((1,)), 4, 2)[0], b)
    assert not torch.equal(a, b)


def test_gain_multiplies_all_weights_but_the_last() -> None:
    one, five = (StackedMLP((2, 3, 1), generators((0,)), "tanh", gain) for gain in (1, 5))
    torch.testing.assert_close(layer_of(five, 0, 0)[0], 5 * layer_of(one, 0, 0)[0])
    torch.testing.assert_close(layer_of(five, 1, 0)[0], layer_of(one, 1, 0)[0])
