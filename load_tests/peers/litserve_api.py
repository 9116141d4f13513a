"""LitServe: `python -m load_tests.peers.litserve_api PORT WORKERS BATCH`; BATCH: most requests computed together."""

import itertools
import sys
from collections.abc import Sequence

import numpy as np
from litserve import LitAPI, LitServer, Request
from numpy.typing import NDArray
from starlette.responses import Response

from load_tests.peers.sampler import Sampler, encode

BATCH_TIMEOUT_S = 0.01

Seeds = tuple[range, str]
"""Of one request, with the media type of its answer."""
Images = tuple[NDArray[np.uint8], str]


class API(LitAPI):
    """The body of a request is JSON: `n`, `seed`, `accept`."""

    def setup(self, device: str) -> None:
        del device
        self.sampler = Sampler()

    def decode_request(self, request: Request) -> Seeds:  # by then its JSON, as LitServe hands it over
        return range(request["seed"], request["seed"] + request["n"]), request["accept"]

    def encode_response(self, output: Images) -> Response:
        images, accept = output
        return Response(encode(images, accept), media_type=accept)


class SampleAPI(API):
    """One request at a time."""

    def predict(self, x: Seeds) -> Images:
        seeds, accept = x
        return self.sampler.images(seeds), accept


class BatchedSampleAPI(API):
    """What waits is computed together."""

    def batch(self, inputs: Sequence[Seeds]) -> list[Seeds]:
        return list(inputs)

    def predict(self, x: Sequence[Seeds]) -> list[Images]:
        images = self.sampler.images(list(itertools.chain.from_iterable(seeds for seeds, _ in x)))
        ends = np.cumsum([len(seeds) for seeds, _ in x])
        parts = np.split(images, ends[:-1])
        return [(part, accept) for part, (_, accept) in zip(parts, x, strict=True)]

    def unbatch(self, output: list[Images]) -> list[Images]:
        return output


def main() -> None:
    port, workers, batch = (int(argument) for argument in sys.argv[1:])
    if batch > 1:
        api = BatchedSampleAPI(max_batch_size=batch, batch_timeout=BATCH_TIMEOUT_S, api_path="/sample")
    else:
        api = SampleAPI(api_path="/sample")
    server = LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False)


if __name__ == "__main__":
    main()
