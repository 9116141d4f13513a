"""How long a graph takes on one core."""

import statistics
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.onnx_graph import Graph, open_session

ROWS = 64
SECONDS = 0.5
"""Of runs, at each size; at least RUNS of them."""
RUNS = 20


class RunTime(NamedTuple):
    """Medians, in milliseconds a row."""

    alone_ms: float
    together_ms: float
    """In batches of ROWS."""


def run_time(graph: Graph, inputs: dict[str, npt.NDArray[np.generic]]) -> RunTime:
    """Of `graph`, with the first of ROWS or more rows of each of its `inputs`."""
    session = open_session(graph.onnx)

    def median_ms(rows: int) -> float:
        feed = {name: array[:rows] for name, array in inputs.items()}
        session.run(None, feed)
        took: list[float] = []
        begun = time.perf_counter()
        while len(took) < RUNS or time.perf_counter() - begun < SECONDS:
            started = time.perf_counter()
            session.run(None, feed)
            took.append(time.perf_counter() - started)
        return 1000 * statistics.median(took) / rows

    return RunTime(median_ms(1), median_ms(ROWS))
