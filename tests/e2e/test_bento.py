"""A Bento is built without a network, holds what it needs and no more, and answers like the source tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service import bundles
from tests.service.server import ROOT, serve

CLOSED = "http://127.0.0.1:9"  # nothing listens on the discard port


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packed, with tiny models, and some of what must not be."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "service", project / "service")
    (project / "requirements").mkdir()
    for name in ("bentofile.yaml", "requirements/serve.txt"):
        shutil.copy(ROOT / name, project / name)
    bundles.write_gan(project / "models")
    bundles.write_vae(project / "models")
    for decoy in ("models/tiny-gan/.2-half", "tests/models", "training/service", ".venv", "runs/models"):
        (project / decoy).mkdir(parents=True)
        (project / decoy / "decoy.py").write_text("")
    return project


@pytest.fixture(scope="module")
def store(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME with the Bento of `project` in it."""
    store = tmp_path_factory.mktemp("store")
    environment = {
        **os.environ,
        "BENTOML_HOME": str(store),
        "BENTOML_DO_NOT_TRACK": "True",
        "PIP_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), CLOSED),
    }
    command = [sys.executable, "-m", "bentoml", "build"]
    build = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert build.returncode == 0, build.stdout + build.stderr
    return store


def packed(store: Path) -> Path:
    [bento] = [path for path in (store / "bentos" / "latentry").iterdir() if path.is_dir()]
    return bento


def test_holds_the_service_and_the_models_and_nothing_else(store: Path, project: Path) -> None:
    source = packed(store) / "src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    expected = {
        str(path.relative_to(project))
        for room in ("service", "models")
        for path in (project / room).rglob("*")
        if path.is_file() and not path.match("*.pyc") and "decoy" not in path.name
    }
    assert files - {"bentofile.yaml"} == expected
    assert any(name.endswith("generate.onnx") for name in files)


def test_pins_what_the_lock_pins(store: Path) -> None:
    def pins(text: str) -> set[str]:
        return set(re.findall(r"^\S+==[^\s;]+|sha256:[0-9a-f]{64}", text, re.MULTILINE))

    lock = pins((ROOT / "requirements" / "serve.txt").read_text())
    assert any(pin.startswith("onnxruntime==") for pin in lock)
    assert pins((packed(store) / "env" / "python" / "requirements.txt").read_text()) == lock


def test_answers_the_same_bytes(store: Path, project: Path, tmp_path: Path) -> None:
    requests = [
        ("/sample", {"model": "tiny-gan", "n": 5, "seed": 7}),
        ("/interpolate", {"model": "tiny-vae", "from": 1, "to": 2, "steps": 3}),
    ]
    answers = []
    (tmp_path / "elsewhere").mkdir()
    with (
        serve(project / "models", tmp_path, workers=1) as source,
        serve(None, store, target="latentry:latest", cwd=tmp_path / "elsewhere", workers=1) as bento,
    ):
        for url in (source, bento):
            pictures = [httpx.post(url + path, json=body, timeout=30) for path, body in requests]
            assert [picture.headers["Content-Type"] for picture in pictures] == ["image/png"] * 2
            answers.append([picture.content for picture in pictures])
    assert answers[0] == answers[1]
    assert answers[0][0].startswith(b"\x89PNG\r\n")
