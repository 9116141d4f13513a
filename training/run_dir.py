"""The folder of a run: its config, its checkpoint, its log and its pictures."""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from training.config import Config, load_json
from training.datasets import Dataset
from training.errors import RunDirError
from training.files import write_whole, writing


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
    def provenance(self) -> Path:
        """Data, and hardware and code of each session."""
        return self.path / "provenance.json"

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
        with writing(self.path):
            (self.path / "grids").mkdir(parents=True, exist_ok=True)
        write_whole(self.config, config.to_json().encode())

    def resume(self, config: Config) -> None:
        """Check that `config` is the one this run was started with.

        Raises:
            RunDirError: no run here, or another config; the message names each key that differs.
        """
        if not self.config.exists():
            raise RunDirError(f"{self.path} holds no run to resume: leave out --resume to start one")
        started = load_json(self.config)
        if started != config:
            differences = _differences(json.loads(started.to_json()), json.loads(config.to_json()))
            raise RunDirError(
                f"{self.path} was started with another config: {'; '.join(differences)}: "
                "resume with the recipe and the flags of the first start, or begin a new run with another --out"
            )

    def trim_log(self, images_seen: int) -> None:
        """Drop what was logged after the checkpoint that a run goes on from."""
        if self.log.exists():
            kept = [
                line
                for line in self.log.read_text().splitlines()
                if line.endswith("}") and json.loads(line)["images_seen"] <= images_seen
            ]
            write_whole(self.log, "".join(line + "\n" for line in kept).encode())

    def append_log(self, row: Mapping[str, float]) -> None:
        with writing(self.log), self.log.open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def begin_session(self, data: Dataset, device: torch.device, devices: int) -> None:
        """Note what this session trains on, for the model card.

        Raises:
            RunDirError: the run was begun on other data or with another torch; each makes other weights.
        """
        before = Provenance.read(self.provenance) if self.provenance.exists() else None
        source = DataSource(data.name, data.licence, data.source, data.digest, len(data.images))
        if before:
            differences = _differences(
                _decisive(before.data, before.sessions[-1].torch), _decisive(source, torch.__version__)
            )
            if differences:
                raise RunDirError(
                    f"{self.path} was begun with other data or another torch: {'; '.join(differences)}: "
                    "go on with the --data and the torch of the first start, or begin a new run with another --out"
                )
            source = before.data
        session = Session(
            device=device_name(device),
            devices=devices,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            python=platform.python_version(),
            commit=git_commit(),
            gpu=device.type == "cuda",
        )
        sessions = (*(before.sessions if before else ()), session)
        text = json.dumps(asdict(Provenance(source, sessions)), indent=2) + "\n"
        write_whole(self.provenance, text.encode())


@dataclass(frozen=True)
class DataSource:
    name: str
    licence: str
    source: str
    sha256: str
    images: int


@dataclass(frozen=True)
class Session:
    """One start of a run: the hardware and the code."""

    device: str
    devices: int
    threads: int
    torch: str
    python: str
    commit: str
    gpu: bool | None = None
    """Whether `device` is one; None: that was not noted yet."""


@dataclass(frozen=True)
class Provenance:
    """What a run was made from."""

    data: DataSource
    sessions: tuple[Session, ...]

    @classmethod
    def read(cls, path: Path) -> "Provenance":
        """Raises RunDirError for anything that this version does not write."""
        try:
            raw = json.loads(path.read_bytes())
            return cls(DataSource(**raw["data"]), tuple(Session(**session) for session in raw["sessions"]))
        except (ValueError, TypeError, KeyError) as error:
            raise RunDirError(
                f"{path}: is not understood ({error!r}): put a copy of it back, or begin a new run with another --out"
            ) from error


def git_commit() -> str:
    """The commit of this code, "-dirty" where the tree differs from it, or "unknown"."""
    try:
        out = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return out.stdout.strip()


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _decisive(data: DataSource, torch_version: str) -> dict[str, object]:
    """What the weights depend on beside the config. A CPU and a CUDA build of a torch have one version."""
    return {"data": {"images": data.images, "sha256": data.sha256}, "torch": torch_version.partition("+")[0]}


def _differences(old: dict[str, object], new: dict[str, object], prefix: str = "") -> list[str]:
    out = []
    for key in old.keys() | new.keys():
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            out += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            out.append(f"{prefix}{key} was {a!r}, now {b!r}")
    return sorted(out)
