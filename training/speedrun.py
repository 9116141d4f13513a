"""How long until a GAN reaches every mode of Stacked-MNIST? Trained from nothing, several times, against the clock."""

import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from training.config import Config
from training.datasets import Dataset, load, spread
from training.errors import TrainingError
from training.evaluation import modes
from training.evaluation.samples import SEED, sample
from training.families import latent_dim
from training.feature_space import FeatureSpace, published_classifier
from training.files import write_whole, writing
from training.loop import make_players, new_family, train
from training.player import Progress
from training.pool import process_pool
from training.run_dir import RunDir, device_name, git_commit
from training.schedule import micro_batches


@dataclass(frozen=True)
class Look:
    """What samples of the averaged generator showed."""

    images_seen: int
    seconds: float
    """Of training: looking does not count."""
    modes: int
    reverse_kl_nats: float


@dataclass(frozen=True)
class Attempt:
    seed: int
    looks: tuple[Look, ...]

    def first_with(self, count: int) -> Look | None:
        """The first look that found so many modes."""
        return next((look for look in self.looks if look.modes >= count), None)


@dataclass(frozen=True)
class Speedrun:
    recipe: str
    config_sha256: str
    device: str
    threads: int
    torch: str
    commit: str
    goal: int
    """Modes."""
    every_images: int
    """Between looks."""
    samples: int
    """Of each look."""
    minutes: float
    """Of training, at most, a seed."""
    whole: bool
    """Whether each went on to the end of its recipe when the goal was reached."""
    processes: int
    """Seeds that are trained beside each other, each in a process of its own."""
    step_flop: int
    """Of one step, matrix products and convolutions, both players and the penalties."""
    batch_images: int
    matrix_flop_per_second: float
    """What the device does in square matrix products of the run's precision."""
    real_modes: int
    """Of as many training images as there are samples, as the two below."""
    real_reverse_kl_nats: float
    attempts: tuple[Attempt, ...]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Speedrun":
        raw: dict[str, Any] = json.loads(text)
        attempts = tuple(
            Attempt(a["seed"], tuple(Look(**look) for look in a["looks"])) for a in raw["attempts"]
        )
        return cls(**{**raw, "attempts": attempts})


@dataclass(frozen=True)
class _Trial:
    """What an attempt is, for a process that knows nothing."""

    config: Config
    data: Path | None
    accelerator: str
    minutes: float
    goal: int
    samples: int
    whole: bool
    runs: Path | None
    resume: bool


def run(
    config: Config,
    seeds: Iterable[int],
    fabric: Fabric,
    record: Path,
    *,
    every: int,
    minutes: float,
    goal: int | None = None,
    samples: int | None = None,
    whole: bool = False,
    processes: int = 1,
    runs: Path | None = None,
    resume: bool = False,
    data: Path | None = None,
) -> Speedrun:
    """Train `config` once a seed until the goal (None: all modes) is reached or `minutes` of training are over.

    `record` is written after each attempt.

    Args:
        every: images between looks.
        samples: of each look; None: as many as `evaluate` takes.
        whole: go on to the end of the recipe, to see what each seed comes to.
        processes: seeds to train beside each other, on the same device.
        runs: keep the run folders here, as `seed-<seed>`; None: they are not kept.
        resume: go on with the runs that are there.
        data: of the dataset's images; None: looked for.
    """
    with writing(record):
        record.parent.mkdir(parents=True, exist_ok=True)
    images, test = load(config.dataset, "train", data), load(config.dataset, "test", data)
    space = FeatureSpace.load(published_classifier(images.name), test, fabric.device)
    kinds = len(images.class_names or ())
    goal = kinds if goal is None else goal
    samples = modes.SAMPLES if samples is None else samples
    real = _reached(space, torch.from_numpy(spread(images.images, samples)), kinds)
    found = Speedrun(
        recipe=config.name,
        config_sha256=config.sha256(),
        device=device_name(fabric.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        commit=git_commit(),
        goal=goal,
        every_images=every,
        samples=samples,
        minutes=minutes,
        whole=whole,
        processes=processes,
        step_flop=step_flop(config, images, fabric),
        batch_images=config.batch_size,
        matrix_flop_per_second=matrix_rate(fabric.device, config.precision),
        real_modes=real[0],
        real_reverse_kl_nats=real[1],
        attempts=(),
    )
    trials = [
        _Trial(
            dataclasses.replace(config, seed=seed, checkpoint_every_images=every),
            data,
            fabric.device.type,
            minutes,
            goal,
            samples,
            whole,
            runs,
            resume,
        )
        for seed in seeds
    ]
    if processes == 1:
        attempts: Iterable[Attempt] = (_attempt(trial, images, space, fabric) for trial in trials)
    else:
        attempts = _beside(trials, processes)
    for attempt in attempts:
        found = dataclasses.replace(found, attempts=(*found.attempts, attempt))
        write_whole(record, found.to_json().encode())
    return found


def _beside(trials: list[_Trial], processes: int) -> Iterator[Attempt]:
    with process_pool(processes, torch.get_num_threads()) as pool:
        yield from pool.map(_alone, trials)


def _alone(trial: _Trial) -> Attempt:
    """In a process of its own."""
    fabric = Fabric(accelerator=trial.accelerator, devices=1, precision=trial.config.precision)
    images, test = (load(trial.config.dataset, split, trial.data) for split in ("train", "test"))
    space = FeatureSpace.load(published_classifier(images.name), test, fabric.device)
    return _attempt(trial, images, space, fabric)


def _attempt(trial: _Trial, data: Dataset, space: FeatureSpace, fabric: Fabric) -> Attempt:
    torch.backends.cudnn.benchmark = True
    config = trial.config
    with _folder(trial) as folder:
        run_dir, kept = RunDir(folder), folder / "looks.json"
        is_begun = trial.resume and run_dir.config.exists()
        run_dir.resume(config) if is_begun else run_dir.create(config)
        looks = _kept(kept) if is_begun else []
        if looks and _is_enough(looks[-1], trial, config.images):
            return Attempt(config.seed, tuple(looks))

        def until(averages: Mapping[str, nn.Module], seen: int, seconds: float) -> bool:
            if looks and looks[-1].images_seen == seen:  # a run that goes on
                return _is_enough(looks[-1], trial)
            drawn = sample(
                averages["generator"], latent_dim(config.model), trial.samples, SEED, fabric.device
            )
            look = Look(seen, seconds, *_reached(space, drawn, len(data.class_names or ())))
            looks.append(look)
            write_whole(kept, json.dumps([dataclasses.asdict(look) for look in looks]).encode())
            print(
                f"seed {config.seed}: {look.images_seen:,} images, {look.seconds:,.0f} s, {look.modes:,} modes, "
                f"{look.reverse_kl_nats:.3f} nats",
                flush=True,
            )
            return _is_enough(look, trial)

        run_dir.begin_session(data, fabric.device, fabric.world_size)
        try:
            outcome = train(
                config,
                data,
                run_dir,
                fabric,
                minutes=trial.minutes,
                resume=is_begun,
                quiet=True,
                until=until,
            )
        except TrainingError as error:
            print(f"seed {config.seed}: {error}", flush=True)
            return Attempt(config.seed, tuple(looks))
    if outcome.stopped_by not in ("images", "minutes", "until"):
        how = (
            "go on with --resume" if trial.runs else "begin again for the others (--runs keeps what is begun)"
        )
        raise TrainingError(
            f"stopped by {outcome.stopped_by}: the attempts before this one are on record; {how}"
        )
    return Attempt(config.seed, tuple(looks))


def _is_enough(last: Look, trial: _Trial, images: float = math.inf) -> bool:
    """Whether an attempt is over with this look: the goal, or so many images, are reached."""
    return last.images_seen >= images or (last.modes >= trial.goal and not trial.whole)


def _kept(path: Path) -> list[Look]:
    """The looks of a run that is gone on with: each was taken right after a checkpoint, so the run has come as far."""
    return [Look(**look) for look in json.loads(path.read_bytes())] if path.exists() else []


@contextmanager
def _folder(trial: _Trial) -> Iterator[Path]:
    """For the run."""
    if trial.runs is not None:
        yield trial.runs / f"seed-{trial.config.seed}"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run"


def _reached(space: FeatureSpace, images: Tensor, kinds: int) -> tuple[int, float]:
    """As `evaluate` has it: with all the digits of float32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return modes.reached(space, images, kinds)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Adds up what torch's own table says of each operation. (Its FlopCounterMode has hooks on every module, which
    gradients of gradients do not bear.)
    """

    flop: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.flop += int(count(*args, **(kwargs or {}), out_val=out))
        return out


def step_flop(config: Config, data: Dataset, fabric: Fabric) -> int:
    """Floating point operations of a training step, a multiplication and an addition being two.

    The mean, where only some have penalties.
    """
    family = new_family(config, data)
    images = torch.from_numpy(data.images[: config.batch_size]).to(fabric.device)
    labels = None if data.labels is None else torch.from_numpy(data.labels[: len(images)]).to(fabric.device)
    batches = micro_batches(images, labels, config, 0, 0, 1)
    players = make_players(family, config, fabric)
    counted, steps = _Operations(), getattr(config.model, "penalty_every", 1)  # type: ignore[no-untyped-call]  # nor this
    with counted:
        for step in range(steps):
            family.step(players, batches, Progress(step, 0, 0.0))
    return counted.flop // steps


def matrix_rate(device: torch.device, precision: str) -> float:
    """The best of some products of square matrices, FLOP/s."""
    size, dtype = (8192 if device.type == "cuda" else 2048), torch.bfloat16
    if precision == "32-true":
        dtype = torch.float32
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        product = a @ a
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
