import pytest
import torch
from torch import nn

from training.ema import ramped_half_life, update_average


def test_after_one_half_life_the_average_is_half_way() -> None:
    average, network = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for p, value in ((average.weight, 0.0), (network.weight, 8.0)):
            p.fill_(value)
    update_average(average, network, step_images=100, half_life_images=100)
    assert float(average.weight.detach()) == pytest.approx(4.0)
    for _ in range(2):
        update_average(average, network, step_images=50, half_life_images=100)
    assert float(average.weight.detach()) == pytest.approx(6.0)


def test_without_a_half_life_the_average_is_the_network() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network(torch.randn(8, 2))
    nn.init.constant_(network.weight, 5.0)
    update_average(average, network, 10, 0)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(average.state_dict()[name], value)


def test_the_half_life_grows_to_its_bound() -> None:
    assert ramped_half_life(1000, 2000) == pytest.approx(100)
    assert ramped_half_life(1000, 1_000_000) == 1000
