"""Versions of a model that come and go amid requests, bad ones among them."""

import hashlib
import io
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import numpy as np
import onnx
from onnx import numpy_helper

from load_tests import processes
from load_tests.chaos.promises import MIB, Promise
from service import codecs, golden, manifest, operations
from service.registry import load_model
from service.runtime import Graph
from service.steps import finish
from tests.service.server import Service

GROWTH = 0.05
EVERY_NTH_BAD = 3
KEPT = 3
"""Versions that are in the folder at a time."""
CLIENTS = 3
SEEDS = 8
N, LONG_N = 5, 300
"""Images of a request; every third is long: it is sent in parts, of one version."""
SAMPLES, SAMPLE_EVERY_S = 5, 0.2
SETTLE_S = 1.0
LOOKS, LOOK_EVERY = 4, 3
"""Looks at the memory before and after, of which the mean counts, and versions between two of them. What a session
keeps of onnxruntime's arena lies wherever there was room when it was opened: amid requests within what their runs took,
up to 3 MiB a worker, which then cannot be given back as long as that version stays."""

Publish = Callable[[Path, int], Path]
"""Writes a version of the model into a models folder; gives its own folder. No two give the same images."""


@dataclass(frozen=True)
class Reloads:
    """Memory: private bytes of all workers together, at rest, with one version loaded: the mean of LOOKS looks.

    `used`: versions that answered; `bad_used`: damaged ones that did; `other_bytes`: answers with other bytes than the
    version that they name gives, computed in another process.
    """

    published: int
    bad: int
    used: int
    bad_used: int
    answers: int
    failures: tuple[str, ...]
    other_bytes: int
    before_bytes: int
    after_bytes: int

    @property
    def growth(self) -> float:
        return self.after_bytes / self.before_bytes - 1

    def promises(self) -> list[Promise]:
        return [
            Promise(
                "models come and go without a failed request, and a bad one is never used",
                f"{self.published} versions, {self.bad} of them bad: of {self.answers:,} requests "
                f"{len(self.failures)} failed; {self.used} versions answered, {self.bad_used} of them bad",
                not self.failures and not self.bad_used and self.used > 1,
            ),
            Promise(
                "every answer is, byte for byte, what the version that it names gives",
                f"{self.other_bytes} of {self.answers:,} differ",
                self.answers > 0 and not self.other_bytes,
            ),
            Promise(
                f"memory ends within {GROWTH:.0%} of where it began",
                f"{self.after_bytes / MIB:.1f} MiB after {self.before_bytes / MIB:.1f} ({self.growth:+.1%})",
                self.growth <= GROWTH,
            ),
        ]


class Sampled(NamedTuple):
    """An answer. `n`: how many images it should have."""

    seed: int
    n: int
    version: int
    digest: bytes


class Clients:
    """Requests without pause, by a few threads, that name no version: `with Clients(url, "mnist-gan") as clients:`."""

    def __init__(self, url: str, model: str) -> None:
        self.answers: list[Sampled] = []
        self.failures: list[str] = []
        self._url, self._model = url, model
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]

    def _ask(self, first: int) -> None:
        number = first
        with httpx.Client(base_url=self._url, timeout=30, headers={"Accept": "application/x-npy"}) as http:
            while not self._stop.is_set():
                number += CLIENTS + 1
                seed, n = number % SEEDS, LONG_N if number % 3 == 0 else N
                try:
                    answer = http.post(f"/sample?model={self._model}&seed={seed}&n={n}").raise_for_status()
                    version = int(answer.headers["x-latentry-model"].partition("/")[2])
                    self.answers.append(Sampled(seed, n, version, _digest(answer.content)))
                except Exception as error:
                    self.failures.append(repr(error))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def reloads(
    service: Service,
    model: str,
    root: Path,
    away: Path,
    publish: Publish,
    *,
    versions: int = 30,
    every_s: float = 2.0,
    warm_up: int = 15,
) -> Reloads:
    """Publish versions of `model`, of which there is one in `root`, and remove the older ones, amid requests.

    Args:
        service: with `admin`.
        root: its models folder.
        away: a folder on the same file system, where every version ends up.
        warm_up: versions that come and go before the memory is measured for the first time: a worker shares its
            parent's pages until it writes to them, which takes some versions, and not in all workers as many.
    """
    first = min(manifest.versions(root / model))
    parts = [warm_up, *[LOOK_EVERY] * (LOOKS - 1), versions, *[LOOK_EVERY] * (LOOKS - 1)]
    numbers = range(first + 1, first + 1 + sum(parts))
    bad = {number for number in numbers if number % EVERY_NTH_BAD == 0}
    storm = _Storm(root, away, model, publish, bad)
    clients, levels, at = [], [], 0
    for part in parts:
        clients.append(Clients(service.url, model))
        with clients[-1]:
            storm.blow(numbers[at : at + part], every_s)
        at += part
        levels.append(storm.settled_bytes(service))
    storm.remove(manifest.versions(root / model))
    answers = [answer for each in clients for answer in each.answers]
    used = {answer.version for answer in answers}
    return Reloads(
        published=len(numbers),
        bad=len(bad),
        used=len(used),
        bad_used=len(used & bad),
        answers=len(answers),
        failures=tuple(failure for each in clients for failure in each.failures),
        other_bytes=_other_bytes(answers, away / model),
        before_bytes=int(statistics.mean(levels[:LOOKS])),
        after_bytes=int(statistics.mean(levels[LOOKS:])),
    )


class _Storm:
    def __init__(self, root: Path, away: Path, model: str, publish: Publish, bad: set[int]) -> None:
        self._root, self._away, self._model, self._publish = root, away, model, publish
        self._bad = bad
        (away / model).mkdir(parents=True)

    def blow(self, numbers: range, every_s: float) -> None:
        """One version after the other; the oldest go."""
        for number in numbers:
            began_s = time.monotonic()
            folder = self._publish(
                self._away, number
            )  # in the models folder it is to appear whole, and as bad as it is
            if number in self._bad:
                damage(folder)
            folder.rename(self._root / self._model / str(number))
            self.remove(manifest.versions(self._root / self._model)[:-KEPT])
            time.sleep(max(0.0, every_s - (time.monotonic() - began_s)))

    def remove(self, versions: list[int]) -> None:
        for version in versions:
            (self._root / self._model / str(version)).rename(self._away / self._model / str(version))

    def settled_bytes(self, service: Service) -> int:
        """Of the workers, with the newest good version alone, and no requests."""
        there = manifest.versions(self._root / self._model)
        good = [version for version in there if version not in self._bad]
        self.remove([version for version in there if version != good[-1]])
        httpx.post(f"{service.url}/admin/reload", timeout=60).raise_for_status()
        time.sleep(SETTLE_S)
        samples = []
        for _ in range(SAMPLES):
            samples.append(sum(processes.held(pid).uss_bytes for pid in service.workers()))
            time.sleep(SAMPLE_EVERY_S)
        return int(statistics.median(samples))


def damage(folder: Path) -> None:
    """Change one byte of a graph: its size stays, its digest does not."""
    graph = min(folder.glob("*.onnx"))
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def copy_of(source: Path) -> Publish:
    """Publishes copies of a bundle whose generators differ in their first weights, by a thousandth a version."""
    bundle = manifest.read_bundle(source)
    files = {name: manifest.read_file(source, name, bundle) for name in bundle.files}
    operation = bundle.operations["generate"]

    def publish(root: Path, version: int) -> Path:
        graph = _scaled(files[operation.graph], 1 + version / 1000)
        outputs = golden.read(files[golden.GOLDEN], bundle)
        inputs = {tensor.name: outputs[f"generate.{tensor.name}"] for tensor in operation.inputs}
        (outputs["generate.image"],) = Graph.open(graph, operation, bundle.opset).run(**inputs)
        fields = bundle.model_dump(exclude={"schema_version", "files"}) | {"version": version}
        changed = {operation.graph: graph, golden.GOLDEN: _npz(outputs)}
        return manifest.write_bundle(root, fields, files | changed)

    return publish


def _scaled(graph: bytes, factor: float) -> bytes:
    model = onnx.load_model_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
            break
    return bytes(model.SerializeToString())


def _npz(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _other_bytes(answers: list[Sampled], folder: Path) -> int:
    """How many answers are not what the version that they name gives here."""
    count = 0
    for version in sorted({answer.version for answer in answers}):
        model = load_model(folder / str(version), threads=1)
        given: dict[tuple[int, int], bytes] = {}
        for answer in answers:
            if answer.version != version:
                continue
            key = (answer.seed, answer.n)
            if key not in given:
                pictures = finish(operations.sample(model, range(answer.seed, answer.seed + answer.n))).images
                given[key] = _digest(codecs.encode_npy(pictures))
            count += answer.digest != given[key]
    return count


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
