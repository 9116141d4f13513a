"""What the Open Inference Protocol v2 calls a model: one graph of one of ours, `mnist-vae.encode`."""

from collections.abc import Callable
from dataclasses import dataclass

from service.errors import NotFound
from service.manifest import Operation, Tensor
from service.registry import Model, Registry
from service.runtime import Graph
from service.settings import Settings
from service.v2.schemas import ConfigTensor, Datatype, IndexEntry, ModelConfig, ModelMetadata, TensorMetadata

DATATYPES: dict[str, Datatype] = {"float32": "FP32", "int64": "INT64"}
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"


@dataclass(frozen=True)
class GraphModel:
    """One version of a v2 model. `name`: "<model>.<operation>"."""

    name: str
    model: Model
    graph: Graph

    @property
    def version(self) -> str:
        return str(self.model.version)

    @property
    def operation(self) -> Operation:
        return self.graph.operation


def listed(registry: Registry) -> list[GraphModel]:
    """Every version of every v2 model."""
    return [
        GraphModel(f"{model.name}.{operation}", model, graph)
        for model in registry.models()
        for operation, graph in model.graphs.items()
    ]


def versions(registry: Registry, name: str) -> dict[str, GraphModel]:
    """All versions of a v2 model, the latest last; a version of a model need not have every graph.

    Raises:
        NotFound: no such model; the detail lists those that there are.
    """
    of, _, wanted = name.rpartition(".")
    found = {
        str(model.version): GraphModel(name, model, graph)
        for model in registry.models()
        if model.name == of
        for operation, graph in model.graphs.items()
        if operation == wanted
    }
    if not found:
        names = ", ".join(dict.fromkeys(served.name for served in listed(registry)))
        raise NotFound(f"no model {name!r}; models: {names or 'none'}")
    return found


def find(
    registry: Registry, name: str, version: str | None = None, key: Callable[[], bytes] | None = None
) -> GraphModel:
    """A v2 model; without `version`, its latest; with a `key`, one by the weights between versions, if there are any.

    Raises:
        NotFound: no such model or version; the detail lists those that there are.
        Unavailable: see `Registry.choose`.
    """
    found = versions(registry, name)
    if version is None and key is not None:
        version = str(registry.choose(name.rpartition(".")[0], [int(v) for v in found], key))
    if version is None:
        return next(reversed(found.values()))
    if version not in found:
        raise NotFound(f"{name!r} has no version {version!r}; versions: {', '.join(found)}")
    return found[version]


def row(tensor: Tensor) -> tuple[int, ...]:
    """The shape without the batch axis."""
    return tuple(int(size) for size in tensor.shape[1:])


def has_images(operation: Operation) -> bool:
    return any(tensor.name == "image" for tensor in (*operation.inputs, *operation.outputs))


def most_rows(operation: Operation, settings: Settings) -> int:
    """The largest batch: as many images or latents as other operations take."""
    takes_images = any(tensor.name == "image" for tensor in operation.inputs)
    return settings.max_images if takes_images else settings.max_latents


def metadata(registry: Registry, name: str, version: str | None) -> ModelMetadata:
    operation = find(registry, name, version).operation
    return ModelMetadata(
        name=name,
        versions=list(versions(registry, name)),
        platform=PLATFORM,
        inputs=[_metadata(tensor) for tensor in operation.inputs],
        outputs=[_metadata(tensor) for tensor in operation.outputs],
    )


def config(registry: Registry, name: str, version: str | None, settings: Settings) -> ModelConfig:
    operation = find(registry, name, version).operation
    return ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=most_rows(operation, settings),
        input=[_config(tensor) for tensor in operation.inputs],
        output=[_config(tensor) for tensor in operation.outputs],
    )


def index(registry: Registry) -> list[IndexEntry]:
    return [IndexEntry(name=served.name, version=served.version) for served in listed(registry)]


def _metadata(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name=tensor.name, datatype=DATATYPES[tensor.dtype], shape=[-1, *row(tensor)])


def _config(tensor: Tensor) -> ConfigTensor:
    return ConfigTensor(name=tensor.name, data_type=f"TYPE_{DATATYPES[tensor.dtype]}", dims=list(row(tensor)))
