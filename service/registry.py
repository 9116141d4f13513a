"""The models that are served: found, verified, opened, warmed up and checked against golden outputs."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service import manifest
from service.errors import NotFound
from service.manifest import BundleError, Manifest, OperationName
from service.runtime import Graph
from service.steps import Rows

GOLDEN = "golden.npz"
GOLDEN_TOLERANCE = 1e-4
# Rows that are run alone and compared bit for bit with themselves in a batch.
_LONE_ROWS = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """One version of a model, ready to run. `digest` is the sha256 of the manifest."""

    manifest: Manifest
    graphs: Mapping[OperationName, Graph]
    digest: str
    folder: Path
    chains: dict[bool, Rows] = field(default_factory=dict, compare=False, repr=False)
    """Of graphs, made by the operations when they are first wanted."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def graph(self, name: OperationName) -> Graph:
        """The graph of an operation.

        Raises:
            NotFound: the model has none; the detail lists those that it has.
        """
        try:
            return self.graphs[name]
        except KeyError:
            raise NotFound(
                f"{self} has no {name!r} graph; it has: {', '.join(sorted(self.graphs))}"
            ) from None


class Registry:
    """What is served. It never changes once made, so any number of threads may read it."""

    def __init__(self, models: list[Model], refused: Mapping[str, str]) -> None:
        by_name: dict[str, dict[int, Model]] = {}
        for model in sorted(models, key=lambda m: (m.name, m.version)):
            by_name.setdefault(model.name, {})[model.version] = model
        self._models = by_name
        self.refused = MappingProxyType(dict(refused))

    @classmethod
    def load(cls, models_dir: Path, threads: int = 1) -> Self:
        """Load every `models_dir/<name>/<version>/`.

        A bad bundle is left out, logged, and its reason kept in `refused` under "<name>/<version>", with
        paths from `models_dir` on: clients see it. It takes no other bundle with it. This never raises for
        what lies in the folder.

        Args:
            models_dir: the models folder. Files and dot-folders in it are not looked at.
            threads: onnxruntime threads for one run of a graph.
        """
        models: list[Model] = []
        refused: dict[str, str] = {}
        for key, folder in _bundle_folders(models_dir):
            try:
                models.append(_load_model(folder, threads))
            except BundleError as error:
                refused[key] = _without(models_dir, str(error))
                _log.error("bundle %s refused: %s", key, error)
            except Exception as error:  # whatever is wrong with one bundle, the others are served
                refused[key] = _without(models_dir, f"{folder}: {type(error).__name__}: {error}")
                _log.exception("bundle %s refused", key)
        if not models:
            _log.error("no usable model in %s", models_dir)
        return cls(models, refused)

    @property
    def ready(self) -> bool:
        """Whether there is anything to serve."""
        return bool(self._models)

    def models(self) -> list[Model]:
        """Every version of every model, by name, then version."""
        return [model for versions in self._models.values() for model in versions.values()]

    def get(self, name: str, version: int | None = None) -> Model:
        """A model; without `version`, its latest.

        Raises:
            NotFound: no such model or version; the detail lists those that there are.
        """
        versions = self._models.get(name)
        if versions is None:
            raise NotFound(f"no model {name!r}; models: {', '.join(self._models) or 'none'}")
        if version is None:
            version = max(versions)
        if version not in versions:
            raise NotFound(f"{name!r} has no version {version}; versions: {', '.join(map(str, versions))}")
        return versions[version]


def _bundle_folders(models_dir: Path) -> list[tuple[str, Path]]:
    if not models_dir.is_dir():
        return []
    return [
        (f"{folder.name}/{version}", folder / str(version))
        for folder in sorted(models_dir.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for version in manifest.versions(folder)
    ]


def _without(models_dir: Path, reason: str) -> str:
    """Where the models folder lies is the operator's to know."""
    return reason.replace(f"{models_dir}{os.sep}", "")


def _load_model(folder: Path, threads: int) -> Model:
    bundle = manifest.read_bundle(folder)
    if is_conditional(bundle) and not bundle.class_names:
        raise BundleError(f"{folder}: generate takes a label, but the manifest has no class_names")
    golden = _read_golden(folder, bundle)
    graphs: dict[OperationName, Graph] = {}
    for name, operation in bundle.operations.items():
        graph = Graph.open(folder / operation.graph, operation, bundle.opset, threads=threads)
        graph.warm_up()
        _check_golden(name, graph, golden)
        graphs[name] = graph
    return Model(bundle, MappingProxyType(graphs), bundle.sha256(), folder)


def is_conditional(bundle: Manifest) -> bool:
    """Whether `generate` takes a label."""
    generate = bundle.operations.get("generate")
    return generate is not None and any(t.name == "label" for t in generate.inputs)


def _read_golden(folder: Path, bundle: Manifest) -> dict[str, NDArray[Any]]:
    """Arrays named "<operation>.<tensor>", at least two rows each."""
    if GOLDEN not in bundle.files:
        raise BundleError(f"{folder / GOLDEN}: missing; a bundle must hold golden inputs and outputs")
    with np.load(folder / GOLDEN, allow_pickle=False) as archive:
        golden: dict[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    expected = {
        f"{name}.{tensor.name}"
        for name, operation in bundle.operations.items()
        for tensor in (*operation.inputs, *operation.outputs)
    }
    if golden.keys() != expected:
        raise BundleError(f"{folder / GOLDEN}: holds {sorted(golden)}; expected {sorted(expected)}")
    if short := sorted(name for name, array in golden.items() if array.ndim == 0 or len(array) < 2):
        raise BundleError(f"{folder / GOLDEN}: {short[0]} has fewer than two rows")
    return golden


def _check_golden(name: OperationName, graph: Graph, golden: Mapping[str, NDArray[Any]]) -> None:
    """The graph computes here what it computed where it was made, and rows do not see each other.

    Raises:
        BundleError: an output is off by more than `GOLDEN_TOLERANCE`, or depends on the batch.
        ValueError: the golden inputs do not fit the graph.
    """
    operation = graph.operation
    inputs = {t.name: golden[f"{name}.{t.name}"] for t in operation.inputs}
    together = graph.run(**inputs)
    for tensor, got in zip(operation.outputs, together, strict=True):
        key = f"{name}.{tensor.name}"
        expected = golden[key]
        if got.shape != expected.shape:
            raise BundleError(f"{GOLDEN}: {key} has shape {expected.shape}; the graph gives {got.shape}")
        difference = float(np.abs(got.astype(np.float64) - expected).max())
        if not difference <= GOLDEN_TOLERANCE:  # NaN is refused too
            raise BundleError(
                f"{operation.graph}: {tensor.name} differs from {GOLDEN} by {difference:.3g}; "
                f"allowed: {GOLDEN_TOLERANCE:g}"
            )
    for row in range(min(_LONE_ROWS, len(together[0]))):
        alone = graph.run(**{key: value[row : row + 1] for key, value in inputs.items()})
        for tensor, one, all_ in zip(operation.outputs, alone, together, strict=True):
            if one.tobytes() != all_[row : row + 1].tobytes():
                raise BundleError(
                    f"{operation.graph}: {tensor.name} of golden row {row} is not bit-equal alone and in a "
                    "batch; an output must depend on its own row only"
                )
