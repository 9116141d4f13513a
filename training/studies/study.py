"""What a study is: runs that stand for themselves, their records, and a page that is made of records alone."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from training.run_dir import device_name, git_commit

Device = torch.device
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """One experiment. The same `config` and `seeds` give the same record (on the CPU, to the bit)."""

    name: str
    """Unique in its study, fit for a file name."""
    config: Mapping[str, Any]
    """JSON: all that the experiment depends on but the code and the seeds."""
    seeds: tuple[int, ...] = (0,)
    """Usually one. Several where one experiment trains several networks side by side."""


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave."""

    results: Mapping[str, Any]
    """JSON: numbers, and lists of them (one a seed, where a run has several)."""
    log: Sequence[Mapping[str, Any]]
    """JSON: how it went, a row a step that was logged."""
    arrays: Arrays = field(default_factory=dict)
    """What pictures are made of; kept small (uint8 images, float32 points)."""


@dataclass(frozen=True)
class Environment:
    device: str
    threads: int
    torch: str
    python: str
    commit: str

    @classmethod
    def here(cls, device: Device) -> Self:
        return cls(
            device_name(device),
            torch.get_num_threads(),
            torch.__version__,
            platform.python_version(),
            git_commit(),
        )


@dataclass(frozen=True)
class Record:
    """A run and its outcome, as it lies in `runs/<name>.json` and `runs/<name>.npz`."""

    run: Run
    outcome: Outcome
    seconds: float
    environment: Environment

    def save(self, folder: Path) -> None:
        """The JSON appears last, and whole: a record that can be read is complete."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.outcome.arrays:
            np.savez_compressed(folder / f"{self.run.name}.npz", allow_pickle=False, **self.outcome.arrays)
        content = {
            "run": asdict(self.run),
            "seconds": round(self.seconds, 2),
            "environment": asdict(self.environment),
            "results": self.outcome.results,
            "log": self.outcome.log,
        }
        part = folder / f"{self.run.name}.json.part"
        part.write_text(_dump(content))
        part.rename(folder / f"{self.run.name}.json")

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        raw = json.loads((folder / f"{name}.json").read_text())
        arrays: dict[str, npt.NDArray[Any]] = {}
        if (folder / f"{name}.npz").exists():
            with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
                arrays = dict(file)
        run = Run(raw["run"]["name"], raw["run"]["config"], tuple(raw["run"]["seeds"]))
        outcome = Outcome(raw["results"], raw["log"], arrays)
        return cls(run, outcome, raw["seconds"], Environment(**raw["environment"]))


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    claim: str
    """What the theory says, in a sentence or two."""
    plan: Callable[[bool], Sequence[Run]]
    """quick -> the runs. Quick ones take seconds and show the direction only."""
    execute: Callable[[Run, Device], Outcome]
    headline: Callable[[Sequence[Record]], str]
    """What was found, in a sentence or two, with the numbers."""
    page: Callable[[Sequence[Record], Path], str]
    """Writes figures into the folder (`docs/studies/<name>/`) and gives the Markdown below the headline, which
    refers to them as `<name>/<figure>.png`."""


def digest(run: Run) -> str:
    """Of what makes a record that of this run and no other."""
    text = json.dumps([run.name, run.config, run.seeds], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _dump(content: Mapping[str, Any]) -> str:
    """JSON with a row of the log, and a result, to a line."""
    rows = ",\n  ".join(json.dumps(row) for row in content["log"])
    results = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content["results"].items())
    head = "".join(f'"{k}": {json.dumps(content[k])},\n ' for k in ("run", "seconds", "environment"))
    return f'{{{head}"results": {{\n  {results}\n }},\n "log": [\n  {rows}\n ]}}\n'
