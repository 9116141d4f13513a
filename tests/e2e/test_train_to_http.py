"""From images to HTTP: train a small VAE, measure it, export it, serve it in real processes, call it."""

import io
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.client import Client, LatentryError
from tests.service.server import serve
from tests.training.recipes import MINI, mini, small
from tests.training.test_loop import command


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("e2e")
    for family in ("classifier", "vae"):
        config = small(family, images=3_200, optimizer={"lr": 5e-3})
        subprocess.run(command(config, root / family), check=True, capture_output=True)
    data = ["--data", str(MINI)]
    training = [sys.executable, "-m", "training"]
    classifier = ["--classifier", str(root / "classifier")]
    subprocess.run(
        [*training, "evaluate", str(root / "vae"), *data, *classifier], check=True, capture_output=True
    )
    export = ["export", str(root / "vae"), *data, "--models", str(root / "models")]
    subprocess.run([*training, *export], check=True, capture_output=True)
    return root / "models"


def test_what_was_trained_is_what_is_served(models: Path, tmp_path: Path) -> None:
    digits = mini("test").images.transpose(0, 2, 3, 1)
    with serve(models, tmp_path) as url, Client(url) as client:
        sampled = client.sample("small-vae", 64, seed=7)
        assert sampled.images.shape == (64, 28, 28, 1)
        assert sampled.seeds == tuple(range(7, 71))
        assert sampled.images.std() > 20
        rebuilt = client.reconstruct("small-vae", digits[:50]).images
        error = np.square(rebuilt / 255.0 - digits[:50] / 255.0).mean()
        blank = np.square(digits[:50] / 255.0 - (digits[:50] / 255.0).mean(0)).mean()
        assert error < blank, "the decoder should beat the mean image"
        score = client.score("small-vae", np.concatenate([digits[:20], 255 - digits[:20]]))
        elbo = score.elbo_nats
        assert elbo is not None
        assert elbo[:20].mean() > elbo[20:].mean() + 100, "digits should look likelier than their negatives"
        with pytest.raises(LatentryError, match="small-vae"):
            client.sample("mnist-flow")


def test_seeds_give_the_same_png_bytes_on_every_worker(models: Path, tmp_path: Path) -> None:
    with serve(models, tmp_path) as url:
        answers = {
            httpx.post(f"{url}/sample", json={"model": "small-vae", "seed": 11}).content for _ in range(8)
        }
    assert len(answers) == 1
    assert Image.open(io.BytesIO(answers.pop())).size == (28, 28)
