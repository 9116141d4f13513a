"""The learned discriminator against Proposition 1 and Theorem 1 of Goodfellow et al. 2014."""

import math
from pathlib import Path

import pytest
import torch

from training.studies.equilibrium import PAIRS, STUDY, jsd_nats, mixture, one_lost, quadrature_points
from training.studies.equilibrium_page import rounded_up
from training.studies.runner import run_study


def test_at_the_equilibrium_2_log_2_and_away_from_it_2_jsd_less(tmp_path: Path) -> None:
    same, apart = run_study(STUDY, tmp_path, quick=True)
    assert same.run.name == "same-bimodal"
    for loss in same.outcome.results["loss_d_nats"]:
        assert loss == pytest.approx(2 * math.log(2), rel=0.01)
    for loss in same.outcome.results["loss_g_nats"]:
        assert loss == pytest.approx(-math.log(2), rel=0.01)
    best = 2 * math.log(2) - 2 * apart.outcome.results["jsd_nats"]
    assert best < 0.9
    for loss in apart.outcome.results["loss_d_nats"]:
        assert best <= loss < 1.03 * best
    assert "deviation" in (tmp_path / "equilibrium.md").read_text()
    assert {path.name for path in (tmp_path / "equilibrium").glob("*.png")} == {"curves.png", "losses.png"}


def test_jsd_by_hand() -> None:
    assert jsd_nats(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == pytest.approx(math.log(2))
    assert jsd_nats(torch.tensor([0.3, 0.7]), torch.tensor([0.3, 0.7])) == pytest.approx(0, abs=1e-7)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4)
    expected = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert jsd_nats(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])) == pytest.approx(expected)


@pytest.mark.parametrize("name", PAIRS)
def test_the_grid_holds_all_of_both_densities(name: str) -> None:
    _, p, q = PAIRS[name]
    x, cell = quadrature_points(mixture(p), mixture(q))
    for density in (mixture(p).density(x), mixture(q).density(x)):
        assert float(density.sum() * cell) == pytest.approx(1, abs=1e-9)


def test_a_lost_mode_leaves_probabilities() -> None:
    lost = one_lost({"means": [[0.0], [1.0], [2.0]], "sd": 1.0, "weights": [0.25, 0.5, 0.25]})
    assert lost["means"] == [[0.0], [1.0]]
    assert lost["weights"] == pytest.approx([1 / 3, 2 / 3])


def test_a_rounded_bound_is_still_a_bound() -> None:
    assert [rounded_up(value) for value in (0.0121, 0.02, 0.00026, 0.96)] == ["0.02", "0.02", "0.0003", "1"]
