"""A trained model, read from a run folder or from a published bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training import class_correction, priors
from training.checkpoint import State, load_network, read_state, read_tensors
from training.class_correction import ClassCorrection, CorrectedDiscriminator
from training.config import Config, load_json
from training.datasets import Dataset, spread
from training.errors import CheckpointError
from training.families import Family, build
from training.families.gan import GAN
from training.families.vae import VAE
from training.half import halved, round_weights
from training.networks import InTurn, ServedDiscriminator
from training.priors import Mixture

MODELS = Path("models")


@dataclass(frozen=True)
class Trained:
    folder: Path
    config: Config
    family: Family
    networks: Mapping[str, nn.Module]
    """By player name, in evaluation mode; weight averages where the family has them."""
    state: State
    prior: Mixture | None = None
    """Fitted afterwards to the codes of the training images; see `fitted_prior`."""
    correction: ClassCorrection | None = None
    """Of the discriminator's score, fitted afterwards; see `fitted_correction`."""

    @property
    def classes(self) -> int:
        """Of a model that is conditional on the class; 0: it is not."""
        return self.family.classes if isinstance(self.family, GAN | VAE) else 0

    def told(self, data: Dataset) -> npt.NDArray[np.int64] | None:
        """The classes (N,) of `data`'s images, where the model is conditional on them."""
        return data.labels if self.classes else None

    def of_latents(self, generate: nn.Module) -> nn.Module:
        """`generate` as a function of latents alone: a conditional one draws the classes in turn."""
        return InTurn(generate, self.classes) if self.classes else generate

    def served(self, operations: Mapping[str, nn.Module]) -> nn.Module:
        """Noise N(0, I) -> images, as `/sample` draws them where no prior is asked for."""
        generate = self.of_latents(operations["generate"])
        return nn.Sequential(operations["prior"], generate) if "prior" in operations else generate

    def operations(self, train: Dataset, device: torch.device) -> dict[str, nn.Module]:
        """The modules that are evaluated and exported. `train` is the training split."""
        # One less than a batch of one process: with the image to score they make a batch of the size trained with.
        n = self.config.batch_size // self.config.accumulate // self.state.ranks - 1
        reference = torch.from_numpy(spread(train.images, n)).to(device).float() / 255
        modules = self.family.operations(self.networks, reference)
        if self.prior is not None:
            modules["prior"] = self.prior.to(device)
        discriminate = modules.get("discriminate")
        if self.correction is not None and isinstance(discriminate, ServedDiscriminator):
            modules["discriminate"] = CorrectedDiscriminator(discriminate, self.correction.to(device))
        return {name: module.eval() for name, module in modules.items()}


def resolve(target: str) -> Path:
    """A folder with config and checkpoint: a path, `NAME` or `NAME/VERSION` of a published model, or `runs/NAME`.

    Raises:
        CheckpointError: there is none; the message lists where it was looked for.
    """
    candidates = [Path(target), MODELS / target, *_latest(MODELS / target), Path("runs") / target]
    for folder in candidates:
        if (folder / "config.json").is_file() and (folder / "checkpoint.safetensors").is_file():
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise CheckpointError(
        f"no trained model {target!r}: looked for config.json and checkpoint.safetensors in {looked}"
    )


def load_trained(folder: Path, data: Dataset, device: torch.device | str = "cpu") -> Trained:
    """Read the weights in `folder`; `data` is any split of the dataset trained on, for its shape and classes.

    Those of a run are rounded as they would be published.
    """
    config = load_json(folder / "config.json")
    _, channels, height, width = data.images.shape
    family = build(config.model, (channels, height, width), len(data.class_names or ()))
    path = folder / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    state = read_state(path, metadata)
    networks = {name: network for name, network in family.networks.items() if name not in family.helpers}
    for name, network in networks.items():
        load_network(network, tensors, _prefix(family, name), path)
        if not (folder / "manifest.json").exists():
            round_weights(network)
        network.to(device).eval().requires_grad_(False)
    prior = priors.read(folder, state.images_seen)
    correction = class_correction.read(folder, state.images_seen)
    return Trained(folder, config, family, networks, state, prior, correction)


def published_tensors(trained: Trained) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What the checkpoint of its bundle holds: the weights, and the counters."""
    return {
        f"{_prefix(trained.family, name)}.{key}": halved(tensor)
        for name, network in trained.networks.items()
        for key, tensor in network.state_dict().items()
    }, trained.state.metadata()


def _prefix(family: Family, name: str) -> str:
    return f"average.{name}" if name in family.averaged else f"network.{name}"


def _latest(folder: Path) -> list[Path]:
    versions = [p for p in folder.glob("*") if p.name.isdigit()]
    return [max(versions, key=lambda p: int(p.name))] if versions else []
