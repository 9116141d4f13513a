"""Where the service's memory, the time of its start and its disk go: `.venv/bin/python -m load_tests.footprint`.

Prints two Markdown tables, which docs/footprint.md holds. Needs the serving environment alone; Linux (/proc).
"""

import gc
import importlib
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMALLEST_MIB = 2
PACKAGES_SHOWN = 12


def private_mib() -> float:
    """What the process would give back if it ended: its own pages, none that it shares with other processes' files."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"Private_\w+:\s+(\d+) kB", text)) / 1024


def start() -> list[tuple[str, float, float]]:
    """MiB and seconds of each step of the start, in their order; all in one thread, unlike the launcher."""

    def load_models() -> None:
        kept.append(importlib.import_module("service.folder").ModelsFolder(ROOT / "models"))

    def run_a_batch() -> None:
        names = ("latents", "offers", "registry", "operations", "steps")
        latents, offers, registry, operations, steps = (
            importlib.import_module(f"service.{name}") for name in names
        )
        for model in kept[0].registry.models():
            if "generate" in model.graphs:
                keys = latents.from_seeds(range(2), offers.latent_dim(model))
                labels = [0] * 64 if registry.is_conditional(model.manifest) else None
                steps.finish(operations.interpolate(model, keys, 64, labels=labels))

    kept: list[Any] = []
    stages: list[tuple[str, Callable[[], object]]] = [
        ("numpy", partial(importlib.import_module, "numpy")),
        ("onnxruntime", partial(importlib.import_module, "onnxruntime")),
        ("pydantic, Pillow, prometheus-client", _import_ours),
        ("bentoml", partial(importlib.import_module, "_bentoml_impl.server.app")),
        ("our service", partial(importlib.import_module, "service.app")),
        ("the models, opened and warmed up", load_models),
        ("a run of 64 images of each", run_a_batch),
    ]
    gc.disable()  # as the launcher does
    found = [("Python", private_mib(), time.process_time())]
    for name, stage in stages:
        before, begin = private_mib(), time.perf_counter()
        stage()
        seconds = time.perf_counter() - begin
        found.append((name, private_mib() - before, seconds))
    return found


def _import_ours() -> None:
    for name in ("pydantic", "pydantic_settings", "PIL.Image", "prometheus_client"):
        importlib.import_module(name)


def packages() -> list[tuple[str, float]]:
    """MiB on the disk of the largest entries of site-packages, the largest first, and of the rest."""
    folder = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    sizes = {
        entry.name: sum(f.lstat().st_blocks * 512 for f in (entry, *entry.rglob("*"))) / 2**20
        for entry in folder.iterdir()
    }
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    shown = [item for item in ordered[:PACKAGES_SHOWN] if item[1] >= SMALLEST_MIB]
    return [*shown, ("the rest", sum(sizes.values()) - sum(size for _, size in shown))]


def main() -> None:
    steps = start()
    print("| step | MiB | s |\n| --- | --- | --- |")
    for name, size, seconds in [
        *steps,
        ("**all**", sum(step[1] for step in steps), sum(step[2] for step in steps)),
    ]:
        print(f"| {name} | {size:.0f} | {seconds:.2f} |")
    sizes = packages()
    print("\n| package | MiB |\n| --- | --- |")
    for name, size in [*sizes, ("**all**", sum(entry[1] for entry in sizes))]:
        print(f"| {name} | {size:.0f} |")


if __name__ == "__main__":
    main()
