"""Requests to the Open Inference Protocol v2."""

import gzip
import json
import zlib
from typing import Any

import numpy as np

from tests.service.http.bad.case import Bad
from tests.service.http.conftest import MAX_BODY_BYTES

GENERATE = "/v2/models/tiny-vae.generate/infer"
VERSION = "/v2/models/tiny-vae.generate/versions/"
LABELLED = "/v2/models/tiny-cgan.generate/infer"
JSON_LENGTH = "Inference-Header-Content-Length"

Z: dict[str, Any] = {"name": "z", "shape": [2, 4], "datatype": "FP32", "data": [0.5] * 8}
LABEL: dict[str, Any] = {"name": "label", "shape": [2], "datatype": "INT64", "data": [0, 1]}
BINARY_Z = {"name": "z", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32}}
GOOD_BYTES = np.full((2, 4), 0.5, np.float32).tobytes()


def infer(
    name: str,
    body: bytes,
    says: tuple[str, ...],
    status: int = 400,
    path: str = GENERATE,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> Bad:
    pairs = tuple((headers or {}).items())
    return Bad(name, path, body, status, None, says, content_type=None, headers=pairs, method=method)


def document(name: str, body: object, *says: str, path: str = GENERATE) -> Bad:
    return infer(name, body if isinstance(body, bytes) else json.dumps(body).encode(), says, path=path)


def z(title: str, /, *says: str, **changes: object) -> Bad:
    """The tensor `z`, but for some members; None leaves one out."""
    return document(title, {"inputs": [changed(Z, changes)]}, *says)


def label(title: str, /, *says: str, **changes: object) -> Bad:
    return document(title, {"inputs": [Z, changed(LABEL, changes)]}, *says, path=LABELLED)


def changed(tensor: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**tensor, **changes}.items() if value is not None}


def binary(
    name: str,
    *says: str,
    tensor: dict[str, Any] = BINARY_Z,
    data: bytes = GOOD_BYTES,
    json_length: str | None = "",
) -> Bad:
    """JSON and bytes. `json_length`: the header; "" is the true one, None leaves it out."""
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {} if json_length is None else {JSON_LENGTH: json_length or str(len(head))}
    return infer(name, head + data, says, headers=headers)


def output(name: str, outputs: object, *says: str) -> Bad:
    return document(name, {"inputs": [Z], "outputs": outputs}, *says)


def coded(name: str, body: bytes, coding: str, *says: str, status: int = 400) -> Bad:
    return infer(name, body, says, status, headers={"Content-Encoding": coding})


GROUPS = {
    "v2: documents": [
        document("no body", b"", "is not JSON"),
        document("not JSON", b'{"inputs": [z]}', "line 1, column 13"),
        document("not an object", b'["z"]', "must be a JSON object", '["z"]'),
        document("not UTF-8", b'{"id": "\xff"}', "not UTF-8", "0xff"),
        document("duplicate key", b'{"inputs": [], "inputs": []}', "body.inputs", "once"),
        document("deep", b"[" * 100_000, "nested too deeply"),
        document("nested 33 deep", b'{"inputs": ' + b"[" * 32 + b"]" * 32 + b"}", "32 lists and objects"),
        document("surrogate", b'{"id": "\\ud800", "inputs": []}', "id: ", "\\ud800"),
        document("long id", {"id": "x" * 1025, "inputs": [Z]}, "id: must have at most 1024 characters"),
        document(
            "NaN", b'{"inputs": [{"name": "z", "shape": [1, 4], "datatype": "FP32", "data": [NaN]}]}', "NaN"
        ),
        document("Infinity", b'{"inputs": [{"data": [-Infinity]}]}', "finite", "-Infinity"),
        document("1e999", b'{"inputs": [{"data": [1e999]}]}', "finite", "1e999"),
        document("endless integer", b'{"inputs": [{"data": [' + b"9" * 5000 + b"]}]}", "too many digits"),
        document("no inputs", {}, "inputs: is required"),
        document("empty inputs", {"inputs": []}, "inputs", "at least 1 item"),
        document("inputs are an object", {"inputs": Z}, "inputs: must be a list"),
        document("an input is a number", {"inputs": [3]}, "inputs[0]", "got 3"),
        document("id is a number", {"id": 3, "inputs": [Z]}, "id: must be a string, got 3"),
        document("parameters are a list", {"parameters": [], "inputs": [Z]}, "parameters", "got []"),
        document(
            "binary_data_output is text",
            {"parameters": {"binary_data_output": "yes"}, "inputs": [Z]},
            "parameters.binary_data_output",
            '"yes"',
        ),
    ],
    "v2: tensors": [
        z("no name", "inputs[0].name: is required", name=None),
        z("name is a number", "inputs[0].name: must be a string, got 1", name=1),
        z("long name", "inputs[0].name", "at most 64", name="z" * 65),
        z("unknown name", "inputs[0].name: must be 'z' for tiny-vae.generate, got 'x'", name="x"),
        z("no datatype", "inputs[0].datatype: is required", datatype=None),
        z("wrong datatype", "'z' must be FP32, got 'FP64'", datatype="FP64"),
        z("lower case datatype", "'z' must be FP32, got 'fp32'", datatype="fp32"),
        z("no shape", "inputs[0].shape: is required", shape=None),
        z("shape is text", "inputs[0].shape: must be a list", shape="2,4"),
        z("size is text", "inputs[0].shape[1]: must be an integer", '"4"', shape=[2, "4"]),
        z("size is true", "inputs[0].shape[0]: must be an integer", "true", shape=[True, 4]),
        z("open size", "inputs[0].shape[0]", "greater than or equal to 0", "-1", shape=[-1, 4]),
        z("endless size", "inputs[0].shape[0]", "less than", shape=[10**30, 4]),
        z("empty shape", "'z' must be [N, 4], got []", shape=[]),
        z("flat shape", "'z' must be [N, 4], got [8]", shape=[8]),
        z("wide shape", "'z' must be [N, 4], got [1, 8]", shape=[1, 8]),
        z("deep shape", "'z' must be [N, 4], got [2, 4, 1]", shape=[2, 4, 1]),
        z("no rows", "1 to 1,024 rows, got 0", shape=[0, 4], data=[]),
        z("too many rows", "1 to 1,024 rows, got 1,025", shape=[1025, 4], data=[0.5] * 4100),
        z("no data", "'z' has no data", data=None),
        z("data is a number", "inputs[0].data: must be a list", data=0.5),
        z("too few numbers", "'z' must hold 8 numbers for [2, 4], got 7", data=[0.5] * 7),
        z("too many numbers", "'z' must hold 8 numbers for [2, 4], got 9", data=[0.5] * 9),
        z("text among numbers", "must hold numbers, but number 1 is \"x\"", data=[0.5, "x"] + [0.5] * 6),
        z("true among numbers", "must hold numbers, but number 7 is true", data=[0.5] * 7 + [True]),
        z("null among numbers", "must hold numbers, but number 0 is null", data=[None] + [0.5] * 7),
        z("other nesting", "flat, or nested as [2, 4]", "axis 0", data=[[0.5, 0.5]] * 4),
        z("ragged", "flat, or nested as [2, 4]", "axis 1", data=[[0.5] * 4, [0.5] * 3]),
        z("half nested", "flat, or nested as [2, 4]", "axis 1", data=[[0.5] * 4, 0.5]),
        z("nested too deeply", "number 0 is [0.5]", data=[[[0.5]] * 4] * 2),
        z("beyond float32", "'z' must be finite float32 numbers, row 1", data=[0.5] * 7 + [1e39]),
        z("beyond float64", "holds an integer beyond FP32", data=[0.5] * 7 + [10**400]),
        z("graph overflows", "too large for tiny-vae.generate: row 0", "'image'", data=[3e38, -3e38] * 4),
        z(
            "shared memory",
            "inputs[0].parameters.shared_memory_region: is not offered",
            data=None,
            parameters={"shared_memory_region": "a", "shared_memory_byte_size": 32},
        ),
        document("given twice", {"inputs": [Z, Z]}, "inputs[1].name: 'z' must be given once"),
        document("one too many", {"inputs": [Z, LABEL]}, "inputs[1].name: must be 'z'", "got 'label'"),
        document("one missing", {"inputs": [LABEL]}, "'z' and 'label'", "'z' is missing", path=LABELLED),
        label("other number of rows", "'z' has 2, 'label' has 3", shape=[3], data=[0, 1, 2]),
        label("float as label", "must hold integers, but number 1 is 1.0", data=[0, 1.0]),
        label("label beyond int64", "holds an integer beyond INT64", data=[0, 2**63]),
        label("unknown label", "'label' must be 0 to 2, got 3", data=[0, 3]),
        label("negative label", "'label' must be 0 to 2, got -1", data=[-1, 0]),
    ],
    "v2: bytes": [
        binary("too few bytes", "must hold 32 bytes of 'z'", "there are 31", data=GOOD_BYTES[:-1]),
        binary("too many bytes", "1 bytes after the last input", data=GOOD_BYTES + b"x"),
        binary("no header", "not JSON", json_length=None),
        Bad(
            "header twice", GENERATE, b"{}", 400, None, (JSON_LENGTH, "once"),
            content_type=None, headers=((JSON_LENGTH, "2"), (JSON_LENGTH, "1")),
        ),
        binary("header is text", JSON_LENGTH, "'abc'", json_length="abc"),
        binary("negative header", JSON_LENGTH, "'-1'", json_length="-1"),
        binary("header beyond the body", JSON_LENGTH, "'100000'", json_length="100000"),
        binary("endless header", JSON_LENGTH, "999", json_length="9" * 5000),
        binary("header of 0", "is not JSON", json_length="0"),
        binary("header cuts the JSON", "is not JSON", json_length="20"),
        binary("NaN in bytes", "'z' must be finite", "row 0", data=b"\0\0\xc0\x7f" + GOOD_BYTES[4:]),
        binary("other size", "'z' must be 32", "got 31", tensor=BINARY_Z | {"parameters": {"binary_data_size": 31}}),
        binary("negative size", "binary_data_size", "-1", tensor=BINARY_Z | {"parameters": {"binary_data_size": -1}}),
        binary("text as size", '"32"', tensor=BINARY_Z | {"parameters": {"binary_data_size": "32"}}),
        binary("data and bytes", "one of the two", tensor=BINARY_Z | {"data": [0.5] * 8}),
        document("bytes that are not there", {"inputs": [BINARY_Z]}, "must hold 32 bytes of 'z'", "there are 0"),
    ],
    "v2: outputs": [
        output("outputs are text", "image", "outputs: must be a list"),
        output("output without a name", [{}], "outputs[0].name: is required"),
        output("unknown output", [{"name": "mean"}], "outputs[0].name: must be 'image', got 'mean'"),
        output("output twice", [{"name": "image"}] * 2, "outputs[1].name: 'image' must be given once"),
        output(
            "binary_data is a number",
            [{"name": "image", "parameters": {"binary_data": 1}}],
            "outputs[0].parameters.binary_data",
        ),
        output(
            "classification",
            [{"name": "image", "parameters": {"classification": 3}}],
            "outputs[0].parameters.classification: is not offered",
        ),
    ],
    "v2: compression": [
        coded("unknown coding", b"x", "br", "must be gzip, deflate or identity, got 'br'", status=415),
        coded("two codings", b"x", "gzip, gzip", "must be gzip", status=415),
        Bad(
            "coding twice", GENERATE, b"{}", 400, None, ("Content-Encoding: must be given once",),
            content_type=None, headers=(("Content-Encoding", "gzip"),) * 2,
        ),
        coded("not gzip", b"{}", "gzip", "body: is not gzip"),
        coded("not zlib", gzip.compress(b"{}"), "deflate", "body: is not deflate"),
        coded("cut short", gzip.compress(b"{}")[:-1], "gzip", "ends before its gzip stream does"),
        coded("empty", b"", "deflate", "ends before its deflate stream does"),
        coded("goes on", zlib.compress(b"{}") + b"abc", "deflate", "3 bytes after the end of its deflate stream"),
        coded("bomb", gzip.compress(bytes(30_000_000)), "gzip", "400,000 bytes when unpacked", status=413),
    ],
    "v2: paths": [
        infer("very many values", b"[" + b"0," * 150_000 + b"0]", ("150,000 values",), 413),
        infer("too long", b" " * (MAX_BODY_BYTES + 1), ("400,000 bytes",), 413),
        infer("unknown model", b"{", ("no model 'tiny'; models: tiny-ae.generate",), 404, "/v2/models/tiny/infer"),
        infer("unknown version", b"{", ("no version '2'; versions: 1",), 404, VERSION + "2/infer"),
        infer("version as text", b"{", ("no version '01'",), 404, VERSION + "01/infer"),
        infer("unknown path", b"{}", ("/v2/health/live", "/v2/repository/index"), 404, "/v2/models/a/explain"),
        infer("trailing slash", b"{}", ("no such path",), 404, f"{GENERATE}/"),
        infer("nothing", b"", ("no such path: /v2/",), 404, "/v2/", method="GET"),
        infer("GET of infer", b"", ("GET is not allowed here; allowed: POST",), 405, method="GET"),
        infer("POST of metadata", b"", ("POST is not allowed",), 405, "/v2/models/tiny-vae.encode"),
        infer("GET of the index", b"", ("GET is not allowed",), 405, "/v2/repository/index", method="GET"),
    ],
}  # fmt: skip
