"""Checkpoints: one safetensors file, replaced atomically, that a run goes on from (on the CPU bit for bit).

Tensors are named `network.<player>.*`, `average.<player>.*`, `optimizer.<player>.<parameter index>.<key>` and
`rng.cpu` / `rng.cuda`; the counters stand in the file's metadata as JSON. Learning rates and data order are
functions of the counters, so they are not stored. Nothing is pickled.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.errors import CheckpointError
from training.player import Player


@dataclass(frozen=True)
class State:
    """Counters of a run."""

    step: int
    images_seen: int
    seconds: float
    """Training time so far, over all sessions of the run."""
    config_sha256: str
    ranks: int = 1
    """Processes that shared each batch."""


def save(path: Path, state: State, players: Mapping[str, Player], averages: Mapping[str, nn.Module]) -> None:
    """Write a checkpoint; a reader finds the old file or the new one, whole, whenever this process dies."""
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for name, player in players.items():
        tensors |= _named(f"network.{name}", player.plain.state_dict())
        for index, values in player.optimizer.state_dict()["state"].items():
            tensors |= _named(f"optimizer.{name}.{index}", values)
    for name, network in averages.items():
        tensors |= _named(f"average.{name}", network.state_dict())
    write_tensors(path, tensors, {"state": json.dumps(asdict(state))})


def restore(
    path: Path, players: Mapping[str, Player], averages: Mapping[str, nn.Module], config_sha256: str
) -> State:
    """Load a checkpoint into `players` and `averages`, and torch's random state with it.

    Raises:
        CheckpointError: the file is unreadable, or it is of another config.
    """
    tensors, metadata = read_tensors(path)
    state = State(**json.loads(metadata["state"]))
    if state.config_sha256 != config_sha256:
        raise CheckpointError(
            f"{path}: was written by another config (sha256 {state.config_sha256[:12]}, now {config_sha256[:12]}); "
            "resume with the recipe and the flags of the first start, or begin a new run with another --out"
        )
    for name, player in players.items():
        load_network(player.plain, tensors, f"network.{name}", path)
        _load_optimizer(player, tensors, f"optimizer.{name}")
    for name, network in averages.items():
        load_network(network, tensors, f"average.{name}", path)
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return state


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Load the tensors `<prefix>.*` into `network`; an error names the first tensor that does not fit."""
    own = network.state_dict()
    stored = {k.removeprefix(prefix + "."): v for k, v in tensors.items() if k.startswith(prefix + ".")}
    for name in sorted(set(own) | set(stored)):
        if name not in stored:
            raise CheckpointError(f"{path}: has no tensor {prefix}.{name}, which the config's network has")
        if name not in own:
            raise CheckpointError(f"{path}: has a tensor {prefix}.{name} that the config's network lacks")
        if own[name].shape != stored[name].shape:
            raise CheckpointError(
                f"{path}: {prefix}.{name} is {tuple(stored[name].shape)} in the file, "
                f"{tuple(own[name].shape)} in the config's network"
            )
    network.load_state_dict(stored)


def _load_optimizer(player: Player, tensors: Mapping[str, Tensor], prefix: str) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix + "."):
            index, key = name.removeprefix(prefix + ".").split(".")
            state.setdefault(int(index), {})[key] = tensor
    groups = player.optimizer.state_dict()["param_groups"]
    player.optimizer.load_state_dict({"state": state, "param_groups": groups})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, on the CPU."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that it appears whole or not at all."""
    temporary = path.with_suffix(".partial")
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, temporary, metadata=dict(metadata))
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_fitted(path: Path, tensors: Mapping[str, Tensor], images_seen: int) -> None:
    """Keep what was fitted to a run's weights after training. `images_seen`: by those weights."""
    write_tensors(path, tensors, {"images_seen": str(images_seen)})


def read_fitted(path: Path, names: Sequence[str], images_seen: int) -> dict[str, Tensor] | None:
    """What `write_fitted` kept, two or more tensors by name; None where there is none, or where it is of other weights.

    Raises:
        CheckpointError: the file does not hold these tensors.
    """
    if not path.exists():
        return None
    tensors, metadata = read_tensors(path)
    if metadata.get("images_seen") != str(images_seen):
        return None
    if set(tensors) != set(names):
        expected = f"{', '.join(names[:-1])} and {names[-1]}"
        raise CheckpointError(f"{path}: expected {expected}, found {', '.join(tensors)}")
    return tensors


def _named(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in values.items()}
