"""The README is a program: its calls are made, its Python is run, its table of settings is the settings."""

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.manifest import read_bundle
from service.settings import Settings
from tests.service.server import ROOT, serve

README = (ROOT / "README.md").read_text()
URL = "http://127.0.0.1:3000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The repository's own models, as `make serve` serves them."""
    with serve(None, tmp_path_factory.mktemp("readme")) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place to write to that has the repository's example images."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_the_curl_lines_give_the_pictures(url: str, folder: Path) -> None:
    (calls,) = (block for block in blocks("bash") if block.startswith("curl"))
    script = "set -euo pipefail\n" + calls.replace("curl ", "curl --fail-with-body -sS ").replace(URL, url)
    result = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    sizes = {path.name: Image.open(path).size for path in folder.glob("*.png")}
    assert sizes == {
        "gan.png": (224, 224),
        "vae.png": (224, 224),
        "stacked.png": (224, 224),
        "boots.png": (224, 224),
        "reconstructed.png": (112, 84),
        "path.png": (112, 112),
    }
    for name in sizes:
        pixels = np.asarray(Image.open(folder / name))
        assert 10 < pixels.mean() < 100, f"{name} should be white digits on black"
    assert '"probability"' in result.stdout


def test_the_pictures_shown_are_those_the_calls_give(url: str, folder: Path) -> None:
    """Pixels may differ by a level between CPUs; a picture of another model or another seed differs by far more."""
    test_the_curl_lines_give_the_pictures(url, folder)
    for path in folder.glob("*.png"):
        shown = np.asarray(Image.open(ROOT / "docs" / path.name)).astype(int)
        assert np.abs(shown - np.asarray(Image.open(path))).mean() < 0.5, path.name


def test_the_python_runs(url: str) -> None:
    (code,) = blocks("python")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code.replace(URL, url), "README.md", "exec"), {})  # noqa: S102 - our own README
    nats, refusal = out.getvalue().splitlines()
    assert re.fullmatch(r"-\d+\.\d+ nats", nats)
    assert refusal.startswith("400")


def test_every_make_command_exists() -> None:
    named = set(re.findall(r"^make ([a-z]+)", "\n".join(blocks("bash")), re.MULTILINE))
    assert named >= {"serve", "test", "train", "evaluate", "export", "load"}
    makefile = (ROOT / "Makefile").read_text()
    for target in named | set(re.findall(r"`make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_table_of_settings_is_the_settings(name: str) -> None:
    description = Settings.model_fields[name].description
    assert f"| `LATENTRY_{name.upper()}` | {description} |" in README


def model_row(name: str) -> str:
    """The row of the table of models, from the latest bundle's manifest."""
    folder = max((ROOT / "models" / name).iterdir(), key=lambda path: int(path.name))
    metrics = read_bundle(folder).metrics

    def shown(*keys: str, digits: str) -> str:
        return " / ".join(format(metrics[key], digits) if key in metrics else "–" for key in keys)

    # Precision and recall are of what /sample gives by default.
    default = "_fitted_prior" if "fd10k_fitted_prior" in metrics else ""
    cells = [
        f"[`{name}`](models/{name}/{folder.name}/card.md)",
        shown("mse", digits=".4f"),
        shown("elbo_nats", digits=".1f"),
        shown("fd10k", digits=",.0f"),
        shown("class_fraction_smallest", "class_fraction_largest", digits=".1%"),
        shown("fd10k_fitted_prior", digits=".0f"),
        shown(f"precision{default}", f"recall{default}", digits=".2f"),
        shown("score_auroc", "score_ece", digits=".3f"),
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize(
    "name",
    ["mnist-ae", "mnist-vae", "mnist-vae-bernoulli", "mnist-gan", "fashion-gan", "stacked-mnist-gan"],
)
def test_the_table_of_models_is_what_was_measured(name: str) -> None:
    assert model_row(name).replace(" – / – ", " – ") in README


def test_the_density_is_what_was_measured() -> None:
    metrics = read_bundle(ROOT / "models" / "mnist-vae-bernoulli" / "1").metrics
    bound, error = metrics["iw5000_all_nats"], metrics["iw5000_gap_nats_standard_error"]
    assert f"{bound:.1f} nats, with a standard error of {error:.1f}" in " ".join(README.split())


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert os.path.exists(ROOT / target), target
