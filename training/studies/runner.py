"""Runs what a study lacks, one process a run, and writes its page from the records."""

import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

import torch
from tqdm import tqdm

from training.pool import process_pool
from training.studies import pages
from training.studies.study import Environment, Record, Run, Study, digest


def run_study(
    study: Study, out: Path, *, quick: bool = False, processes: int = 1, device: torch.device | None = None
) -> list[Record]:
    """Complete the records in `out/<name>/runs/`, write `out/<name>.md` and its figures, and give the records.

    A record that is there already, of the same config and seeds, is kept: an interrupted study goes on.
    """
    device = device or torch.device("cpu")
    folder = out / study.name / "runs"
    runs = study.plan(quick)
    missing = [run for run in runs if not _is_done(folder, run)]
    if processes <= 1:
        for run in tqdm(missing, desc=study.name, unit="run", disable=None):
            run_one(study, run, folder, device)
    elif missing:
        with process_pool(processes, threads=1) as pool:
            futures = [pool.submit(run_one, study, run, folder, device) for run in missing]
            for future in tqdm(as_completed(futures), desc=study.name, unit="run", total=len(futures)):
                future.result()
    records = [Record.load(folder, run.name) for run in runs]
    pages.write(study, records, out, quick=quick)
    return records


def run_one(study: Study, run: Run, folder: Path, device: torch.device) -> None:
    started = time.monotonic()
    outcome = study.execute(run, device)
    Record(run, outcome, time.monotonic() - started, Environment.here(device)).save(folder)


def load_records(study: Study, out: Path) -> Sequence[Record] | None:
    """The records of the study in full; None where some are missing."""
    folder = out / study.name / "runs"
    runs = study.plan(False)
    if not all(_is_done(folder, run) for run in runs):
        return None
    return [Record.load(folder, run.name) for run in runs]


def _is_done(folder: Path, run: Run) -> bool:
    if not (folder / f"{run.name}.json").exists():
        return False
    return digest(Record.load(folder, run.name).run) == digest(run)
