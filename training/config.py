"""What a run is: a frozen tree of dataclasses, read from a recipe and written beside the weights."""

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.errors import ConfigError
from training.families import CONFIGS, FamilyConfig

AT_LEAST_ONE = (
    "latent_dim",
    "features",
    "discriminator_features",
    "kernels",
    "kernel_dim",
    "penalty_every",
    "importance_samples",
    "flow_width",
)
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float
    """Peak learning rate of Adam."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    """Decoupled (AdamW) when above 0."""
    warmup_images: int = 0
    """Linear warm-up from 0."""
    decay: Literal["constant", "cosine"] = "constant"
    """After the warm-up; cosine ends at 0 when `images` is reached."""


@dataclass(frozen=True)
class Config:
    name: str
    """Name of the run and of the published model."""
    description: str
    dataset: str
    """A name that `training.data` knows."""
    images: int
    """Training images to see in all, over all devices: the length of the run."""
    batch_size: int
    """Images an optimiser step, over all devices and micro-batches."""
    optimizer: OptimizerConfig
    model: FamilyConfig
    family: str
    seed: int = 0
    accumulate: int = 1
    """Micro-batches an optimiser step."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """bf16-mixed for GPUs, and CPUs that compute in it (on others: 32-true, see `training.precision`); fp16 is not
    offered, since GAN penalties overflow in it."""
    ema_half_life_images: int = 0
    """Half-life of the weight average that is evaluated and exported; 0: the last weights are."""
    log_every_images: int = 6_400
    grid_every_images: int = 120_000
    checkpoint_every_images: int = 60_000

    def __post_init__(self) -> None:
        for key in (
            "images",
            "batch_size",
            "accumulate",
            *(k for k in vars(self) if k.endswith("_every_images")),
        ):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} = {getattr(self, key)}: must be at least 1")
        for key in ("lr", "warmup_images", "weight_decay"):
            if getattr(self.optimizer, key) < 0:
                raise ConfigError(f"optimizer.{key} = {getattr(self.optimizer, key)}: must not be negative")
        for key, value in vars(self.model).items():
            if isinstance(value, int | float) and value < 0:
                raise ConfigError(f"model.{key} = {value}: must not be negative")
            if isinstance(value, int) and key in AT_LEAST_ONE and value < 1:
                raise ConfigError(f"model.{key} = {value}: must be at least 1")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"batch_size = {self.batch_size}: must be a multiple of accumulate = {self.accumulate}"
            )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def recipes() -> dict[str, Path]:
    """Recipe files by name, sorted."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}


def load_recipe(name: str) -> Config:
    """Read `recipes/<name>.toml`, or the TOML file that `name` is a path of."""
    path = recipes().get(name, Path(name))
    if not path.is_file():
        raise ConfigError(f"no recipe {name!r}: choose one of {', '.join(recipes())}, or give a .toml file")
    try:
        return parse(tomllib.loads(path.read_text()))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path.name}: {error}") from error


def load_json(path: Path) -> Config:
    """Read the `config.json` that lies beside the weights."""
    try:
        return parse(json.loads(path.read_text()))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(data: dict[str, Any]) -> Config:
    family = data.get("family")
    if family not in CONFIGS:
        raise ConfigError(f"family = {family!r}: choose one of {', '.join(CONFIGS)}")
    model = _dataclass(CONFIGS[family], data.get("model", {}), "model")
    rest = {key: value for key, value in data.items() if key != "model"}
    config = _dataclass(Config, rest, "", given={"model": model})
    assert isinstance(config, Config)  # noqa: S101 - narrows the type, checks no input
    return config


def _dataclass(cls: type, data: object, where: str, given: dict[str, Any] | None = None) -> Any:
    """Build the dataclass `cls` from parsed TOML or JSON: unknown and missing keys and wrong types are refused."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} = {data!r}: must be a table")
    given = given or {}
    prefix = f"{where}." if where else ""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    if unknown := sorted(set(data) - set(fields)):
        raise ConfigError(f"{prefix}{unknown[0]}: unknown key; there are {', '.join(fields)}")
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(data) - set(given)):
        raise ConfigError(f"{prefix}{missing[0]}: missing")
    values = {key: _value(hints[key], value, prefix + key) for key, value in data.items()}
    try:
        return cls(**values, **given)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{prefix}{error}") from error


def _value(hint: Any, value: object, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} = {value!r}: choose one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} = {value!r}: must be a list")
        inner = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(inner) != len(value):
            raise ConfigError(f"{where} = {value!r}: must have {len(inner)} entries")
        return tuple(_value(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(inner, value, strict=True)))
    if origin is types.UnionType:
        if value is None:
            return None
        return _value(next(a for a in args if a is not types.NoneType), value, where)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), value, where)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} = {value!r}: must be a {hint.__name__}")
    return value
