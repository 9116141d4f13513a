"""The Open Inference Protocol v2, spoken by Triton's own client; what onnxruntime gives is given, bit for bit."""

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from service.v2 import endpoints as v2
from tests.service.http.conftest import MAX_BODY_BYTES, settled_metrics

Array = NDArray[Any]
JSON_LENGTH = "Inference-Header-Content-Length"
CODINGS = ("gzip", "deflate")


@pytest.fixture(scope="module")
def client(service_url: str) -> Iterator[Any]:
    with triton.InferenceServerClient(service_url.removeprefix("http://"), concurrency=8) as client:
        yield client


def images(n: int, *row: int, seed: int = 0) -> Array:
    """float32 (n, C, H, W) in [0, 1]."""
    return np.random.RandomState(seed).uniform(size=(n, *(row or (1, 8, 8)))).astype(np.float32)


def latents(n: int, seed: int = 0) -> Array:
    return np.random.RandomState(seed).standard_normal((n, 4)).astype(np.float32)


def given(name: str, array: Array, *, binary: bool = True) -> Any:
    datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def onnx(models_dir: Path, bundle: str, operation: str, **inputs: Array) -> list[Array]:
    """What onnxruntime makes of a bundle's own file."""
    graph = models_dir / bundle / f"{operation}.onnx"
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, inputs)
    return outputs


def assert_same(got: Array, expected: Array) -> None:
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()


def test_health(client: Any) -> None:
    assert client.is_server_live()
    deadline = time.monotonic() + 30  # the other worker may still be loading
    while not client.is_server_ready() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.is_server_ready()
    assert client.is_model_ready("tiny-gan.generate")
    assert client.is_model_ready("tiny-gan.generate", "1")
    assert not client.is_model_ready("tiny-gan.generate", "3")
    assert not client.is_model_ready("tiny-gan.encode")
    assert not client.is_model_ready("tiny-gan")


def test_server_metadata(client: Any) -> None:
    assert client.get_server_metadata() == {
        "name": "latentry",
        "version": v2.VERSION,
        "extensions": ["binary_tensor_data", "model_configuration"],
    }


def test_model_metadata_and_config(client: Any) -> None:
    image = {"name": "image", "datatype": "FP32", "shape": [-1, 3, 8, 12]}
    assert client.get_model_metadata("tiny-rgb.encode") == {
        "name": "tiny-rgb.encode",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [image],
        "outputs": [{"name": name, "datatype": "FP32", "shape": [-1, 4]} for name in ("mean", "logvar")],
    }
    assert client.get_model_metadata("tiny-cgan.generate", "1")["inputs"] == [
        {"name": "z", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
    ]
    assert client.get_model_metadata("tiny-gan.generate", "1")["versions"] == ["1", "2"]
    assert client.get_model_config("tiny-gan.discriminate") == {
        "name": "tiny-gan.discriminate",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 1024,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 8, 8]}],
        "output": [{"name": "logit", "data_type": "TYPE_FP32", "dims": []}],
    }


def test_repository_index(client: Any) -> None:
    index = client.get_model_repository_index()
    assert {"name": "tiny-gan.generate", "version": "2", "state": "READY", "reason": ""} in index
    assert len(index) == len({(entry["name"], entry["version"]) for entry in index}) == 14
    for entry in index:
        assert client.is_model_ready(entry["name"], entry["version"])


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("n", [1, 3, 64, 150])
def test_infer_is_onnxruntime(
    client: Any, models_dir: Path, n: int, binary_out: bool, binary_in: bool
) -> None:
    x = images(n)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("logvar", "mean")]
    result = client.infer(
        "tiny-vae.encode", [given("image", x, binary=binary_in)], outputs=outputs, request_id="é 7"
    )
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny-vae.encode", "1", "é 7")
    assert [output["name"] for output in answer["outputs"]] == ["logvar", "mean"]
    assert ["data" in output for output in answer["outputs"]] == [not binary_out] * 2
    mean, logvar = onnx(models_dir, "tiny-vae/1", "encode", image=x)
    assert_same(result.as_numpy("mean"), mean)
    assert_same(result.as_numpy("logvar"), logvar)


def test_outputs_that_are_not_named_are_all_given(client: Any) -> None:
    result = client.infer("tiny-vae.encode", [given("image", images(2))])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["mean", "logvar"]
    assert "id" not in result.get_response()


def test_mixed_forms(client: Any, models_dir: Path) -> None:
    """One input in JSON and one in binary, either way round; one output in JSON and one in binary."""
    z, label = latents(3), np.array([2, 0, 1])
    (expected,) = onnx(models_dir, "tiny-cgan/1", "generate", z=z, label=label)
    for binary in (True, False):
        inputs = [given("label", label, binary=not binary), given("z", z, binary=binary)]
        assert_same(client.infer("tiny-cgan.generate", inputs).as_numpy("image"), expected)
    x = images(2)
    for first in (True, False):
        outputs = [
            triton.InferRequestedOutput("mean", binary_data=first),
            triton.InferRequestedOutput("logvar", binary_data=not first),
        ]
        result = client.infer("tiny-vae.encode", [given("image", x)], outputs=outputs)
        mean, logvar = onnx(models_dir, "tiny-vae/1", "encode", image=x)
        assert_same(result.as_numpy("mean"), mean)
        assert_same(result.as_numpy("logvar"), logvar)


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_each_version_is_its_own(client: Any, models_dir: Path, version: str) -> None:
    x = images(4)
    result = client.infer("tiny-gan.discriminate", [given("image", x)], model_version=version)
    assert result.get_response()["model_version"] == (version or "2")
    (logit,) = onnx(models_dir, f"tiny-gan/{version or 2}", "discriminate", image=x)
    assert_same(result.as_numpy("logit"), logit)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
def test_compression(client: Any, models_dir: Path, coding: str, binary: bool) -> None:
    z = latents(5)
    result = client.infer(
        "tiny-gan.generate",
        [given("z", z, binary=binary)],
        outputs=[triton.InferRequestedOutput("image", binary_data=binary)],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert_same(result.as_numpy("image"), onnx(models_dir, "tiny-gan/2", "generate", z=z)[0])


def test_answers_are_compressed_for_who_names_one_coding(http: httpx.Client) -> None:
    body = json.dumps({"inputs": [json_tensor("z", latents(2))]})
    path = "/v2/models/tiny-gan.generate/infer"

    def raw(accept_encoding: str) -> tuple[str | None, bytes]:
        headers = {"Accept-Encoding": accept_encoding}
        with http.stream("POST", path, content=body, headers=headers) as answer:
            return answer.headers.get("content-encoding"), b"".join(answer.iter_raw())

    coding, plain = raw("gzip, deflate, br")  # what libraries send unasked
    assert coding is None
    for name, unpack in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        coding, packed = raw(name)
        assert (coding, unpack(packed)) == (name, plain)
        assert raw(name)[1] == packed  # no time in it


@pytest.mark.parametrize(("default", "own"), [(True, False), (False, True), (True, None), (False, None)])
def test_an_output_may_have_another_form_than_the_others(
    http: httpx.Client, default: bool, own: bool | None
) -> None:
    mean = {"name": "mean"} if own is None else {"name": "mean", "parameters": {"binary_data": own}}
    body = {
        "inputs": [json_tensor("image", images(1))],
        "outputs": [mean, {"name": "logvar"}],
        "parameters": {"binary_data_output": default},
    }
    answer = http.post("/v2/models/tiny-vae.encode/infer", json=body)
    head = json.loads(answer.content[: int(answer.headers.get(JSON_LENGTH, len(answer.content)))])
    given = ["data" in output for output in head["outputs"]]
    assert given == [not (default if own is None else own), not default]


def test_async_infer(client: Any, models_dir: Path) -> None:
    batches = [latents(n, seed=n) for n in range(1, 17)]
    waiting = [client.async_infer("tiny-vae.generate", [given("z", z)]) for z in batches]
    for z, request in zip(batches, waiting, strict=True):
        (expected,) = onnx(models_dir, "tiny-vae/1", "generate", z=z)
        assert_same(request.get_result().as_numpy("image"), expected)


async def test_asyncio_client(service_url: str, models_dir: Path) -> None:
    eps = latents(6)
    async with triton_aio.InferenceServerClient(service_url.removeprefix("http://")) as client:
        assert await client.is_model_ready("tiny-prior.prior")
        result = await client.infer("tiny-prior.prior", [given("eps", eps)])
        assert_same(result.as_numpy("z"), onnx(models_dir, "tiny-prior/1", "prior", eps=eps)[0])
        with pytest.raises(InferenceServerException, match="no model 'nope'"):
            await client.infer("nope", [given("eps", eps)])


@pytest.mark.parametrize(
    ("model", "name", "rows"),
    [
        ("tiny-vae.generate", "z", latents(64)),
        ("tiny-vae.encode", "image", images(64)),
        ("tiny-gan.discriminate", "image", images(64)),
        ("tiny-prior.prior", "eps", latents(64)),
        ("tiny-rgb.encode", "image", images(64, 3, 8, 12)),
    ],
)
def test_a_row_is_the_same_alone_and_in_any_batch(client: Any, model: str, name: str, rows: Array) -> None:
    together = client.infer(model, [given(name, rows)])
    for i in (0, 37, 63):
        alone = client.infer(model, [given(name, rows[i : i + 1])])
        for output in together.get_response()["outputs"]:
            one, all_ = alone.as_numpy(output["name"]), together.as_numpy(output["name"])
            assert_same(one, all_[i : i + 1])
    assert together.as_numpy(output["name"])[0].tobytes() != together.as_numpy(output["name"])[37].tobytes()


def test_bytes_may_lie_at_any_offset(http: httpx.Client, models_dir: Path) -> None:
    """The JSON before them has any length; spaces at its end move them on."""
    z = latents(3)
    (expected,) = onnx(models_dir, "tiny-vae/1", "generate", z=z)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "z",
                    "shape": [3, 4],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": z.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    for spaces in range(9):
        padded = head + b" " * spaces
        answer = http.post(
            "/v2/models/tiny-vae.generate/infer",
            content=padded + z.tobytes(),
            headers={JSON_LENGTH: str(len(padded))},
        )
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.content[int(answer.headers[JSON_LENGTH]) :] == expected.tobytes()


def json_tensor(name: str, array: Array, *, nested: bool = False) -> dict[str, Any]:
    data = array.tolist() if nested else array.ravel().tolist()
    datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def test_nested_and_flat_data_are_the_same(http: httpx.Client, models_dir: Path) -> None:
    x = images(2)
    (mean,) = onnx(models_dir, "tiny-ae/1", "encode", image=x)
    for nested in (True, False):
        body = {"inputs": [json_tensor("image", x, nested=nested)], "parameters": None, "id": None}
        answer = http.post("/v2/models/tiny-ae.encode/infer", json=body)
        assert answer.headers["content-type"] == "application/json"
        assert JSON_LENGTH not in answer.headers
        (output,) = answer.json()["outputs"]
        assert output == {"name": "mean", "datatype": "FP32", "shape": [2, 4], "data": mean.ravel().tolist()}


def test_unknown_parameters_are_left_alone(client: Any, http: httpx.Client) -> None:
    z = given("z", latents(1))
    plain = client.infer("tiny-vae.generate", [z]).as_numpy("image")
    odd = client.infer(
        "tiny-vae.generate",
        [z],
        sequence_id=3,
        sequence_start=True,
        priority=1,
        timeout=5,
        parameters={"mine": "x"},
        headers={"X-Mine": "y"},
        query_params={"q": 1},
    )
    assert_same(odd.as_numpy("image"), plain)
    assert odd.get_response()["outputs"][0]["parameters"] == {"binary_data_size": plain.nbytes}
    tensor = json_tensor("z", latents(1)) | {"parameters": {"content_type": "np"}, "mine": 1}
    body = {"model_name": "whatever", "inputs": [tensor], "outputs": [{"name": "image", "mine": 2}]}
    answer = http.post("/v2/models/tiny-vae.generate/infer", json=body)
    assert_same(np.float32(answer.json()["outputs"][0]["data"]).reshape(plain.shape), plain)


@pytest.mark.parametrize(
    ("model", "version", "inputs", "status", "says"),
    [
        ("nope", "", [("z", latents(1))], "404", "no model 'nope'; models: tiny-ae.generate, tiny-ae.encode"),
        ("tiny-vae.score", "", [("z", latents(1))], "404", "no model 'tiny-vae.score'"),
        ("tiny-gan.generate", "9", [("z", latents(1))], "404", "no version '9'; versions: 1, 2"),
        ("tiny-vae.generate", "", [("y", latents(1))], "400", "must be 'z' for tiny-vae.generate, got 'y'"),
        ("tiny-vae.generate", "", [("z", images(1))], "400", "'z' must be [N, 4], got [1, 1, 8, 8]"),
        ("tiny-cgan.generate", "", [("z", latents(1))], "400", "'label' is missing"),
        ("tiny-vae.encode", "", [("image", images(1) * np.nan)], "400", "'image' must be finite"),
    ],
)
def test_errors_reach_the_client(
    client: Any, model: str, version: str, inputs: list[tuple[str, Array]], status: str, says: str
) -> None:
    tensors = [given(name, array) for name, array in inputs]
    for ask in (client.infer, lambda *args, **kw: client.async_infer(*args, **kw).get_result()):
        with pytest.raises(InferenceServerException) as caught:
            ask(model, tensors, model_version=version, response_compression_algorithm="gzip")
        assert caught.value.status() == status
        assert says in caught.value.message()


def test_what_is_not_offered_says_so(client: Any) -> None:
    for call in (
        client.get_inference_statistics,
        client.get_system_shared_memory_status,
        lambda: client.load_model("tiny-vae.encode"),
        lambda: client.unload_model("tiny-vae.encode"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match=r"no such path: /v2/models/tiny-vae.encode/stats"):
        client.get_inference_statistics("tiny-vae.encode")


def test_an_unpacked_body_has_the_limit_too(http: httpx.Client) -> None:
    good = json.dumps({"inputs": [json_tensor("z", latents(1))]}).encode()
    for size, status in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413), (50 * MAX_BODY_BYTES, 413)):
        for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
            answer = http.post(
                "/v2/models/tiny-vae.generate/infer",
                content=pack(good.ljust(size)),
                headers={"Content-Encoding": coding},
            )
            assert answer.status_code == status
            if status == 413:
                assert answer.json() == {
                    "error": "body: may have 400,000 bytes when unpacked (a setting of this server)"
                }


def test_metrics_count_inference_by_model(http: httpx.Client) -> None:
    line = 'latentry_images_total{model="tiny-rgb",operation="infer"} '

    def count() -> float:
        found = [text for text in settled_metrics(http).splitlines() if text.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0

    def counted() -> list[str]:
        return [text for text in settled_metrics(http).splitlines() if 'operation="v2",status' in text]

    before = count()
    body = {"inputs": [json_tensor("image", images(3, 3, 8, 12))]}
    assert http.post("/v2/models/tiny-rgb.encode/infer", json=body).status_code == 200
    assert count() - before == 3
    http.post("/v2/models/made-up.encode/infer", json=body)
    http.get("/v2/made/up")
    plain = counted()
    http.get("/v2/health/live")
    http.get("/v2/health/ready")
    assert counted() == plain  # probes would drown what people ask for
    metrics = settled_metrics(http)
    assert 'latentry_requests_total{model="unknown",operation="infer",status="404"}' in metrics
    assert "made" not in metrics


def test_the_version_told_is_that_of_the_project() -> None:
    pyproject = Path(__file__).resolve().parents[3] / "pyproject.toml"
    assert f'version = "{v2.VERSION}"' in pyproject.read_text().splitlines()
