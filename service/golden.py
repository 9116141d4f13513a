"""Golden outputs of a bundle: its graphs compute here what they computed where they were made."""

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import codecs
from service.errors import BadRequest
from service.manifest import BundleError, Manifest, OperationName
from service.runtime import Graph

GOLDEN = "golden.npz"
GOLDEN_TOLERANCE = 1e-4
# Beyond what an array may have; and of the header that stands before them. What is longer is not unpacked.
_MOST_ROWS, _HEADER_BYTES = 256, 4096
# Rows that are run alone and compared bit for bit with themselves in a batch.
_LONE_ROWS = 4


def read(data: bytes, bundle: Manifest) -> dict[str, NDArray[Any]]:
    """Arrays named "<operation>.<tensor>", 2 to 256 rows each.

    Args:
        data: the file.

    Raises:
        BundleError: they are not those of the bundle's operations, or it is no such file.
    """
    tensors = {
        f"{name}.{tensor.name}": tensor
        for name, operation in bundle.operations.items()
        for tensor in (*operation.inputs, *operation.outputs)
    }
    golden: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(name.removesuffix(".npy") for name in archive.namelist())
            if names != sorted(tensors):
                raise BundleError(f"{GOLDEN}: holds {names}; expected {sorted(tensors)}")
            for name, tensor in tensors.items():
                entry = archive.getinfo(f"{name}.npy")
                values = _MOST_ROWS * math.prod(int(size) for size in tensor.shape[1:])
                if entry.file_size > values * np.dtype(tensor.dtype).itemsize + _HEADER_BYTES:
                    raise BundleError(f"{GOLDEN}: {name} has more than {_MOST_ROWS} rows")
                golden[name] = np.array(codecs.decode_npy(archive.read(entry), (tensor.dtype,)))
    except BadRequest as error:
        raise BundleError(f"{GOLDEN}: {name}: {error.detail}") from error
    except BundleError:
        raise
    except Exception as error:  # a broken zip can make its parser raise anything
        raise BundleError(f"{GOLDEN}: cannot be read: {error}") from error
    if short := sorted(name for name, array in golden.items() if array.ndim == 0 or len(array) < 2):
        raise BundleError(f"{GOLDEN}: {short[0]} has fewer than two rows")
    return golden


def check(name: OperationName, graph: Graph, golden: Mapping[str, NDArray[Any]]) -> None:
    """The graph computes here what it computed where it was made, and rows do not see each other.

    Raises:
        BundleError: an output is off by more than `GOLDEN_TOLERANCE`, or depends on the batch.
        ValueError: the golden inputs do not fit the graph.
    """
    operation = graph.operation
    inputs = {t.name: golden[f"{name}.{t.name}"] for t in operation.inputs}
    together = graph.run(**inputs)
    for tensor, got in zip(operation.outputs, together, strict=True):
        key = f"{name}.{tensor.name}"
        expected = golden[key]
        if got.shape != expected.shape:
            raise BundleError(f"{GOLDEN}: {key} has shape {expected.shape}; the graph gives {got.shape}")
        difference = float(np.abs(got.astype(np.float64) - expected).max())
        if not difference <= GOLDEN_TOLERANCE:  # NaN is refused too
            raise BundleError(
                f"{operation.graph}: {tensor.name} differs from {GOLDEN} by {difference:.3g}; "
                f"allowed: {GOLDEN_TOLERANCE:g}"
            )
    for row in range(min(_LONE_ROWS, len(together[0]))):
        alone = graph.run(**{key: value[row : row + 1] for key, value in inputs.items()})
        for tensor, one, all_ in zip(operation.outputs, alone, together, strict=True):
            if one.tobytes() != all_[row : row + 1].tobytes():
                raise BundleError(
                    f"{operation.graph}: {tensor.name} of golden row {row} is not bit-equal alone and in a "
                    "batch; an output must depend on its own row only"
                )
