"""Checkpoints: one safetensors file, replaced atomically, that a run goes on from (on the CPU bit for bit).

Tensors are named `network.<player>.*`, `average.<player>.*`, `optimizer.<player>.<parameter index>.<key>` and
`rng.cpu` / `rng.cuda`; the counters stand in the file's metadata as JSON, with a sha256 of everything, for safetensors
has no checksum. Learning rates and data order are functions of the counters, so they are not stored. Nothing is
pickled.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from training.errors import CheckpointError
from training.files import write_whole
from training.player import Player

_DIGEST = "sha256"
_DAMAGED = "put a copy of it back, or begin again with another --out"


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

    def metadata(self) -> dict[str, str]:
        """As a checkpoint has it: see `read_state`."""
        return {"state": json.dumps(asdict(self))}


def save(path: Path, state: State, players: Mapping[str, Player], averages: Mapping[str, nn.Module]) -> None:
    """Write a checkpoint; a reader finds the old file or the new one, whole, whenever this process dies.

    Raises:
        WriteError: the disk is full; the old file is there then.
    """
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    tensors |= _tensors(players, averages)
    write_tensors(path, tensors, state.metadata())


def non_finite(players: Mapping[str, Player], averages: Mapping[str, nn.Module]) -> str | None:
    """The name of a tensor in a checkpoint of these that holds a NaN or an infinity."""
    return next((name for name, t in _tensors(players, averages).items() if not t.isfinite().all()), None)


def _tensors(players: Mapping[str, Player], averages: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, player in players.items():
        tensors |= _named(f"network.{name}", player.plain.state_dict())
        for index, values in player.optimizer.state_dict()["state"].items():
            tensors |= _named(f"optimizer.{name}.{index}", values)
    for name, network in averages.items():
        tensors |= _named(f"average.{name}", network.state_dict())
    return tensors


def restore(
    path: Path, players: Mapping[str, Player], averages: Mapping[str, nn.Module], config_sha256: str
) -> State:
    """Load a checkpoint into `players` and `averages`, and torch's random state with it.

    Raises:
        CheckpointError: the file is damaged, or it is of another config.
    """
    tensors, metadata = read_tensors(path)
    state = read_state(path, metadata)
    if state.config_sha256 != config_sha256:
        raise CheckpointError(
            f"{path}: was written by another config, or by a version of this code with other keys "
            f"(config sha256 was {state.config_sha256[:12]}, now {config_sha256[:12]}); "
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


def read_state(path: Path, metadata: Mapping[str, str]) -> State:
    """The counters in the metadata of the checkpoint at `path`.

    Raises:
        CheckpointError: there are none that this version understands.
    """
    try:
        if unknown := metadata.keys() - {"state"}:
            raise ValueError(f"unknown: {min(unknown)}")
        return State(**json.loads(metadata["state"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its counters are not understood ({error!r}): it is damaged, or of another version of this code; "
            f"use that version, {_DAMAGED}"
        ) from error


def last_checkpoint(path: Path) -> str:
    """What an error says of the checkpoint that a run leaves behind."""
    if not path.exists():
        return "there is no checkpoint yet"
    state = read_state(path, read_tensors(path)[1])
    return f"the last checkpoint, {path}, is whole: it is of {state.images_seen:,} images"


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
    weights = [weight for group in player.optimizer.param_groups for weight in group["params"]]
    for position, moments in state.items():
        for key, moment in moments.items():
            if moment.shape == weights[position].shape:
                # In the layout of the weight, or the optimiser takes its slow way.
                moments[key] = torch.empty_like(weights[position], dtype=moment.dtype).copy_(moment)
    groups = player.optimizer.state_dict()["param_groups"]
    player.optimizer.load_state_dict({"state": state, "param_groups": groups})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, on the CPU. Files without a digest are of older versions.

    Raises:
        CheckpointError: the file is cut short or its content is not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata: dict[str, str] = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}; {_DAMAGED}") from error
    written = metadata.pop(_DIGEST, None)
    if written is not None and written != (found := _digest(tensors, metadata)):
        raise CheckpointError(
            f"{path}: is damaged: its content has sha256 {found[:12]}, and was written with {written[:12]}; {_DAMAGED}"
        )
    return tensors, metadata


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that it appears whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # safetensors' own way to a file leaves a temporary one of another name after each kill.
    write_whole(path, serialize(plain, {**metadata, _DIGEST: _digest(plain, metadata)}))


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


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _named(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in values.items()}
