from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.recipes import MINI
from training.studies.runner import run_study
from training.studies.vanishing import STUDY, summary
from training.studies.vanishing_probe import batch_gradients, gradient_statistics, log_spaced


def test_a_sure_discriminator_takes_one_gradient_away_and_not_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MINI)
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "data"))
    (record,) = run_study(STUDY, tmp_path, quick=True)
    results = record.outcome.results["640/0.0"]
    first, highest, last = results["norm_minimax"]
    assert last < 0.05 * highest
    assert last < first
    first, _, last = results["norm_nonsaturating"]
    assert last > 10 * first
    loss = results["loss_d"]
    assert loss[0] == pytest.approx(1.386, abs=0.05)
    assert loss[2] < 0.05
    assert (tmp_path / "vanishing.md").read_text().count("](vanishing/") >= 4
    for figure in ("gradients", "noise", "generators"):
        assert (tmp_path / "vanishing" / f"{figure}.png").stat().st_size > 5_000


@pytest.mark.parametrize("logit", [-20.0, -2.0, 0.0, 3.0])
def test_gradients_are_those_of_the_logit_weighted_by_the_discriminator(logit: float) -> None:
    # The generator adds w to z; the logit of x is c + x. So the gradient in w is that of the loss in the logit.
    generator = nn.Linear(1, 1)
    with torch.no_grad():
        generator.weight.fill_(0)
        generator.bias.fill_(0)
    gradients = batch_gradients(generator, lambda x: logit + x[:, 0], torch.ones(2, 4, 1))
    d = torch.sigmoid(torch.tensor(logit, dtype=torch.float64))
    torch.testing.assert_close(gradients["minimax"], -d.expand(2, 2), rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients["nonsaturating"], -(1 - d).expand(2, 2), rtol=1e-5, atol=0)


def test_statistics_of_gradients_worked_out_by_hand() -> None:
    # Mean (2, 0); deviations (1, 0), (-1, 0), (0, 4), (0, -4): variances 2 / 3 and 32 / 3.
    gradients = torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 4.0], [2.0, -4.0]], dtype=torch.float64)
    found = gradient_statistics(gradients)
    # Cosines: 1 for the first two, 4 times 1 / sqrt(5), and (4 - 16) / 20.
    cosine = (1 + 4 / 5**0.5 - 0.6) / 6
    assert found == pytest.approx({"norm": 2.0, "sd": (34 / 3) ** 0.5, "cosine": cosine})


def test_opposite_gradients_cancel_and_have_a_cosine_of_minus_one() -> None:
    found = gradient_statistics(torch.tensor([[0.0, 2.0], [0.0, -2.0]], dtype=torch.float64))
    assert found == pytest.approx({"norm": 0.0, "sd": 8**0.5, "cosine": -1.0})


def test_log_spaced_steps() -> None:
    assert log_spaced(1_000, 4) == [1, 10, 100, 1_000]
    assert log_spaced(4, 10) == [1, 2, 3, 4]


def test_summary_keeps_first_highest_and_last() -> None:
    log = [{"age_images": 0, "noise_sd": 0.5, "step": i, "norm": v} for i, v in enumerate([2.0, 7.0, 1.0])]
    log += [{"age_images": 8, "noise_sd": 0.5, "step": 0, "norm": 5.0}]
    assert summary(log) == {"0/0.5": {"norm": [2.0, 7.0, 1.0]}, "8/0.5": {"norm": [5.0, 5.0, 5.0]}}
