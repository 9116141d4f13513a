"""The service runs without torch, and training knows nothing of the service but the bundle contract."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING_ONLY = {
    "torch",
    "torchvision",
    "torchmetrics",
    "lightning_fabric",
    "safetensors",
    "onnx",
    "onnxscript",
}
ROOMS = {"training", "tests", "load_tests"}


def imported(file: Path) -> set[str]:
    """Dotted names of everything that a file imports, at any depth: `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write absolute imports"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"no Python files in {room}"
    return found


@pytest.mark.parametrize("file", files("service"), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_service_imports_nothing_of_training(file: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(file)} & (TRAINING_ONLY | ROOMS)


@pytest.mark.parametrize("file", files("training"), ids=lambda file: str(file.relative_to(ROOT)))
def test_training_imports_the_contract_and_nothing_else_of_the_service(file: Path) -> None:
    modules = {name for name in imported(file) if name.partition(".")[0] == "service"}
    contract = {n for n in modules if n == "service.manifest" or n.startswith("service.manifest.")}
    assert modules <= contract | {"service"}
    assert "service" not in modules or contract  # `from service import manifest`


def test_the_models_folder_holds_no_code() -> None:
    assert not list((ROOT / "models").rglob("*.py"))


def test_no_library_of_the_service_brings_torch_in() -> None:
    script = """
import sys
import service.operations, service.registry, service.telemetry
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(ast.literal_eval(result.stdout))
    assert "onnxruntime" in loaded
    assert not loaded & (TRAINING_ONLY | ROOMS)


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """Where it does, it keeps a thread, and files in the home folder, whose content it sends."""
    script = "import service.runtime, os; print(len(os.listdir('/proc/self/task')))"
    unset = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**environment, **own, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []
