"""What the command line does."""

import dataclasses
import sys
from pathlib import Path

import torch
from lightning.fabric import Fabric

from training import fitted_correction, fitted_prior, precision, speedrun, speedrun_page
from training.config import Config, load_json, load_recipe
from training.datasets import load
from training.errors import ConfigError, EvaluationError
from training.evaluate import evaluate_folder
from training.families.gan import GANConfig
from training.feature_space import FeatureSpace, published_classifier
from training.files import write_whole
from training.loop import new_family, train
from training.peers import compare as peers
from training.peers import page as peers_page
from training.report import Report
from training.run_dir import RunDir
from training.studies import studies
from training.studies.pages import write_index
from training.studies.runner import load_records, run_study
from training.trained import load_trained, resolve


def train_recipe(
    *,
    recipe: str,
    data: Path | None,
    device: str,
    out: Path | None,
    devices: int,
    threads: int | None,
    resume: bool,
    minutes: float | None,
    images: int | None,
    seed: int | None,
    dry_run: bool,
) -> None:
    config = load_recipe(recipe)
    config = dataclasses.replace(
        config,
        images=config.images if images is None else images,
        seed=config.seed if seed is None else seed,
    )
    config = _affordable(config, device)
    dataset = load(config.dataset, "train", data)
    run = RunDir(out or Path("runs") / config.name)
    if dry_run:
        _, channels, height, width = dataset.images.shape
        print(config.to_json(), end="")
        print(f"{len(dataset.images):,} images of {channels} x {height} x {width}, into {run.path}")
        family = new_family(config, dataset)
        for name, network in family.networks.items():
            print(f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters")
        return
    torch.backends.cudnn.benchmark = True
    fabric = Fabric(accelerator=_accelerator(device), devices=devices, precision=config.precision)
    fabric.launch()
    if threads:
        torch.set_num_threads(threads)
    if fabric.is_global_zero:
        run.resume(config) if resume else run.create(config)
        run.begin_session(dataset, fabric.device, fabric.world_size)
    fabric.barrier()
    if resume and fabric.is_global_zero and not run.checkpoint.exists():
        print(f"{run.path} has no checkpoint yet: it begins at its first image")
    outcome = train(config, dataset, run, fabric, minutes=minutes, resume=resume)
    if fabric.is_global_zero:
        print(
            f"{outcome.images_seen:,} images in {outcome.seconds / 60:.1f} minutes, "
            f"stopped by {outcome.stopped_by}; the run is in {run.path}"
        )
        if outcome.images_seen < config.images:
            more = " and more --minutes" if outcome.stopped_by == "minutes" else ""
            print(f"to go on, give the same command with --resume{more}")


def _affordable(config: Config, device: str) -> Config:
    found = precision.for_device(config, _accelerator(device))
    if found != config:
        print(
            f"this CPU does not compute in bf16: {config.name} is trained in {found.precision}",
            file=sys.stderr,
        )
    return found


def evaluate_model(model: str, data: Path | None, device: str, classifier: Path | None) -> None:
    """Print each metric beside the recorded one. A run's `metrics.json` is rewritten; a bundle never changes.

    Raises:
        EvaluationError: a bundle's numbers are not those of its record, to 1 %.
    """
    folder = resolve(model)
    metrics, published = folder / "metrics.json", (folder / "manifest.json").exists()
    before = Report.from_json(metrics.read_text()) if published else None
    if not published:
        train_data = load(load_json(folder / "config.json").dataset, "train", data)
        fitted_prior.fit_where_lacking(folder, train_data, torch.device(_accelerator(device)))
        _fit_correction(folder, data, torch.device(_accelerator(device)), classifier)
    report = evaluate_folder(folder, data, torch.device(_accelerator(device)), classifier)
    recorded = before.values() if before else {}
    print(f"{'metric':26} {'value':>12} {'recorded':>12}  protocol")
    for result in report.results:
        old = f"{recorded[result.name]:12.5g}" if result.name in recorded else f"{'-':>12}"
        print(f"{result.name:26} {result.value:12.5g} {old}  {result.protocol}")
    if not published:
        write_whole(metrics, report.to_json().encode())
    elif before and (differences := report.differences(before)):
        raise EvaluationError(f"{folder}: does not reproduce its record: {'; '.join(differences)}")


def _fit_correction(folder: Path, data: Path | None, device: torch.device, classifier: Path | None) -> None:
    """Of a run that discriminates, and only once for its weights."""
    name = load_json(folder / "config.json").dataset
    train_data, test_data = load(name, "train", data), load(name, "test", data)
    trained = load_trained(folder, train_data, device)
    if not isinstance(trained.config.model, GANConfig) or trained.correction is not None:
        return
    print("fitting the correction of the score in each class ...", flush=True)
    space = FeatureSpace.load(classifier or published_classifier(name), test_data, device)
    if fitted_correction.fit(folder, trained, space, train_data, test_data, device) is None:
        print(
            f"the score stays as it is: {space.name} does not see {fitted_correction.LEAST} samples of each class"
        )


def _accelerator(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; leave the option out, or give cpu")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def export_run(run_folder: Path, data: Path | None, models: Path, version: int | None) -> None:
    # Only here: the machine that trains need not have the bundle contract's libraries.
    from training.export import export  # noqa: PLC0415

    print(f"wrote {export(RunDir(run_folder), data, models, version)}")


def print_card(model: str) -> None:
    print((resolve(model) / "card.md").read_text(), end="")


def run_studies(name: str, quick: bool, out: Path | None, processes: int, device: str) -> None:
    known = studies()
    if name != "all" and name not in known:
        raise ConfigError(f"no study {name!r}: choose one of {', '.join(known)}, or all")
    folder = out or Path("runs/studies" if quick else "docs/studies")
    where = torch.device("cuda" if _accelerator(device) == "cuda" else "cpu")
    for study in known.values():
        if name in ("all", study.name):
            run_study(study, folder, quick=quick, processes=processes, device=where)
            print(f"{folder / study.name}.md")
    if not quick:
        write_index([(s, r) for s in known.values() if (r := load_records(s, folder)) is not None], folder)


def run_speedrun(
    *,
    recipe: str,
    seeds: int,
    every: int,
    minutes: float,
    modes: int | None,
    samples: int | None,
    whole: bool,
    processes: int,
    runs: Path | None,
    resume: bool,
    out: Path,
    threads: int | None,
    data: Path | None,
    device: str,
) -> None:
    config = _affordable(load_recipe(recipe), device)
    if resume and runs is None:
        raise ConfigError("--resume: needs --runs, the folder of the runs to go on with")
    if not isinstance(config.model, GANConfig):
        raise ConfigError(f"{recipe}: trains a {config.family}; the speed run is of a gan")
    if config.model.conditional:
        raise ConfigError(
            f"{recipe}: is conditional; the speed run is of a gan that draws all modes by itself"
        )
    if whole and config.images % every:
        raise ConfigError(
            f"--every {every}: the end of {recipe}, {config.images} images, is no multiple of that"
        )
    fabric = Fabric(accelerator=_accelerator(device), devices=1, precision=config.precision)
    if threads:
        torch.set_num_threads(threads)
    found = speedrun.run(
        config,
        range(seeds),
        fabric,
        out / speedrun_page.page_name(whole=whole) / "record.json",
        data=data,
        every=every,
        minutes=minutes,
        goal=modes,
        samples=samples,
        whole=whole,
        processes=processes,
        runs=runs,
        resume=resume,
    )
    print(speedrun_page.write(found, out))


def compare_with_peers(
    *,
    minutes: float,
    only: list[str] | None,
    out: Path,
    threads: int | None,
    processes: int,
    device: str,
) -> None:
    known = {entry.name for entry in peers.ENTRIES}
    if unknown := sorted(set(only or ()) - known):
        raise ConfigError(f"no row {unknown[0]!r}: choose from {', '.join(sorted(known))}")
    if threads:
        torch.set_num_threads(threads)
    rows = peers.compare(
        minutes,
        torch.device(_accelerator(device)),
        out / "peers" / "record.json",
        only=only,
        processes=processes,
    )
    peers_page.write(rows, out / "peers.md")
    print(out / "peers.md")
