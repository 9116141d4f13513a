"""Requests and answers of the Open Inference Protocol v2: what it prescribes, and no more.

Types are strict. Fields and parameters that are not known here are left alone, as the protocol says: clients of
other servers send them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Datatype = Literal["FP32", "INT64"]
Size = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, Field(max_length=64)]


def _or_null(parameters: type[BaseModel]) -> BeforeValidator:
    """Some clients write null where they have no parameters; `/docs.json` says that they may."""
    return BeforeValidator(
        lambda value: {} if value is None else value, json_schema_input_type=parameters | None
    )


class _Given(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


class RequestParameters(_Given):
    binary_data_output: bool | None = Field(
        default=None,
        description="Answer with all outputs in binary, unless their `binary_data` says otherwise",
    )


class InputParameters(_Given):
    binary_data_size: Size | None = Field(
        default=None, description="Bytes of this tensor after the JSON: little-endian, row-major"
    )


class OutputParameters(_Given):
    binary_data: bool | None = Field(default=None, description="Answer with this output in binary")


class InputTensor(_Given):
    name: Name
    shape: list[Size] = Field(description="The first axis is the batch")
    datatype: Name = Field(examples=["FP32", "INT64"])
    parameters: Annotated[InputParameters, _or_null(InputParameters)] = Field(default_factory=InputParameters)
    data: list[Any] | None = Field(
        default=None,
        description="Numbers in row-major order, flat or nested as `shape` says; or see `parameters`",
    )


class WantedOutput(_Given):
    name: Name
    parameters: Annotated[OutputParameters, _or_null(OutputParameters)] = Field(
        default_factory=OutputParameters
    )


class InferRequest(_Given):
    """`POST /v2/models/{model}/infer`."""

    # A bound has pydantic refuse lone surrogates too, which the answer could not hold.
    id: str | None = Field(default=None, max_length=1024, description="Given back in the answer")
    parameters: Annotated[RequestParameters, _or_null(RequestParameters)] = Field(
        default_factory=RequestParameters
    )
    inputs: list[InputTensor] = Field(min_length=1)
    outputs: list[WantedOutput] | None = Field(
        default=None, description="Which outputs, in which order; by default all of them"
    )


class OutputTensor(BaseModel):
    name: str
    datatype: Datatype
    shape: list[int]
    parameters: InputParameters | None = Field(default=None, description="Of a binary output: its bytes")
    data: list[Any] | None = Field(default=None, description="Numbers in row-major order, flat")


class InferAnswer(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), defer_build=True)

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class TensorMetadata(BaseModel):
    name: str
    datatype: Datatype
    shape: list[int] = Field(description="-1 is the batch")


class ModelMetadata(BaseModel):
    """One version of a graph; `versions` are all that there are."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfigTensor(BaseModel):
    name: str
    data_type: str
    dims: list[int] = Field(description="Without the batch")


class ModelConfig(BaseModel):
    """The part of Triton's model configuration that means something here."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]


class IndexEntry(BaseModel):
    name: str
    version: str
    state: Literal["READY"] = "READY"
    reason: str = ""


class ErrorAnswer(BaseModel):
    error: str
