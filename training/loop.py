"""The training loop. It knows a family only by `step(batches) -> scalars`, and moves weights, clocks and files."""

import copy
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.optim import AdamW

from training.checkpoint import State, restore, save
from training.config import Config
from training.datasets import Dataset
from training.ema import ramped_half_life, update_average
from training.errors import TrainingError
from training.families import Family, build
from training.player import Player, Progress
from training.recorder import Recorder
from training.run_dir import RunDir
from training.schedule import learning_rate, micro_batches

NON_FINITE_STEPS = 10
"""Steps in a row with a non-finite loss after which a run stops."""


@dataclass(frozen=True)
class Outcome:
    images_seen: int
    seconds: float
    """Training time, over all sessions of the run."""
    stopped_by: str
    """"images" (the budget is used up), "minutes", or the name of a signal."""


def train(
    config: Config, data: Dataset, run: RunDir, fabric: Fabric, *, minutes: float | None, resume: bool
) -> Outcome:
    """Train until `config.images` are seen, `minutes` are over or a signal comes; each leaves a checkpoint.

    Raises:
        TrainingError: the loss stayed non-finite, or the data makes no batch. The last good checkpoint is kept.
        CheckpointError: `resume` from a file that does not fit.
    """
    if len(data.images) < config.batch_size:
        raise TrainingError(f"{len(data.images):,} training images make no batch of {config.batch_size:,}")
    images = torch.from_numpy(data.images).to(fabric.device)
    labels = None if data.labels is None else torch.from_numpy(data.labels).to(fabric.device)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    torch.manual_seed(config.seed)
    family = build(config.model, shape, len(data.class_names or ()))
    averages = _averages(family, fabric.device)
    players = _players(family, config, fabric)
    # Ranks share weights and data order, but must not share their noise.
    torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank)
    fixed_images = images[:64].float() / 255
    fixed_z = torch.randn(
        64, getattr(config.model, "latent_dim", 1), generator=torch.Generator().manual_seed(0)
    )
    fixed_z = fixed_z.to(fabric.device)

    state = State(0, 0, 0.0, config.sha256())
    if resume and run.checkpoint.exists():
        state = restore(run.checkpoint, players, averages, config.sha256())
        run.trim_log(state.images_seen)
        if fabric.world_size > 1:
            # The stored random state is that of the first rank.
            torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank + state.step)
    step, seen, bad_steps, stopped_by = state.step, state.images_seen, 0, "images"
    started = time.monotonic() - state.seconds

    def checkpoint() -> None:
        # Never over a good one with weights that are lost.
        if fabric.is_global_zero and bad_steps == 0:
            now = State(step, seen, time.monotonic() - started, config.sha256())
            save(run.checkpoint, now, players, averages)
        fabric.barrier()

    with Recorder(run, config, seen, fabric.is_global_zero) as recorder, _stop_signals() as received:
        while seen < config.images:
            _set_learning_rate(players, learning_rate(config.optimizer, seen, config.images))
            batches = micro_batches(images, labels, config, step, fabric.global_rank, fabric.world_size)
            scalars = family.step(players, batches, Progress(step, seen, config.images))
            for name, average in averages.items():
                half_life = ramped_half_life(config.ema_half_life_images, seen)
                update_average(average, players[name].plain, config.batch_size, half_life)
            before, step, seen = seen, step + 1, seen + config.batch_size
            recorder.step()

            log_due = _crossed(before, seen, config.log_every_images)
            # Reading a scalar waits for the GPU, so there it is done only when the step is logged.
            if log_due or fabric.device.type == "cpu":
                values = {key: value.item() for key, value in scalars.items()}
                bad_steps = _count_non_finite(values, bad_steps, seen, run)
                if log_due:
                    recorder.scalars(values, seen, time.monotonic() - started)
            if _crossed(before, seen, config.grid_every_images) or seen >= config.images:
                with torch.no_grad():
                    recorder.grid(family.preview(averages, fixed_images, fixed_z), seen)
            if _crossed(before, seen, config.checkpoint_every_images):
                checkpoint()
            if received or (minutes is not None and time.monotonic() - started >= 60 * minutes):
                stopped_by = received[0] if received else "minutes"
                break
        checkpoint()
    return Outcome(seen, time.monotonic() - started, stopped_by)


def _averages(family: Family, device: torch.device) -> dict[str, nn.Module]:
    averages = {name: copy.deepcopy(family.networks[name]) for name in family.averaged}
    for average in averages.values():
        average.to(device).eval().requires_grad_(False)
    return averages


def _players(family: Family, config: Config, fabric: Fabric) -> dict[str, Player]:
    options = config.optimizer
    return {
        name: Player(
            network,
            AdamW(
                network.parameters(), lr=options.lr, betas=options.betas, weight_decay=options.weight_decay
            ),
            fabric,
        )
        for name, network in family.networks.items()
    }


def _set_learning_rate(players: Mapping[str, Player], lr: float) -> None:
    for player in players.values():
        for group in player.optimizer.param_groups:
            group["lr"] = lr


def _count_non_finite(values: Mapping[str, float], bad_steps: int, seen: int, run: RunDir) -> int:
    bad = [key for key, value in values.items() if not math.isfinite(value)]
    if not bad:
        return 0
    if bad_steps + 1 >= NON_FINITE_STEPS:
        raise TrainingError(
            f"{bad[0]} is {values[bad[0]]} for {NON_FINITE_STEPS} steps in a row, at {seen:,} images. "
            f"The last good checkpoint is {run.checkpoint}; lower optimizer.lr or add a penalty, and start again."
        )
    return bad_steps + 1


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """The names of SIGINT and SIGTERM as they come; a second SIGINT interrupts as usual."""
    received: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
