"""Tensors of the Open Inference Protocol v2 <-> arrays: numbers in JSON, or bytes after it.

github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, and
github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from service import tensors
from service.errors import BadRequest
from service.http.documents import parse_json
from service.manifest import Operation, Tensor
from service.settings import Settings
from service.v2 import models as v2_models
from service.v2.models import DATATYPES, GraphModel
from service.v2.schemas import InferAnswer, InferRequest, InputParameters, InputTensor, OutputTensor

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"

Array = NDArray[Any]

# On the wire: little-endian.
_WIRE: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "int64": np.dtype("<i8")}
_NUMBERS: dict[str, tuple[type, ...]] = {"float32": (int, float), "int64": (int,)}


@dataclass(frozen=True)
class Wanted:
    """An output to answer with: its place among the graph's, and its form."""

    index: int
    binary: bool


def split(body: bytes, json_length: str | None, settings: Settings) -> tuple[Any, memoryview]:
    """A body's JSON, and the bytes after it.

    Args:
        json_length: the header `Inference-Header-Content-Length`; without it, all of the body is JSON.

    Raises:
        BadRequest: it is not JSON, or shorter than the header says.
    """
    if json_length is None:
        return parse_json(body, settings), memoryview(b"")
    if not re.fullmatch(r"[0-9]{1,12}", json_length) or int(json_length) > len(body):
        raise BadRequest.at(
            f"header.{JSON_LENGTH_HEADER}",
            f"must be a number of bytes, 0 to the {len(body):,} of the body, got {json_length[:60]!r}",
        )
    n = int(json_length)
    return parse_json(body[:n], settings), memoryview(body)[n:]


def read(
    given: Sequence[InputTensor], binary: memoryview, served: GraphModel, limit: int
) -> dict[str, Array]:
    """The inputs of a graph: an array each, of its dtype and shape, finite, all with the same 1 to `limit` rows.

    Args:
        binary: what follows the JSON. Arrays are views of it where it is aligned.

    Raises:
        BadRequest: naming the tensor, what it must be and what it is.
    """
    expected = {tensor.name: tensor for tensor in served.operation.inputs}
    arrays: dict[str, Array] = {}
    for i, tensor in enumerate(given):
        at = f"inputs[{i}]"
        if tensor.name not in expected:
            raise BadRequest.at(
                f"{at}.name", f"must be {_names(expected)} for {served.name}, got {tensor.name!r}"
            )
        if tensor.name in arrays:
            raise BadRequest.at(f"{at}.name", f"{tensor.name!r} must be given once")
        wanted = expected[tensor.name]
        _check_form(at, tensor, wanted, limit)
        _check_source(at, tensor)
        if tensor.data is not None:
            array = _from_json(at, tensor, wanted, tensor.data)
        else:
            array = _from_binary(at, tensor, wanted, binary)
            binary = binary[array.nbytes :]
        _check_values(at, array, wanted, served)
        arrays[tensor.name] = array
    if missing := [name for name in expected if name not in arrays]:
        raise BadRequest.at(
            "inputs", f"must be {_names(expected)} for {served.name}; {missing[0]!r} is missing"
        )
    if len(binary) > 0:
        raise BadRequest.at("body", f"goes on for {len(binary):,} bytes after the last input")
    if len({len(array) for array in arrays.values()}) > 1:
        sizes = ", ".join(f"{name!r} has {len(array):,}" for name, array in arrays.items())
        raise BadRequest.at("inputs", f"must all have the same number of rows; {sizes}")
    return arrays


def wanted_outputs(request: InferRequest, operation: Operation) -> list[Wanted]:
    """The outputs asked for, in their order; all of them where none is named.

    Raises:
        BadRequest: an output that the graph has not, one named twice, or a form that is not offered.
    """
    binary = bool(request.parameters.binary_data_output)
    names = [tensor.name for tensor in operation.outputs]
    wanted: dict[str, Wanted] = {}
    for i, output in enumerate(request.outputs or ()):
        at = f"outputs[{i}]"
        if output.name not in names:
            raise BadRequest.at(f"{at}.name", f"must be {_names(names)}, got {output.name!r}")
        if output.name in wanted:
            raise BadRequest.at(f"{at}.name", f"{output.name!r} must be given once")
        _refuse_extensions(at, output.parameters)
        own = output.parameters.binary_data
        wanted[output.name] = Wanted(names.index(output.name), binary if own is None else own)
    return list(wanted.values()) or [Wanted(i, binary) for i in range(len(names))]


def write(
    served: GraphModel, request_id: str | None, outputs: Sequence[Array], wanted: Sequence[Wanted]
) -> tuple[bytes, int | None]:
    """An answer's body, and the length of the JSON that it starts with; None where it is JSON alone.

    Args:
        outputs: all outputs of the graph, in its order.
    """
    listed: list[OutputTensor] = []
    chunks: list[memoryview] = []
    for output in wanted:
        tensor = served.operation.outputs[output.index]
        array = np.ascontiguousarray(outputs[output.index], _WIRE[tensor.dtype])
        if output.binary:
            chunks.append(array.data)
        listed.append(
            OutputTensor(
                name=tensor.name,
                datatype=DATATYPES[tensor.dtype],
                shape=list(array.shape),
                parameters=InputParameters(binary_data_size=array.nbytes) if output.binary else None,
                data=None if output.binary else array.ravel().tolist(),
            )
        )
    answer = InferAnswer(model_name=served.name, model_version=served.version, id=request_id, outputs=listed)
    head = answer.model_dump_json(exclude_none=True).encode()
    return (b"".join((head, *chunks)), len(head)) if chunks else (head, None)


def _check_form(at: str, tensor: InputTensor, wanted: Tensor, limit: int) -> None:
    datatype, row = DATATYPES[wanted.dtype], v2_models.row(wanted)
    if tensor.datatype != datatype:
        raise BadRequest.at(
            f"{at}.datatype", f"of {tensor.name!r} must be {datatype}, got {tensor.datatype!r}"
        )
    if not tensor.shape or tuple(tensor.shape[1:]) != row:
        shape = ", ".join(("N", *map(str, row)))
        raise BadRequest.at(f"{at}.shape", f"of {tensor.name!r} must be [{shape}], got {_cut(tensor.shape)}")
    if not 1 <= tensor.shape[0] <= limit:
        raise BadRequest.at(
            f"{at}.shape", f"of {tensor.name!r} must start with 1 to {limit:,} rows, got {tensor.shape[0]:,}"
        )


def _check_source(at: str, tensor: InputTensor) -> None:
    _refuse_extensions(at, tensor.parameters)
    given = [tensor.data is not None, tensor.parameters.binary_data_size is not None]
    if all(given):
        raise BadRequest.at(at, f"{tensor.name!r} has `data` and `binary_data_size`; give one of the two")
    if not any(given):
        raise BadRequest.at(
            at,
            f"{tensor.name!r} has no data; give `data`, or `parameters.binary_data_size` and the bytes after the JSON",
        )


def _refuse_extensions(at: str, parameters: BaseModel) -> None:
    """What would change the answer, if it were known here, is not to be left alone."""
    for name in ("shared_memory_region", "classification"):
        if name in (parameters.model_extra or {}):
            raise BadRequest.at(
                f"{at}.parameters.{name}", "is not offered; GET /v2 lists the extensions that are"
            )


def _from_binary(at: str, tensor: InputTensor, wanted: Tensor, binary: memoryview) -> Array:
    wire = _WIRE[wanted.dtype]
    size = math.prod(tensor.shape) * wire.itemsize
    if (announced := tensor.parameters.binary_data_size) != size:
        raise BadRequest.at(
            f"{at}.parameters.binary_data_size",
            f"of {tensor.name!r} must be {size:,} for {tensor.datatype} {tensor.shape}, got {announced:,}",
        )
    if size > len(binary):
        raise BadRequest.at(
            "body",
            f"must hold {size:,} bytes of {tensor.name!r} after its JSON, whose length {JSON_LENGTH_HEADER} tells; "
            f"there are {len(binary):,}",
        )
    # JSON may have any length, and onnxruntime takes what it is given for aligned.
    flat: Array = np.require(np.frombuffer(binary[:size], wire), wire.newbyteorder("="), "A")
    return flat.reshape(tensor.shape)


def _from_json(at: str, tensor: InputTensor, wanted: Tensor, data: list[Any]) -> Array:
    flat = _flatten(f"{at}.data", tensor, data)
    allowed = _NUMBERS[wanted.dtype]
    if not set(map(type, flat)) <= set(allowed):
        i, bad = next((i, value) for i, value in enumerate(flat) if type(value) not in allowed)
        kind = "integers" if wanted.dtype == "int64" else "numbers"
        raise BadRequest.at(
            f"{at}.data", f"of {tensor.name!r} must hold {kind}, but number {i} is {_cut(bad)}"
        )
    if len(flat) != (count := math.prod(tensor.shape)):
        raise BadRequest.at(
            f"{at}.data",
            f"of {tensor.name!r} must hold {count:,} numbers for {tensor.shape}, got {len(flat):,}",
        )
    try:
        with np.errstate(over="ignore"):  # 1e39 becomes infinity, which is then found
            wide = np.array(flat, np.int64 if wanted.dtype == "int64" else np.float64)
            return wide.astype(wanted.dtype, copy=False).reshape(tensor.shape)
    except OverflowError as error:
        raise BadRequest.at(
            f"{at}.data", f"of {tensor.name!r} holds an integer beyond {tensor.datatype}"
        ) from error


def _flatten(at: str, tensor: InputTensor, data: list[Any]) -> list[Any]:
    """The numbers of flat or nested data."""
    if not (data and isinstance(data[0], list)):
        return data
    flat: list[Any] = [data]
    for axis, size in enumerate(tensor.shape):
        if not all(isinstance(item, list) and len(item) == size for item in flat):
            raise BadRequest.at(
                at, f"of {tensor.name!r} must be flat, or nested as {tensor.shape}: it is not on axis {axis}"
            )
        flat = list(chain.from_iterable(flat))
    return flat


def _check_values(at: str, array: Array, wanted: Tensor, served: GraphModel) -> None:
    if wanted.dtype == "float32" and (bad := tensors.rows_not_finite(array)):
        raise BadRequest.at(at, f"{wanted.name!r} must be finite float32 numbers, row {bad[0]} is not")
    if wanted.name == "label":
        classes = served.model.manifest.class_names or ()
        outside = array[(array < 0) | (array >= len(classes))]
        if len(outside) > 0:
            raise BadRequest.at(at, f"'label' must be 0 to {len(classes) - 1}, got {outside[0]}")


def _names(names: Sequence[str] | dict[str, Tensor]) -> str:
    return " and ".join(repr(name) for name in names)


def _cut(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "..."
