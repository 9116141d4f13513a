"""Numbers that are no longer finite: the run stops and says since when and what, and no checkpoint holds them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from tests.training.recipes import mini, small
from training.checkpoint import read_tensors
from training.config import Config, load_recipe
from training.divergence import Watch
from training.errors import TrainingError
from training.loop import train
from training.run_dir import RunDir


def diverged(config: Config, run: RunDir) -> str:
    run.create(config)
    with pytest.raises(TrainingError) as caught:
        train(config, mini(), run, Fabric(accelerator="cpu", devices=1), quiet=True)
    return str(caught.value)


@pytest.mark.parametrize(("recipe", "term"), [("mnist-vae", "elbo_nats"), ("mnist-gan", "loss_d|loss_g")])
def test_a_recipe_with_an_absurd_learning_rate_names_step_term_and_checkpoint(
    recipe: str, term: str, tmp_path: Path
) -> None:
    """The first step has a learning rate of 0: its checkpoint is good. The second is of 1e36."""
    config = load_recipe(recipe)
    optimizer = replace(config.optimizer, lr=1e36, warmup_images=64)
    config = replace(
        config,
        batch_size=64,
        images=6_400,
        checkpoint_every_images=64,
        log_every_images=64,
        optimizer=optimizer,
    )
    run = RunDir(tmp_path / "run")
    message = diverged(config, run)
    step = re.search(rf"({term}).*: not finite since step (\d+) \((\d+) images\)", message)
    assert step, message
    assert 2 <= int(step[2]) <= 4
    assert int(step[3]) == 64 * int(step[2])
    assert f"the last checkpoint, {run.checkpoint}, is whole: it is of " in message
    assert "lower optimizer.lr, lengthen optimizer.warmup_images or add a penalty" in message
    assert all(tensor.isfinite().all() for tensor in read_tensors(run.checkpoint)[0].values())


def test_weights_that_are_lost_while_the_loss_is_still_finite_are_not_saved(tmp_path: Path) -> None:
    """A step whose loss is fine, and whose weight decay is beyond float32."""
    optimizer = {"lr": 1e30, "weight_decay": 1e9, "warmup_images": 0}
    config = small("ae", images=4_096, optimizer=optimizer, checkpoint_every_images=32)
    run = RunDir(tmp_path / "run")
    message = diverged(config, run)
    assert re.match(
        r"network\.ae\.\S+: not finite since step 1 \(32 images\); there is no checkpoint yet", message
    )
    assert not run.checkpoint.exists()


def test_the_watch_counts_steps_in_a_row_and_names_what_came_first() -> None:
    nan, one = torch.tensor(float("nan")), torch.tensor(1.0)
    watch = Watch(Path("none"), 32, torch.device("cpu"))
    for step, (mse, penalty) in enumerate([(one, nan), (one, one), (one, nan), (nan, nan), (nan, nan)], 1):
        watch.note({"mse": mse, "penalty": penalty})
        watch.check(step, 32 * step, allowed=2) if step < 5 else None
    with pytest.raises(TrainingError, match=r"^penalty: not finite since step 3 \(96 images\)"):
        watch.check(5, 160, allowed=2)
