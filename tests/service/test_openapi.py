"""The examples of the documentation fit the published models, whose recipes say what they take."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service import examples, schemas, telemetry
from service.http import answers, calls, openapi
from service.http.calls import RawRequest, parse
from service.manifest import Image
from service.settings import Settings
from service.uploads import Images, Latents
from service.v2.schemas import InferRequest

RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"
MNIST = Image(height=28, width=28, channels=1)
SCHEMAS: dict[str, type[schemas.Options]] = {
    "/sample": schemas.SampleRequest,
    "/reconstruct": schemas.ReconstructRequest,
    "/encode": schemas.EncodeRequest,
    "/decode": schemas.DecodeRequest,
    "/interpolate": schemas.InterpolateRequest,
    "/score": schemas.ScoreRequest,
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(Settings())


@pytest.mark.parametrize("path", SCHEMAS)
def test_example_is_a_request_to_a_published_model(path: str, document: dict[str, Any]) -> None:
    example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    recipe = tomllib.loads((RECIPES / f"{example['model']}.toml").read_text())
    raw = RawRequest("", "application/json", None, json.dumps(example).encode(), telemetry.Record("x", "id"))
    options = parse(raw, SCHEMAS[path], answers.IMAGE_TYPES, Settings()).options
    images: Images | None = getattr(options, "images", None)
    if images is not None:
        (zero,) = images.decode(MNIST, Settings())
        assert zero[14, 9, 0] > 200  # the stroke
        assert zero[14, 14, 0] == 0  # the hole
    latents: Latents | None = getattr(options, "latents", None)
    if latents is not None:
        assert latents.decode(recipe["model"]["latent_dim"], Settings()).shape[0] == 1


def test_example_of_v2_is_a_request_to_a_published_graph(document: dict[str, Any]) -> None:
    infer = document["paths"]["/v2/models/{model}/infer"]["post"]
    name, _, graph = infer["parameters"][0]["example"].partition(".")
    recipe = tomllib.loads((RECIPES / f"{name}.toml").read_text())
    (z,) = calls.check(infer["requestBody"]["content"]["application/json"]["example"], InferRequest).inputs
    assert (graph, z.name, z.datatype) == ("generate", "z", "FP32")
    assert z.shape == [1, recipe["model"]["latent_dim"]] == [1, len(z.data or ())]


def test_parameters_of_v2_may_be_null_as_they_are_described(document: dict[str, Any]) -> None:
    (z,) = InferRequest.model_validate(
        {"inputs": [{"name": "z", "shape": [1], "datatype": "FP32", "parameters": None}], "parameters": None}
    ).inputs
    assert z.parameters.binary_data_size is None
    for name in ("InferRequest", "InputTensor", "WantedOutput"):
        described = document["components"]["schemas"][name]["properties"]["parameters"]
        assert {"type": "null"} in described["anyOf"]


def test_limits_are_those_of_the_settings() -> None:
    for largest in (5.0, 7.0):
        named = openapi.document(Settings(max_latent=largest, max_latents=3))["components"]["schemas"]
        for latents in (
            named["DecodeRequest"]["properties"]["latents"],
            named["SampleRequest"]["properties"]["latents"]["anyOf"][0],
        ):
            assert latents["maxItems"] == 3
            assert latents["items"]["items"] == {"type": "number", "minimum": -largest, "maximum": largest}


def test_the_page_fills_in_nothing_beside_the_example(document: dict[str, Any]) -> None:
    """A default or an example in the query would be sent, and contradict a body that was edited."""
    for path in SCHEMAS:
        post = document["paths"][path]["post"]
        fields = [p["schema"] for p in post["parameters"] if "schema" in p]
        assert fields
        assert not any(key in field for field in fields for key in ("default", "example", "examples"))
        assert "null" not in json.dumps(fields)
        form = post["requestBody"]["content"].get("multipart/form-data")
        assert form is None or list(form["schema"]["properties"]) == ["images"]


def test_each_error_has_an_example_of_its_own_status() -> None:
    errors = openapi.document(Settings())["components"]["responses"]
    examples_ = [e["content"]["application/problem+json"]["example"] for e in errors.values()]
    assert [e["status"] for e in examples_] == [error.status for error in examples.ERRORS]
    assert len({e["status"] for e in examples_}) == len(errors) == 10
