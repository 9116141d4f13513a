"""Operations in steps: a generator yields what a graph shall run, and is sent the outputs.

So an operation does not care who runs its rows: `finish` runs them at once, and the scheduler runs those of several
requests together, and those of a long one in pieces.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from service.runtime import Graph

T = TypeVar("T")
Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True, eq=False)
class Run:
    """Rows for a graph: an array for each of its inputs, as `Graph.run` takes them."""

    graph: Graph
    inputs: dict[str, NDArray[Any]]


Steps = Generator[Run, Arrays, T]


def run(graph: Graph, **inputs: NDArray[Any]) -> Steps[Arrays]:
    """The outputs of a graph, as a step: `(x,) = yield from run(graph, z=z)`."""
    return (yield Run(graph, inputs))


def finish(steps: Steps[T]) -> T:
    """Run all steps here and now; what they return."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(wanted.graph.run(**wanted.inputs))
    except StopIteration as stop:
        result: T = stop.value
        return result
