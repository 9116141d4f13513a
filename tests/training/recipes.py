"""Small configs and data for tests: every family, trained in a second."""

import json
from pathlib import Path
from typing import Any

from training.config import Config, parse
from training.datasets import Dataset, load

MINI = Path(__file__).parents[1] / "data" / "mnist-mini"

MODELS: dict[str, dict[str, Any]] = {
    "ae": {"latent_dim": 4, "encoder_channels": [4, 4, 8], "decoder_channels": [8, 4]},
    "vae": {
        "latent_dim": 4,
        "encoder_channels": [4, 4, 8],
        "decoder_channels": [8, 4],
        "likelihood": "bernoulli",
    },
    "gan": {
        "latent_dim": 8,
        "generator_channels": [8, 4],
        "discriminator_channels": [4, 4, 8],
        "discriminator_features": 16,
        "loss": "nonsaturating",
        "coupling": "minibatch-discrimination",
        "kernels": 4,
        "kernel_dim": 4,
        "r1_gamma": 1.0,
        "penalty_every": 2,
    },
    "classifier": {"channels": [4, 8], "features": 16, "rotate_degrees": 5, "shift_pixels": 1},
}


def small(family: str, model: dict[str, Any] | None = None, **changes: Any) -> Config:
    """A config of `family` that trains in a second on MNIST's first images."""
    fields: dict[str, Any] = {
        "name": f"small-{family}",
        "description": "for tests",
        "family": family,
        "dataset": "mnist",
        "images": 256,
        "batch_size": 32,
        "ema_half_life_images": 64,
        "log_every_images": 32,
        "grid_every_images": 128,
        "checkpoint_every_images": 64,
        "optimizer": {"lr": 1e-3, "warmup_images": 64, "decay": "cosine"},
        **changes,
    }
    return parse({**fields, "model": MODELS[family] | (model or {})})


def toml(config: Config) -> str:
    """The recipe of a config."""

    def lines(table: dict[str, Any]) -> str:
        return "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items() if not isinstance(v, dict))

    fields = json.loads(config.to_json())
    return lines(fields) + "".join(f"[{k}]\n{lines(fields[k])}" for k in ("optimizer", "model"))


def mini(split: str = "train") -> Dataset:
    assert split in {"train", "test"}
    return load("mnist", "train" if split == "train" else "test", MINI)
