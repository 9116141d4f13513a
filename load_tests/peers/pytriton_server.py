"""Triton, its Python backend, as PyTriton packs it: `python -m load_tests.peers.pytriton_server PORT WORKERS`.

A request is one tensor of Triton's HTTP protocol, [n, seed, 1 for PNG], and its answer one tensor of bytes.
"""

import sys
from typing import Any

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from load_tests.peers.sampler import NPY, PNG, Sampler


class Sample:
    """An inference callable; each worker has its own."""

    def __init__(self) -> None:
        self.sampler = Sampler()

    def __call__(self, requests: list[Any]) -> list[dict[str, Any]]:
        return [{"body": self._body(*request["options"].tolist())} for request in requests]

    def _body(self, n: int, seed: int, png: int) -> Any:
        return np.frombuffer(self.sampler.answer(n, seed, PNG if png else NPY), np.uint8)


def main() -> None:
    port, workers = (int(argument) for argument in sys.argv[1:])
    config = TritonConfig(http_address="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="mnist-gan",
            infer_func=[Sample() for _ in range(workers)],
            inputs=[Tensor(name="options", dtype=np.int64, shape=(3,))],
            outputs=[Tensor(name="body", dtype=np.uint8, shape=(-1,))],
            config=ModelConfig(batching=False),
        )
        triton.serve()


if __name__ == "__main__":
    main()
