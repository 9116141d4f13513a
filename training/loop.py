"""The training loop. It knows a family only by `step(batches) -> scalars`, and moves weights, clocks and files."""

import copy
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW

from training.checkpoint import State, last_checkpoint, non_finite, restore, save
from training.config import Config
from training.datasets import Dataset, spread
from training.divergence import NON_FINITE_STEPS, Watch
from training.ema import ramped_half_life, update_average
from training.errors import TrainingError, WriteError
from training.families import Family, build, latent_dim
from training.player import Player, Progress
from training.recorder import Recorder
from training.run_dir import RunDir
from training.schedule import learning_rate, micro_batches


@dataclass(frozen=True)
class Outcome:
    images_seen: int
    seconds: float
    """Training time, over all sessions of the run."""
    stopped_by: str
    """"images" (the budget is used up), "minutes", "until", the name of a signal, or "another process"."""


Until = Callable[[Mapping[str, nn.Module], int, float], bool]
"""Weight averages by player name, images seen and seconds of training -> whether that is enough."""


def train(
    config: Config,
    data: Dataset,
    run: RunDir,
    fabric: Fabric,
    *,
    minutes: float | None = None,
    resume: bool = False,
    quiet: bool = False,
    until: Until | None = None,
) -> Outcome:
    """Train until `config.images` are seen, `minutes` are over or a signal comes; each leaves a checkpoint.

    Args:
        quiet: without the progress bar.
        until: asked with each checkpoint whether to stop; the time that it takes does not count. One process only. A
            run that goes on from such a checkpoint asks again: it may have ended before it was told.

    Raises:
        TrainingError: losses or weights are not finite, or the data makes no batch. The last good checkpoint is kept.
        CheckpointError: `resume` from a file that is damaged or does not fit.
        WriteError: the disk is full. The last checkpoint is kept.
    """
    _check_batches(config, data, fabric)
    images, labels = _on_device(data, fabric.device)
    torch.manual_seed(config.seed)
    family = new_family(config, data)
    players = make_players(family, config, fabric)
    averages = _averages(family, fabric.device)
    # Ranks share weights and data order, but must not share their noise.
    torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank)
    preview = _preview(family, config, data, fabric.device)

    state = State(0, 0, 0.0, config.sha256(), fabric.world_size)
    if resume and run.checkpoint.exists():
        state = _restored(run, config, players, averages, fabric)
    step, seen, stopped_by = state.step, state.images_seen, "images"
    clock = _Clock(state.seconds)
    watch = Watch(run.checkpoint, config.batch_size, fabric.device)

    def checkpoint() -> None:
        # Never over a good one with weights that are lost.
        if not watch.steps:
            if lost := non_finite(players, averages):
                raise watch.error(lost, step, seen)
            if fabric.is_global_zero:
                now = State(step, seen, clock.seconds, config.sha256(), fabric.world_size)
                save(run.checkpoint, now, players, averages)
        fabric.barrier()

    with (
        _told_how_to_go_on(run),
        Recorder(run, config, seen, fabric.is_global_zero, quiet) as recorder,
        _stop_signals() as received,
    ):
        due = step > 0 and _crossed(seen - config.batch_size, seen, config.checkpoint_every_images)
        if due and _is_enough(until, averages, seen, clock):
            return Outcome(seen, clock.seconds, "until")
        while seen < config.images:
            _set_learning_rate(players, learning_rate(config.optimizer, seen, config.images))
            batches = micro_batches(images, labels, config, step, fabric.global_rank, fabric.world_size)
            scalars = family.step(players, batches, Progress(step, seen, seen / config.images))
            _update_averages(averages, players, config, seen)
            before, step, seen = seen, step + 1, seen + config.batch_size
            recorder.step()
            watch.note(scalars)

            log_due = _crossed(before, seen, config.log_every_images)
            # Reading a value waits for the GPU, so there it is done only when the step is logged.
            if log_due or fabric.device.type == "cpu":
                watch.check(step, seen, allowed=NON_FINITE_STEPS - 1)
            if log_due:
                recorder.scalars({k: v.item() for k, v in scalars.items()}, seen, clock.seconds)
            if _crossed(before, seen, config.grid_every_images) or seen >= config.images:
                recorder.grid(preview(averages), seen)
            enough = False
            if _crossed(before, seen, config.checkpoint_every_images):
                checkpoint()
                enough = _is_enough(until, averages, seen, clock)
            out_of_time = minutes is not None and clock.seconds >= 60 * minutes
            if _agreed(fabric, bool(received) or out_of_time or enough, step):
                stopped_by = _reason(received, enough, out_of_time)
                break
        watch.check(step, seen, allowed=0)
        checkpoint()
    return Outcome(seen, clock.seconds, stopped_by)


def _restored(
    run: RunDir,
    config: Config,
    players: Mapping[str, Player],
    averages: Mapping[str, nn.Module],
    fabric: Fabric,
) -> State:
    state = restore(run.checkpoint, players, averages, config.sha256())
    if fabric.global_rank:
        # The stored random state is that of the first rank.
        torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank + state.step)
    return state


def _on_device(data: Dataset, device: torch.device) -> tuple[Tensor, Tensor | None]:
    labels = None if data.labels is None else torch.from_numpy(data.labels).to(device)
    return torch.from_numpy(data.images).to(device), labels


def _check_batches(config: Config, data: Dataset, fabric: Fabric) -> None:
    if config.batch_size % (config.accumulate * fabric.world_size):
        raise TrainingError(
            f"batch_size = {config.batch_size}: must be a multiple of accumulate = {config.accumulate} "
            f"times {fabric.world_size} devices"
        )
    if len(data.images) < config.batch_size:
        raise TrainingError(f"{len(data.images):,} training images make no batch of {config.batch_size:,}")


def _preview(
    family: Family, config: Config, data: Dataset, device: torch.device
) -> Callable[[Mapping[str, nn.Module]], Tensor]:
    """The family's pictures for fixed images and latents. Draws nothing from the run's random state."""
    images = torch.from_numpy(spread(data.images, 64)).to(device).float() / 255
    z = torch.randn(64, latent_dim(config.model), generator=torch.Generator().manual_seed(0)).to(device)

    @torch.no_grad()
    def preview(networks: Mapping[str, nn.Module]) -> Tensor:
        return family.preview(networks, images, z)

    return preview


def _averages(family: Family, device: torch.device) -> dict[str, nn.Module]:
    averages = {name: copy.deepcopy(family.networks[name]) for name in family.averaged}
    for average in averages.values():
        average.to(device).eval().requires_grad_(False)
    return averages


def new_family(config: Config, data: Dataset) -> Family:
    """New networks for the images of `data`, from torch's global random state."""
    _, channels, height, width = data.images.shape
    return build(config.model, (channels, height, width), len(data.class_names or ()))


def make_players(family: Family, config: Config, fabric: Fabric) -> dict[str, Player]:
    """The family's networks, on the devices, each with its optimiser."""
    options = config.optimizer
    for network in family.networks.values():
        # Half precision wants it on a GPU; a CPU trains residual VAEs a sixth faster so, and classifiers a third.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's types
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


def _update_averages(
    averages: Mapping[str, nn.Module], players: Mapping[str, Player], config: Config, seen: int
) -> None:
    half_life = ramped_half_life(config.ema_half_life_images, seen)
    for name, average in averages.items():
        update_average(average, players[name].plain, config.batch_size, half_life)


def _set_learning_rate(players: Mapping[str, Player], lr: float) -> None:
    for player in players.values():
        for group in player.optimizer.param_groups:
            group["lr"] = lr


class _Clock:
    """Seconds of training."""

    def __init__(self, seconds: float) -> None:
        self._started_s = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        now_s = time.monotonic()
        yield
        self._started_s += time.monotonic() - now_s


def _is_enough(until: Until | None, averages: Mapping[str, nn.Module], seen: int, clock: _Clock) -> bool:
    if until is None:
        return False
    seconds = clock.seconds
    with clock.stopped():
        return until(averages, seen, seconds)


@contextmanager
def _told_how_to_go_on(run: RunDir) -> Iterator[None]:
    try:
        yield
    except WriteError as error:
        raise WriteError(f"{error} with --resume; {last_checkpoint(run.checkpoint)}") from error


def _agreed(fabric: Fabric, stop: bool, step: int) -> bool:
    """Whether any process wants to stop: they leave the loop after the same step, or they would wait for ever."""
    if fabric.world_size == 1:
        return stop
    if step % 10:
        return False
    wish = fabric.all_reduce(torch.tensor(float(stop), device=fabric.device), reduce_op="sum")
    return bool(wish > 0)


def _reason(received: list[str], enough: bool, out_of_time: bool) -> str:
    if received:
        return received[0]
    if enough:
        return "until"
    return "minutes" if out_of_time else "another process"


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
