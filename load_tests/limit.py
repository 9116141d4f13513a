"""What this machine can do at best: the graphs of a model in onnxruntime, with no service around them.

    python -m load_tests.limit models/mnist-gan/4 generate --images 64

As many processes as the service has workers, one thread each, all at once.
"""

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime

from service import manifest
from service.settings import load_settings

START_S = 60.0
WARM_UP_RUNS = 3


def images_per_s(
    bundle: Path, operations: Sequence[manifest.OperationName], images: int, *, processes: int, seconds: float
) -> float:
    """Images a second when each is put through `operations`, one after the other, in batches of `images`."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, initializer=_remember, initargs=(barrier,)) as pool:
        rates = pool.starmap(_rate, [(bundle, operations, images, seconds)] * processes, chunksize=1)
    return sum(rates)


_barriers: list[Barrier] = []


def _remember(barrier: Barrier) -> None:
    _barriers.append(barrier)


def _rate(bundle: Path, operations: Sequence[manifest.OperationName], images: int, seconds: float) -> float:
    known = manifest.read_bundle(bundle).operations
    steps = [(_open(bundle / known[name].graph), _feed(known[name], images)) for name in operations]
    for session, feed in steps * WARM_UP_RUNS:
        session.run(None, feed)
    _barriers[0].wait(START_S)
    rounds, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for session, feed in steps:
            session.run(None, feed)
        rounds += 1
    return rounds * images / elapsed


def _open(graph: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _feed(operation: manifest.Operation, images: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)  # in [0, 1): as integers 0, a class that every conditional model has
    return {
        tensor.name: random.random((images, *(int(n) for n in tensor.shape[1:]))).astype(tensor.dtype)
        for tensor in operation.inputs
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=images_per_s.__doc__)
    parser.add_argument("bundle", type=Path, help="models/<name>/<version>")
    parser.add_argument(
        "operations", nargs="+", choices=get_args(manifest.OperationName), help="graphs, in order"
    )
    parser.add_argument("--images", type=int, default=64, help="batch size (default 64)")
    parser.add_argument("--processes", type=int, default=load_settings().workers)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    rate = images_per_s(
        args.bundle, args.operations, args.images, processes=args.processes, seconds=args.seconds
    )
    print(f"{rate:,.0f} images/s")


if __name__ == "__main__":
    main()
