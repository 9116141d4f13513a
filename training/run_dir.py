"""The folder of a run: its config, its checkpoint, its log and its pictures."""

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config import Config, load_json
from training.errors import RunDirError


@dataclass(frozen=True)
class RunDir:
    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """One JSON object a line: images_seen, seconds, and the scalars of the step."""
        return self.path / "log.jsonl"

    @property
    def environment(self) -> Path:
        """Hardware and library versions of the last session, for the model card."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def grid(self, images_seen: int) -> Path:
        return self.path / "grids" / f"{images_seen:010d}.png"

    def create(self, config: Config) -> None:
        """Start a run here.

        Raises:
            RunDirError: there is one already.
        """
        if self.config.exists():
            raise RunDirError(
                f"{self.path} holds a run: add --resume to go on with it, or give another --out"
            )
        (self.path / "grids").mkdir(parents=True, exist_ok=True)
        self.config.write_text(config.to_json())

    def resume(self, config: Config) -> None:
        """Check that `config` is the one this run was started with.

        Raises:
            RunDirError: no run here, or another config; the message names the first key that differs.
        """
        if not self.config.exists():
            raise RunDirError(f"{self.path} holds no run to resume: leave out --resume to start one")
        started = load_json(self.config)
        if started != config:
            differences = _differences(json.loads(started.to_json()), json.loads(config.to_json()))
            raise RunDirError(f"{self.path} was started with another config: {differences[0]}")

    def trim_log(self, images_seen: int) -> None:
        """Drop what was logged after the checkpoint that a run goes on from."""
        if self.log.exists():
            kept = [
                line
                for line in self.log.read_text().splitlines()
                if line.endswith("}") and json.loads(line)["images_seen"] <= images_seen
            ]
            self.log.write_text("".join(line + "\n" for line in kept))

    def append_log(self, row: Mapping[str, float]) -> None:
        with self.log.open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def write_environment(self, device: torch.device, devices: int) -> None:
        facts = {
            "device": _device_name(device),
            "devices": devices,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        }
        self.environment.write_text(json.dumps(facts, indent=2) + "\n")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _differences(old: dict[str, object], new: dict[str, object], prefix: str = "") -> list[str]:
    out = []
    for key in old.keys() | new.keys():
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            out += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            out.append(f"{prefix}{key} was {a!r}, now {b!r}")
    return sorted(out)
