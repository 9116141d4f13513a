"""What `make serve` installs serves, and has no torch in it."""

import json
import subprocess
from pathlib import Path

import pytest

from service.client import Client
from tests.service.server import ROOT, serve

PYTHON = ROOT / ".venv/bin/python"
TRAINING_ONLY = (
    "torch",
    "lightning",
    "onnx",
    "onnxscript",
    "sklearn",
    "scipy",
    "tensorboard",
    "locust",
    "pytest",
)


@pytest.fixture(autouse=True)
def environment() -> None:
    if not PYTHON.exists():
        pytest.fail(
            f"{PYTHON} is missing: `make test` installs the serving environment, pytest alone does not"
        )


def test_the_serving_environment_holds_its_lock_and_nothing_to_train_with() -> None:
    listed = subprocess.run(
        [PYTHON, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True
    ).stdout
    installed = {
        package["name"].lower().replace("_", "-"): package["version"] for package in json.loads(listed)
    }
    locked = {
        name.lower().replace("_", "-"): version
        for line in (ROOT / "requirements/serve.txt").read_text().splitlines()
        if "==" in line
        for name, _, version in [line.split(";")[0].split("\\")[0].strip().partition("==")]
    }
    assert len(locked) > 20
    assert {name: installed.get(name) for name in locked} == locked
    assert not set(TRAINING_ONLY) & set(installed)
    check = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    subprocess.run([PYTHON, "-c", check], check=True)


def test_the_serving_environment_serves_every_published_model(tmp_path: Path) -> None:
    with serve(None, tmp_path, python=PYTHON) as url, Client(url) as client:
        models = client.models()
        assert {model.name for model in models} >= {"mnist-ae", "mnist-vae", "mnist-gan", "mnist-classifier"}
        for model in models:
            if "sample" in model.operations:
                told = {tensor["name"] for tensor in model.graphs["generate"]["inputs"]}
                images = client.sample(model.name, 3, seed=1, label=0 if "label" in told else None).images
                assert images.shape == (3, 28, 28, model.image["channels"])
