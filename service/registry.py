"""The models that are served: each verified, opened, warmed up and checked against golden outputs, or not there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from service import golden, manifest
from service.errors import NotFound, Unavailable
from service.manifest import BundleError, Manifest, OperationName
from service.runtime import Graph
from service.steps import Rows
from service.traffic import Traffic

# No version has a weight: all goes to the newest.
_NEWEST = Traffic({})


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
    """What is served. It never changes once made, so any number of threads may read it.

    Args:
        models: all versions of all models.
        refused: why each bundle or `traffic.json` that is not in use is not, by "<name>/<version>" or its path.
        traffic: the weights between versions, by name.
        undivided: models whose weights could not be read when the service started, and why. Who was meant to get
            which version is not known, so their requests must name one.
    """

    def __init__(
        self,
        models: Sequence[Model],
        refused: Mapping[str, str],
        traffic: Mapping[str, Traffic] = MappingProxyType({}),
        undivided: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        by_name: dict[str, dict[int, Model]] = {}
        for model in sorted(models, key=lambda m: (m.name, m.version)):
            by_name.setdefault(model.name, {})[model.version] = model
        self._models = by_name
        self.refused = MappingProxyType(dict(refused))
        self.traffic = MappingProxyType(dict(traffic))
        self.undivided = MappingProxyType(dict(undivided))

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

    def route(self, name: str, version: int | None, key: Callable[[], bytes]) -> Model:
        """The model for a request: the version that it names, or else one by the weights, if there are any.

        Args:
            key: what the choice is made by; the same for the same request. Asked for where it matters.

        Raises:
            NotFound: as `get`.
            Unavailable: as `choose`.
        """
        latest = self.get(name, version)
        if version is not None:
            return latest
        return self._models[name][self.choose(name, list(self._models[name]), key)]

    def choose(self, name: str, versions: Sequence[int], key: Callable[[], bytes]) -> int:
        """One of the `versions` (ascending) of a model for a request that names none; see `route`.

        Raises:
            Unavailable: the weights could not be read when the service started.
        """
        if (reason := self.undivided.get(name)) is not None:
            raise Unavailable(f"which version to answer with is not known; name one: {reason}")
        if (traffic := self.traffic.get(name)) is None:
            return versions[-1]
        return traffic.version(name.encode() + b"\0" + key(), versions)

    def share(self, model: Model) -> float:
        """Of the requests that name no version, the fraction that this one gets, 0 to 1."""
        versions = list(self._models[model.name])
        return self.traffic.get(model.name, _NEWEST).shares(versions)[model.version]


def load_model(folder: Path, threads: int) -> Model:
    """Verify, open, warm up and check a bundle: all of it, or nothing.

    Raises:
        BundleError: naming the file and the reason.
        Exception: whatever else is wrong with it.
    """
    bundle = manifest.read_bundle(folder)
    if is_conditional(bundle) and not bundle.class_names:
        raise BundleError(f"{folder}: generate takes a label, but the manifest has no class_names")
    outputs = golden.read(manifest.read_file(folder, golden.GOLDEN, bundle), bundle)
    graphs: dict[OperationName, Graph] = {}
    for name, operation in bundle.operations.items():
        data = manifest.read_file(folder, operation.graph, bundle)
        graph = Graph.open(data, operation, bundle.opset, threads=threads)
        graph.warm_up()
        golden.check(name, graph, outputs)
        graphs[name] = graph
    return Model(bundle, MappingProxyType(graphs), bundle.sha256(), folder)


def is_conditional(bundle: Manifest) -> bool:
    """Whether `generate` takes a label."""
    generate = bundle.operations.get("generate")
    return generate is not None and any(t.name == "label" for t in generate.inputs)
