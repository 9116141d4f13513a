"""One ONNX graph in onnxruntime, with its names, types and shapes checked when it is opened."""

import logging
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.manifest import BATCH, BundleError, Operation, Tensor
from service.steps import Run, compute

RUN_IMAGES = 64
"""Most rows that are computed at a time: all else waits for as long."""

SESSION_ROWS = 16
"""Most rows of one call of the session. What it computes on stays in the cache so: a row of the generators of this
repository takes 3 to 5 % less than in batches of 64, of the encoders up to 2 % more, and the room is a quarter."""

OPENED_ALONE_BYTES = 8 << 20
"""Of the graphs that are opened between two runs, which wait: those of this repository, 1 MiB each, take 2 to 4 ms."""

# What a run has taken cannot be given back while it goes on. It is the event loop that runs graphs, one at a time.
_RUNNING = threading.Lock()
_log = logging.getLogger(__name__)

_NUMPY = {"float32": np.dtype(np.float32), "int64": np.dtype(np.int64)}
_ORT = {"float32": "tensor(float)", "int64": "tensor(int64)"}

# onnx.proto: for each message, the fields through which its tensors are reached.
_MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
_MODEL_OPSET_IMPORT = 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14


class Graph:
    """An ONNX graph that runs. Safe to share between threads."""

    def __init__(
        self,
        session: Any,
        operation: Operation,
        *,
        run_images: int = RUN_IMAGES,
        session_rows: int = SESSION_ROWS,
    ) -> None:
        self.operation = operation
        self._session = session
        self.run_images = run_images
        self.session_rows = session_rows
        self._input_rows = {t.name: (_NUMPY[t.dtype], _row(t)) for t in operation.inputs}
        self._output_names = [t.name for t in operation.outputs]
        self._output_rows = [(_NUMPY[t.dtype], _row(t)) for t in operation.outputs]

    @classmethod
    def open(
        cls,
        source: Path | bytes,
        operation: Operation,
        opset: int,
        *,
        threads: int = 1,
    ) -> Self:
        """Open a graph and check that it is what the manifest says.

        Args:
            source: an `.onnx` file, or its bytes.
            operation: names, types and shapes that the graph must have.
            opset: version of the default operator set that the graph must import.
            threads: onnxruntime threads for one run.

        Raises:
            BundleError: the graph cannot be read, keeps data outside the file, or differs from the manifest.
        """
        where = operation.graph
        try:
            data = source if isinstance(source, bytes) else source.read_bytes()
            _check_file(data, opset)
        except (OSError, ValueError) as error:
            raise BundleError(f"{where}: {error}") from error
        try:
            with _between_runs(len(data)):
                session = onnxruntime.InferenceSession(
                    data, _session_options(threads), providers=["CPUExecutionProvider"]
                )
        except Exception as error:  # onnxruntime's exceptions have no common base but this one
            raise BundleError(f"{where}: onnxruntime refuses it: {error}") from error
        # It keeps the file's bytes, to be made anew for other providers: as much again as the weights.
        session._model_bytes = None
        _check_tensors(where, "input", session.get_inputs(), operation.inputs)
        _check_tensors(where, "output", session.get_outputs(), operation.outputs)
        return cls(session, operation)

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Compute the outputs for N >= 0 rows.

        The session is run on at most `session_rows` rows at a time: memory stays bounded for any N.
        Row i of every output is bit-equal for any N and any place of the row among the others, as far as
        the graph's operators compute rows alike in all batches of 1 to `session_rows`; the registry
        checks this on golden inputs when it loads a graph.

        Args:
            inputs: one array for each input of the graph, of its dtype and shape, all with N rows.

        Returns:
            The outputs in the order of the manifest.

        Raises:
            ValueError: names, dtypes or shapes are not those of the graph.
        """
        return compute(Run(self, inputs))

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """As `run`, for checked inputs of `run_images` rows at most."""
        feed = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        n = len(next(iter(feed.values())))
        outputs = self.empty(n)
        with _RUNNING:
            for start in range(0, n, self.session_rows):
                rows = slice(start, min(start + self.session_rows, n))
                found = self._session.run(
                    self._output_names, {name: array[rows] for name, array in feed.items()}
                )
                # Copies: what onnxruntime gives lies in the arena, and would keep the room of the whole run for as long
                # as it is used; a session that is opened meanwhile would keep it for good.
                for output, part in zip(outputs, found, strict=True):
                    if part.shape != output[rows].shape:  # one row would be broadcast to all
                        raise RuntimeError(
                            f"{self.operation.graph}: gave shape {part.shape}, expected {output[rows].shape}"
                        )
                    output[rows] = part
                del found, part  # before others have their turn
        return outputs

    def empty(self, n: int) -> tuple[NDArray[Any], ...]:
        """Room for the outputs of n rows."""
        return tuple([np.empty((n, *row), dtype) for dtype, row in self._output_rows])

    def warm_up(self) -> None:
        """Run on one row and on the most rows of a batch, so that no request pays for first times.

        What they took is given back: of the process that is forked into workers, each would have a copy.
        """
        for n in (1, self.session_rows):
            self._run_and_give_back(n)
        _tried.add(self)

    def _run_and_give_back(self, n: int) -> None:
        shrinking = onnxruntime.RunOptions()
        shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        # The arena gives back pieces of which nothing is in use, so nothing of this run may lie there.
        binding = self._session.io_binding()
        inputs = {t.name: np.zeros((n, *_row(t)), _NUMPY[t.dtype]) for t in self.operation.inputs}
        outputs = dict(zip(self._output_names, self.empty(n), strict=True))
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding, shrinking)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> int:
        """How many rows the inputs have; raises ValueError as `run` does."""
        if inputs.keys() != self._input_rows.keys():
            raise ValueError(
                f"{self.operation.graph}: takes {sorted(self._input_rows)}, got {sorted(inputs)}"
            )
        n = len(next(iter(inputs.values())))
        for name, array in inputs.items():
            dtype, shape = self._input_rows[name]
            if array.dtype != dtype or array.shape != (n, *shape):
                raise ValueError(
                    f"{self.operation.graph}: {name} must be {dtype} {(n, *shape)}, "
                    f"got {array.dtype} {array.shape}"
                )
        return n


def give_back() -> None:
    """Give back what the runs of all graphs of this process took; the one that goes on is waited for.

    There is no way to ask for it but with a run: nothing is given back before a graph was warmed up.
    """
    with _RUNNING:
        _shrink()


@contextmanager
def _between_runs(size_bytes: int) -> Iterator[None]:
    """To open a graph of that size. A large one is opened beside runs.

    What a session keeps, its kernels' own form of weights, would else lie where runs take room, and hold that for as
    long as the session is open.
    """
    if size_bytes > OPENED_ALONE_BYTES:
        yield
        return
    with _RUNNING:
        _shrink()
        yield


def _shrink() -> None:
    """With a run of whichever graph: they share one arena. That it fails is no fault of who wants the room."""
    try:
        if (graph := next(iter(_tried), None)) is not None:
            graph._run_and_give_back(1)
    except Exception:
        _log.warning("memory could not be given back", exc_info=True)


_tried: weakref.WeakSet[Graph] = weakref.WeakSet()
"""By a warm-up, which they have passed."""


@cache
def _share_arena() -> None:
    """Have all sessions of this process take memory from one arena.

    Of its own, each would keep as much as its runs ever wanted: with batches of 64, 17 MiB for a GAN of 0.7 million
    parameters once it is loaded, 21 once it has served. Blocks of malloc's heap, of as many sizes as there are
    requests, leave more and more holes there.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    sizes = {
        "max_mem": 0,  # no limit
        "arena_extend_strategy": 1,  # by what is asked for, not twice as much each time
        "initial_chunk_size_bytes": -1,  # onnxruntime's own choice, and the next
        "max_dead_bytes_per_chunk": -1,
    }
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(sizes))


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Not for weights, which come and go with versions: the arena would keep the room between them.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.log_severity_level = 3  # errors: a warning is not for the operator of the service
    # Threads that spin while they wait take the CPU from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _check_tensors(where: str, kind: str, found: list[Any], expected: tuple[Tensor, ...]) -> None:
    names = [f.name for f in found]
    if sorted(names) != sorted(t.name for t in expected):
        raise BundleError(f"{where}: {kind}s are {names}; the manifest says {[t.name for t in expected]}")
    by_name = {f.name: f for f in found}
    for tensor in expected:
        got = by_name[tensor.name]
        if got.type != _ORT[tensor.dtype]:
            raise BundleError(
                f"{where}: {kind} {tensor.name} is {got.type}; the manifest says {tensor.dtype}"
            )
        # A symbolic axis is a string or None; which name it has does not matter.
        shape = tuple(got.shape)
        if not shape or isinstance(shape[0], int) or shape[1:] != _row(tensor):
            raise BundleError(
                f"{where}: {kind} {tensor.name} has shape {list(shape)}; the manifest says "
                f"{list(tensor.shape)}, with {BATCH} left open"
            )


def _row(tensor: Tensor) -> tuple[int, ...]:
    """The shape without the batch axis."""
    return tuple(int(size) for size in tensor.shape[1:])


def _check_file(data: bytes, opset: int) -> None:
    """Refuse what onnxruntime would accept: another opset, and tensors kept in other files.

    External data would be read from any path that the file names. The `onnx` package is not part of
    the serving install, so the protobuf is walked here; it takes a fraction of a millisecond.

    Raises:
        ValueError: with the reason.
    """
    opsets: list[int] = []
    todo = [("ModelProto", memoryview(data))]
    while todo:
        message, body = todo.pop()
        for field, value in _fields(body):
            if message == "TensorProto":
                if field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_DATA_LOCATION and value != 0):
                    raise ValueError("keeps tensors in other files (ONNX external data)")
            elif isinstance(value, memoryview):
                if message == "ModelProto" and field == _MODEL_OPSET_IMPORT:
                    opsets += _default_opset(value)
                elif (inner := _MESSAGES[message].get(field)) is not None:
                    todo.append((inner, value))
    if opsets != [opset]:
        raise ValueError(f"imports opset {opsets or 'none'}; the manifest says {opset}")


def _default_opset(body: memoryview) -> list[int]:
    """Version of an OperatorSetIdProto; nothing where it is of another domain than ONNX's own."""
    fields = dict(_fields(body))
    domain, version = fields.get(_OPSET_DOMAIN, b""), fields.get(_OPSET_VERSION, 0)
    return [version] if domain in (b"", b"ai.onnx") and isinstance(version, int) else []


def _fields(body: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of a protobuf message: number, and value (varint) or bytes (all other wire types).

    Source: protobuf.dev/programming-guides/encoding.

    Raises:
        ValueError: not a protobuf message.
    """
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        wire_type = tag & 7
        if wire_type == 0:
            value, at = _varint(body, at)
            yield tag >> 3, value
            continue
        match wire_type:
            case 1:
                size = 8
            case 2:
                size, at = _varint(body, at)
            case 5:
                size = 4
            case _:
                raise ValueError(f"is not an ONNX file (protobuf wire type {wire_type})")
        if at + size > len(body):
            raise ValueError("is not an ONNX file, or is cut short")
        yield tag >> 3, body[at : at + size]
        at += size


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            raise ValueError("is not an ONNX file, or is cut short")
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("is not an ONNX file (a varint of more than 10 bytes)")
