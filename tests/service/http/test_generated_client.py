"""A client that a public tool makes of `/docs.json` calls the service: the document is true, not only well-formed."""

import base64
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.registry import Registry
from tests.service import finished
from tests.service.http.pictures import encode, grey, load_png

NAME = "generated_client"


@pytest.fixture(scope="module")
def warnings(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Generates the package and makes it importable; gives what the generator had to say."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "docs.json").write_bytes(http.get("/docs.json").content)
    (folder / "config.json").write_text('{"post_hooks": []}')  # it would format the code
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", "docs.json", "--config", "config.json", "--output-path", NAME]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    sys.path.insert(0, str(folder))
    yield run.stdout + run.stderr
    sys.path.remove(str(folder))


@pytest.fixture
def client(warnings: str, service_url: str) -> Any:
    # Its answers are JSON, so that is what it must ask for: by default the service gives a picture.
    package = importlib.import_module(NAME)
    return package.Client(base_url=service_url, headers={"Accept": "application/json"})


def models(name: str) -> Any:
    return getattr(importlib.import_module(f"{NAME}.models"), name)


def call(path: str, client: Any, **arguments: Any) -> Any:
    return importlib.import_module(f"{NAME}.api.{path}").sync(client=client, **arguments)


def pixels(item: Any) -> Any:
    return load_png(base64.b64decode(item.png))


def test_all_of_the_document_is_understood_but_bodies_of_bytes(warnings: str) -> None:
    said = re.findall(r"WARNING parsing.*\n\s*(.+)", warnings)
    bodies = {"application/x-npy", "image/png", "image/jpeg", "image/webp"}
    assert {line.strip() for line in said} == {f"Unsupported content type {body}" for body in bodies}
    assert "ERROR" not in warnings


def test_sample(client: Any, registry: Registry) -> None:
    expected = finished.sample(registry.get("tiny-gan"), [7, 8, 9], truncation=0.5)
    body = models("SampleRequest")(model="tiny-gan", n=3, seed=7, truncation=0.5)
    in_the_body = call("operations.sample", client, body=body)
    in_the_query = call("operations.sample", client, model="tiny-gan", n=3, seed=7, truncation=0.5)
    for answer in (in_the_body, in_the_query):
        assert (answer.model, answer.version) == ("tiny-gan", 2)
        assert [image.seed for image in answer.images] == [7, 8, 9]
        assert np.array_equal(np.stack([pixels(image) for image in answer.images]), expected)


def test_lists_and_flags(client: Any, registry: Registry) -> None:
    model = registry.get("tiny-vae")
    keys = finished.draw(model, [3, 900, 41])
    expected = finished.interpolate(model, keys, 6, "lerp", closed=True, easing="smoothstep")
    body = models("InterpolateRequest")(
        model="tiny-vae",
        keys=[3, 900, 41],
        steps=6,
        closed=True,
        easing=models("InterpolateRequestEasing").SMOOTHSTEP,
        path=models("InterpolateRequestPath").LERP,
    )
    answer = call("operations.interpolate", client, body=body)
    assert np.array_equal(np.stack([pixels(image) for image in answer.images]), expected)
    two = models("InterpolateRequest")(model="tiny-vae", from_=3, to=keys[1].tolist(), steps=2)
    ends = call("operations.interpolate", client, body=two).images
    assert np.array_equal(np.stack([pixels(e) for e in ends]), finished.decode(model, keys[:2]))


def test_images_and_latents(client: Any, registry: Registry) -> None:
    images = grey(2)
    sent = [base64.b64encode(encode(image)).decode() for image in images]
    model = registry.get("tiny-vae")
    codes = call(
        "operations.encode", client, body=models("EncodeRequest")(model="tiny-vae", images=sent)
    ).latents
    assert np.array_equal(np.array([c.mean for c in codes], np.float32), finished.encode(model, images).mean)
    latents = models("DecodeRequest")(model="tiny-vae", latents=[code.mean for code in codes])
    shown = call("operations.decode", client, body=latents).images
    request = models("ReconstructRequest")(model="tiny-vae", images=sent)
    rebuilt = call("operations.reconstruct", client, body=request).images
    for one, other in zip(shown, rebuilt, strict=True):
        assert np.array_equal(pixels(one), pixels(other))
    assert rebuilt[0].mse > 0
    vae = call("operations.score", client, body=models("ScoreRequest")(model="tiny-vae", images=sent, k=3))
    assert vae.k == 3
    assert vae.scores[0].iw_nats < 0
    gan = call("operations.score", client, body=models("ScoreRequest")(model="tiny-gan", images=sent))
    assert 0 < gan.scores[0].probability < 1


def test_what_is_served_and_problems(client: Any) -> None:
    listed = call("models.models", client)
    assert {model.name for model in listed.models} >= {"tiny-gan", "tiny-vae"}
    problem = call("operations.sample", client, body=models("SampleRequest")(model="tiny-vae", n=0))
    assert isinstance(problem, models("Problem"))
    assert (problem.status, problem.errors[0].location) == (400, "body.n")
