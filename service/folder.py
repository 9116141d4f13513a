"""The models folder: looked at when the service starts, and again and again while it runs.

What a look finds new is verified, opened, warmed up and checked beside what is served; then a new registry takes the
place of the old one. Requests keep the model that they began with.

| found | what happens |
| --- | --- |
| a new version | it is served, once it is whole and proven |
| a bad one | refused: what is served stays. If it was written to since the last look, it is not yet there |
| a served version that was changed | refused: what was loaded is served on; a published version never changes |
| a served version that is gone | dropped; the last of its model is served on, until a final look |
| no bundle at all, where some are served | nothing: a volume that is not mounted looks like this |
"""

import logging
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from service import manifest, traffic
from service.manifest import BundleError
from service.registry import Model, Registry, load_model
from service.traffic import Traffic
from service.verdicts import Verdicts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changes:
    """What a look did, as "<name>/<version>"; `refused` are all that are not in use now, and why."""

    loaded: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    """Why nothing could be done."""


class ModelsFolder:
    """Every `<name>/<version>/` and `<name>/traffic.json` of a folder; `registry` is what is served of it.

    A bad bundle is left out, logged, and its reason kept in `registry.refused`, with paths from the folder on: clients
    see it. It takes no other bundle with it. Nothing here raises for what lies in the folder. Files and dot-folders in
    it are not looked at. Only one thread may look at a time.

    Args:
        threads: onnxruntime threads for one run of a graph.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path = path
        self._threads = threads
        self._verdicts = Verdicts()
        self._refused: dict[str, str] = {}
        self._weights: dict[str, Traffic | str] = {}  # by model, as they were last judged
        self.registry = Registry([], {})
        self.look(final=True)
        if not self.registry.ready:
            _log.error("no usable model in %s", path)

    def look(self, *, final: bool) -> Changes:
        """See what is new, and let `registry` be what is to be served from now on.

        Args:
            final: what is not whole now is refused at once, and what is gone is dropped.
        """
        old = self.registry
        served = {str(model): model for model in old.models()}
        found, unreadable = self._bundles(served)
        if served and not found:
            fault = f"{self._path.name}/ holds no bundle: nothing is changed"
            return Changes(kept=list(served), refused=dict(old.refused), fault=fault)
        versions: dict[str, set[int]] = {}
        for key in found:
            name, _, version = key.partition("/")
            versions.setdefault(name, set()).add(int(version))
        files = {
            key: name for name in versions if os.path.lexists(self._path / (key := f"{name}/{traffic.FILE}"))
        }
        self._verdicts.keep({*found, *files})
        self._weights = {name: weights for name, weights in self._weights.items() if name in files.values()}

        gone = (
            {} if final else {model.name: key for key, model in served.items() if model.name not in versions}
        )
        models = {key: model for key, model in served.items() if key in found or key in gone.values()}
        refused = unreadable | {key: reason for key, reason in self._refused.items() if key in found}
        refused |= dict.fromkeys(
            gone.values(), "its folder is gone; it is served on as the last of its model"
        )
        for key, folder in found.items():
            read = partial(self._load, folder, served.get(key))
            verdict = self._verdicts.judge(key, folder, read, final=final)
            if isinstance(verdict, Model):
                models[key] = verdict
                refused.pop(key, None)
            elif verdict is not None:
                refused[key] = verdict

        for key, name in files.items():
            if reason := self._read_weights(key, name, versions[name], final=final):
                refused[key] = reason
        return self._replace(models, refused)

    def _bundles(self, served: dict[str, Model]) -> tuple[dict[str, Path], dict[str, str]]:
        """Bundles by key; and folders of models that cannot be read, which is not to say that nothing is there."""
        found: dict[str, Path] = {}
        unreadable: dict[str, str] = {}
        try:
            folders = sorted(path for path in self._path.iterdir() if path.is_dir())
        except OSError:
            return {}, {}
        for folder in folders:
            if folder.name.startswith("."):
                continue
            try:
                versions = manifest.versions(folder)
            except OSError as error:
                unreadable[folder.name] = f"{folder}: cannot be read: {error}"
                versions = [model.version for model in served.values() if model.name == folder.name]
            found |= {f"{folder.name}/{version}": folder / str(version) for version in versions}
        return found, unreadable

    def _load(self, folder: Path, served: Model | None) -> Model:
        if not folder.resolve().is_relative_to(self._path.resolve()):
            raise BundleError(f"{folder}: leads out of the models folder")
        if served is None:
            return load_model(folder, self._threads)
        if manifest.read_bundle(folder).sha256() != served.digest:
            raise BundleError(f"{folder}: is another bundle than the one that is served as this version")
        return served

    def _read_weights(self, key: str, name: str, versions: set[int], *, final: bool) -> str | None:
        """Why the weights between the versions of a model are refused, where they are."""
        path = self._path / key
        if (verdict := self._verdicts.judge(key, path, partial(traffic.read, path), final=final)) is not None:
            self._weights[name] = verdict
        weights = self._weights.get(name)
        if not isinstance(weights, Traffic):
            return weights
        # One that is refused has a weight in vain; one that is not there at all is an error.
        if unknown := sorted(weights.weights.keys() - versions):
            there = ", ".join(map(str, sorted(versions)))
            return f"{path}: there is no version {unknown[0]}; versions: {there}"
        return None

    def _replace(self, models: dict[str, Model], refused: dict[str, str]) -> Changes:
        old = self.registry
        weights, undivided = {}, {}
        for name, written in self._weights.items():
            reason = refused.get(f"{name}/{traffic.FILE}")
            if reason is None and isinstance(written, Traffic):
                weights[name] = written
            elif name in old.traffic:
                weights[name] = old.traffic[name]
            elif reason is not None and (name in old.undivided or not old.ready):
                undivided[name] = self._for_clients(reason)
        for key, reason in refused.items():
            if self._refused.get(key) != reason:
                _log.error("%s refused: %s", key, reason)
        self._refused = refused
        shown = {key: self._for_clients(reason) for key, reason in refused.items()}
        self.registry = Registry(list(models.values()), shown, weights, undivided)
        before = {str(model) for model in old.models()}
        return Changes(
            loaded=sorted(models.keys() - before),
            kept=sorted(models.keys() & before),
            dropped=sorted(before - models.keys()),
            refused=shown,
        )

    def _for_clients(self, reason: str) -> str:
        """Where the models folder lies is the operator's to know."""
        return reason.replace(f"{self._path}{os.sep}", "")
