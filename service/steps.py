"""Operations in steps: a generator yields what is to be computed, and is sent what comes of it.

So an operation does not care who computes its rows: `finish` does it at once, and the scheduler computes those of
several requests together, those of a long one in pieces, and beside them, in a thread, what takes long.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from numpy.typing import NDArray

LARGE_BYTES = 128 * 1024
"""As many take some milliseconds to parse, to decode or to encode as PNG: too long for the event loop."""

P = ParamSpec("P")
T = TypeVar("T")
Arrays = tuple[NDArray[Any], ...]


class Rows(Protocol):
    """Computes rows, each from its own inputs alone, to the same bits in any company: a graph, or a chain of them."""

    @property
    def run_images(self) -> int:
        """Most rows for one call of `compute`."""

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> int:
        """How many rows the inputs have; raises ValueError where they are not what `compute` takes."""

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The outputs of checked inputs of `run_images` rows at most."""

    def empty(self, n: int) -> Arrays:
        """Room for the outputs of n rows."""


@dataclass(frozen=True, eq=False)
class Run:
    """Inputs for `rows`, of any number of rows."""

    rows: Rows
    inputs: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Aside:
    """A call that takes long, and has no rows."""

    call: Callable[[], Any]


Steps = Generator[Run | Aside, Any, T]


def run(rows: Rows, **inputs: NDArray[Any]) -> Steps[Arrays]:
    """The outputs of a graph, as a step: `(x,) = yield from run(graph, z=z)`."""
    outputs: Arrays = yield Run(rows, inputs)
    return outputs


def aside(takes_long: bool, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Steps[T]:
    """What a call gives, made at once unless it `takes_long`: `x = yield from aside(len(data) > LARGE, read, data)`."""
    if not takes_long:
        return call(*args, **kwargs)
    result: T = yield Aside(lambda: call(*args, **kwargs))
    return result


def finish(steps: Steps[T]) -> T:
    """Take all steps here and now; what they return."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(wanted.call() if isinstance(wanted, Aside) else compute(wanted))
    except StopIteration as stop:
        result: T = stop.value
        return result


def compute(wanted: Run) -> Arrays:
    """All rows of a run, `run_images` at a time: memory stays bounded for any number."""
    rows, inputs = wanted.rows, wanted.inputs
    n = rows.check(inputs)
    if n <= rows.run_images:
        return rows.compute(inputs)
    outputs = rows.empty(n)
    for start in range(0, n, rows.run_images):
        piece = slice(start, min(start + rows.run_images, n))
        parts = rows.compute({name: array[piece] for name, array in inputs.items()})
        for output, part in zip(outputs, parts, strict=True):
            output[piece] = part
    return outputs
