"""Trains each for the same time, and measures them alike. The record is written after each."""

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.binarisation import binarise
from training.datasets import Dataset, load, spread
from training.evaluation import modes, samples
from training.evaluation.likelihood import BINARISATION_SEED
from training.feature_space import FeatureSpace, published_classifier
from training.files import write_whole, writing
from training.metrics.density_coverage import density_coverage
from training.metrics.elbo import bernoulli_log_likelihood_nats
from training.metrics.frechet import frechet_distance
from training.metrics.importance_weighted import importance_weighted_bounds
from training.peers import dcgan, mlp_vae, ours, pythae_vae
from training.peers.made import Density, Made, Task, Train
from training.pool import process_pool
from training.run_dir import device_name, git_commit

IW_DRAWS, IW_IMAGES = 200, 500


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    dataset: str
    kind: str
    """Rows of a dataset and a kind compete."""
    name: str
    is_ours: bool
    train: Train


def _entries(dataset: str, kind: str, recipes: Sequence[str], peers: Mapping[str, Train]) -> list[Entry]:
    own = [Entry(dataset, kind, name, True, ours.train(name)) for name in recipes]
    return own + [Entry(dataset, kind, name, False, train) for name, train in peers.items()]


_GAN: dict[str, Train] = {"textbook DCGAN": dcgan.train}
_VAES: dict[str, Train] = {"textbook VAE": mlp_vae.train, "pythae VAE": pythae_vae.train}
ENTRIES = [
    *_entries("mnist", "GAN", ["mnist-gan"], _GAN),
    *_entries("mnist", "VAE", ["mnist-vae", "mnist-vae-bernoulli"], _VAES),
    *_entries("fashion-mnist", "GAN", ["fashion-gan"], _GAN),
    *_entries("fashion-mnist", "VAE", ["fashion-vae"], _VAES),
    *_entries("stacked-mnist", "GAN", ["stacked-mnist-gan"], _GAN),
]


@dataclass(frozen=True)
class Row:
    """What was measured of an entry; None where it has none."""

    dataset: str
    kind: str
    name: str
    is_ours: bool
    minutes: float
    """That it was given."""
    seconds: float
    """That it trained."""
    parameters: int
    images_seen: int
    fd10k: float
    coverage: float
    modes: int | None
    """Of Stacked-MNIST: by 26,000 samples, as the next."""
    reverse_kl_nats: float | None
    iw_nats: float | None
    """Importance weighted bound of log p(x), of IW_IMAGES binarised test images and IW_DRAWS draws."""
    device: str
    threads: int
    processes: int
    """Rows that were trained and measured at a time."""
    torch: str
    commit: str


def compare(
    minutes: float,
    device: torch.device,
    record: Path,
    *,
    only: Sequence[str] | None = None,
    seed: int = 0,
    processes: int = 1,
) -> tuple[Row, ...]:
    """All entries, or those of the names in `only`; rows that `record` has of the same minutes stay as they are."""
    with writing(record):
        record.parent.mkdir(parents=True, exist_ok=True)
    rows = {(row.dataset, row.name): row for row in read(record)} if record.exists() else {}
    trials = []
    for entry in ENTRIES:
        done = rows.get((entry.dataset, entry.name))
        if (only is None or entry.name in only) and (done is None or done.minutes != minutes):
            trials.append(_Trial(entry.dataset, entry.name, minutes, seed, device, processes))
    for row in map(_row, trials) if processes == 1 else _beside(trials, processes):
        rows[row.dataset, row.name] = row
        text = json.dumps([dataclasses.asdict(row) for row in _in_order(rows)], indent=2) + "\n"
        write_whole(record, text.encode())
    return _in_order(rows)


def _in_order(rows: Mapping[tuple[str, str], Row]) -> tuple[Row, ...]:
    """As in ENTRIES, whichever were done first."""
    return tuple(rows[key] for entry in ENTRIES if (key := (entry.dataset, entry.name)) in rows)


@dataclass(frozen=True)
class _Trial:
    dataset: str
    name: str
    minutes: float
    seed: int
    device: torch.device
    processes: int


def _beside(trials: list[_Trial], processes: int) -> Iterator[Row]:
    with process_pool(processes, torch.get_num_threads()) as pool:
        for done in as_completed([pool.submit(_row, trial) for trial in trials]):
            yield done.result()


def _row(trial: _Trial) -> Row:
    [entry] = [entry for entry in ENTRIES if (entry.dataset, entry.name) == (trial.dataset, trial.name)]
    print(f"{entry.dataset}: {entry.name}, {trial.minutes:g} minutes ...", flush=True)
    train, test = load(entry.dataset, "train"), load(entry.dataset, "test")
    with tempfile.TemporaryDirectory() as scratch:
        made = entry.train(Task(train, 60 * trial.minutes, trial.seed, trial.device, Path(scratch)))
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as `evaluate` has it
            row = measure(
                entry, made, train, test, trial.device, minutes=trial.minutes, processes=trial.processes
            )
    told = f"{made.images_seen:,} images; FD {row.fd10k:.1f}, coverage {row.coverage:.3f}"
    print(f"{entry.dataset}: {entry.name}: {told}", flush=True)
    return row


def read(record: Path) -> tuple[Row, ...]:
    raw: list[dict[str, Any]] = json.loads(record.read_text())
    return tuple(Row(**row) for row in raw)


def measure(
    entry: Entry,
    made: Made,
    train: Dataset,
    test: Dataset,
    device: torch.device,
    *,
    minutes: float,
    processes: int,
) -> Row:
    space, stacked = FeatureSpace.load(published_classifier(test.name), test, device), None
    images = made.draw(modes.SAMPLES if space.colours > 1 else samples.SAMPLES)
    seen, _ = space(images[: samples.SAMPLES])
    real, _ = space(torch.from_numpy(test.images))
    if space.colours > 1:
        stacked = modes.reached(space, images, len(train.class_names or ()))
    return Row(
        dataset=entry.dataset,
        kind=entry.kind,
        name=entry.name,
        is_ours=entry.is_ours,
        minutes=minutes,
        seconds=made.seconds,
        parameters=made.parameters,
        images_seen=made.images_seen,
        fd10k=frechet_distance(real, seen),
        coverage=density_coverage(real, seen).coverage,
        modes=None if stacked is None else stacked[0],
        reverse_kl_nats=None if stacked is None else stacked[1],
        iw_nats=None if made.density is None else bound_nats(made.density, test, device),
        device=device_name(device),
        threads=torch.get_num_threads(),
        processes=processes,
        torch=torch.__version__,
        commit=git_commit(),
    )


@torch.no_grad()
def bound_nats(
    density: Density, test: Dataset, device: torch.device, draws: int = IW_DRAWS, images: int = IW_IMAGES
) -> float:
    """Importance weighted bound of log p(x), of `draws`, the mean of so many binarised test images."""
    generator = torch.Generator().manual_seed(BINARISATION_SEED)
    x = binarise(torch.from_numpy(spread(test.images, images)).float() / 255, generator).to(device)
    mean, logvar = density.encode(x)

    def log_likelihood(index: int, z: Tensor) -> Tensor:
        return bernoulli_log_likelihood_nats(x[index], density.generate(z))

    bounds = importance_weighted_bounds(mean, logvar, log_likelihood, draws, log_prior=density.log_prior)
    return float(bounds.importance_weighted_nats.mean())
