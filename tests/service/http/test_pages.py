"""The GET side: models, health, metrics, documentation; and what every answer carries."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from service.http.gateway import OPERATIONS, PATHS
from service.v2 import endpoints as v2
from tests.service.http.conftest import settled_metrics
from tests.service.http.test_bad_requests import assert_problem
from tests.service.server import serve


def test_models(http: httpx.Client) -> None:
    answer = http.get("/models").json()
    listed = [(m["name"], m["version"], m["latest"]) for m in answer["models"]]
    assert ("tiny-gan", 1, False) in listed
    assert ("tiny-gan", 2, True) in listed
    assert answer["refused"] == {}
    gan = http.get("/models/tiny-gan").json()["models"]
    assert gan == [model for model in answer["models"] if model["name"] == "tiny-gan"]
    assert [model["traffic"] for model in gan] == [0.0, 1.0]
    assert gan[1]["operations"] == ["sample", "decode", "interpolate", "score"]
    assert gan[1]["image"] == {"height": 8, "width": 8, "channels": 1}
    assert gan[1]["graphs"]["generate"]["inputs"] == [{"name": "z", "dtype": "float32", "shape": ["N", 4]}]
    assert re.fullmatch("[0-9a-f]{64}", gan[1]["sha256"])
    assert gan[1]["metrics"] == {"test_mse": 0.25}


def test_health(http: httpx.Client) -> None:
    assert http.get("/livez").status_code == 200
    assert http.get("/readyz").status_code == 200


def test_metrics_count_by_model_operation_and_status(http: httpx.Client) -> None:
    def count(line: str) -> float:
        found = re.search(re.escape(line) + r" ([\d.]+)", settled_metrics(http))
        return float(found[1]) if found else 0.0

    ok = 'latentry_requests_total{model="tiny-gan",operation="sample",status="200"}'
    bad = 'latentry_requests_total{model="",operation="sample",status="400"}'
    images = 'latentry_images_total{model="tiny-gan",operation="sample"}'
    unknown = 'latentry_requests_total{model="unknown",operation="sample",status="404"}'
    before = [count(line) for line in (ok, bad, images, unknown)]
    for _ in range(6):  # over both workers, whichever they are
        with httpx.Client(base_url=http.base_url) as other:
            other.post("/sample", json={"model": "tiny-gan", "n": 3})
            other.post("/sample", json={"n": 0})
            other.post("/sample", json={"model": "made-up"})
            other.get("/made/up")
    after = [count(line) for line in (ok, bad, images, unknown)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [6, 6, 18, 6]
    assert "made" not in settled_metrics(http)


def test_request_id(http: httpx.Client) -> None:
    assert http.get("/livez", headers={"X-Request-Id": "my-id.7"}).headers["x-request-id"] == "my-id.7"
    assert http.get("/nope", headers={"X-Request-Id": "my-id.7"}).headers["x-request-id"] == "my-id.7"
    for odd in ("x" * 65, "a b", '"', ""):
        given = http.post("/sample", json={"model": "tiny-vae"}, headers={"X-Request-Id": odd})
        assert re.fullmatch("[0-9a-f]{16}", given.headers["x-request-id"])
    assert http.get("/livez").headers["x-request-id"] != http.get("/livez").headers["x-request-id"]


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = http.get("/docs.json").json()
    return answer


def test_document_is_valid_and_names_every_path(document: dict[str, Any]) -> None:
    validate(document)
    assert set(document["paths"]) == {*PATHS, "/models/{name}", *v2.PATHS}


def test_document_has_every_form_of_request_and_answer(document: dict[str, Any]) -> None:
    everything = document["paths"]
    post = {
        path: item["post"] for path, item in everything.items() if "post" in item and path not in v2.PATHS
    }
    assert set(post) == {f"/{operation}" for operation in OPERATIONS}
    images = ["application/json", "multipart/form-data", "image/png", "image/jpeg", "image/webp"]
    assert list(post["/score"]["requestBody"]["content"]) == [*images, "application/x-npy"]
    for path in ("/sample", "/decode"):
        assert list(post[path]["requestBody"]["content"]) == ["application/json", "application/x-npy"]
    forms = ["image/png", "application/x-npy", "application/zip", "application/json"]
    assert list(post["/sample"]["responses"]["200"]["content"]) == forms
    animations = ["image/webp", "image/gif"]
    assert list(post["/interpolate"]["responses"]["200"]["content"]) == [*forms, *animations]
    assert list(post["/score"]["responses"]["200"]["content"]) == ["application/json"]
    queries = [p["name"] for p in post["/sample"]["parameters"] if p.get("in") == "query"]
    options = [
        "model",
        "version",
        "label",
        "n",
        "seed",
        "seeds",
        "truncation",
        "prior",
        "keep",
        "discriminator",
    ]
    assert queries == options
    headers = ("Model", "Seeds", "Labels", "Acceptance", "Proposed")
    assert list(post["/sample"]["responses"]["200"]["headers"]) == [f"X-Latentry-{name}" for name in headers]
    assert list(post["/score"]["responses"]["200"]["headers"]) == ["X-Latentry-Model"]
    assert "images" not in [p.get("name") for p in post["/score"]["parameters"]]
    assert set(post["/score"]["responses"]) == {
        "200",
        "400",
        "404",
        "406",
        "413",
        "415",
        "429",
        "431",
        "500",
        "503",
        "504",
    }
    problem = document["components"]["responses"]["BadRequest"]["content"]["application/problem+json"]
    assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
    sample = document["components"]["schemas"]["SampleRequest"]
    assert sample["properties"]["n"]["anyOf"][0] == {
        "type": "integer",
        "minimum": 1,
        "exclusiveMaximum": 2**31,
        "maximum": 1024,
    }
    assert sample["additionalProperties"] is False
    assert {"from", "to", "images"} < set(
        document["components"]["schemas"]["InterpolateRequest"]["properties"]
    )


def test_forms_in_the_document_are_those_that_are_answered(
    http: httpx.Client, document: dict[str, Any]
) -> None:
    for media_type in document["paths"]["/sample"]["post"]["responses"]["200"]["content"]:
        answer = http.post("/sample", json={"model": "tiny-vae"}, headers={"Accept": media_type})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


def test_page_is_made_of_what_this_server_has(http: httpx.Client) -> None:
    page = http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Latentry</title>" in page.text
    assert "//" not in page.text  # as an address of another host has
    assert "validatorUrl: null" in page.text  # by default one on the internet
    assert page.headers["content-security-policy"].startswith("default-src 'self' ")
    used = re.findall(r'"(\./[^"]+)"', page.text)
    assert "./docs.json" in used
    assert len(used) == 4
    for path in used:
        assert http.get(path[1:]).status_code == 200, path


def test_what_bentoml_serves_lives_without_models_but_is_not_ready(tmp_path: Path) -> None:
    models, scratch = tmp_path / "models", tmp_path / "scratch"
    (models / "broken" / "1").mkdir(parents=True)
    scratch.mkdir()
    with (
        serve(models, scratch, target="service.app:Latentry", wait_for="/livez", workers=1) as url,
        httpx.Client(base_url=url) as http,
    ):
        http.get("/models")  # waits for the models
        detail = str(assert_problem(http.get("/readyz"), 503)["detail"])
        assert detail.startswith("no usable model: broken/1/manifest.json: cannot be read")
        refused = http.get("/models").json()["refused"]
        assert refused["broken/1"] in detail
        assert str(tmp_path) not in detail
        assert_problem(http.post("/sample", json={"model": "tiny-vae"}), 404)
        assert http.get("/livez").status_code == 200
        http.post(
            "/sample", content=b"{", headers={"X-Request-Id": "find-me", "Content-Type": "application/json"}
        )
    log = (scratch / "service.log").read_text()
    assert str(models / "broken" / "1" / "manifest.json") in log  # the operator sees where it lies
    lines = log.splitlines()
    logged = [json.loads(line) for line in lines if "find-me" in line]
    assert [(line["operation"], line["status"], line["level"]) for line in logged] == [
        ("sample", 400, "info")
    ]
