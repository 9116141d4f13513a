"""LitServe: `python -m load_tests.peers.litserve_api PORT WORKERS BATCH`; BATCH: most requests computed together."""

import sys
from collections.abc import Sequence

import numpy as np
from litserve import LitAPI, LitServer, Request
from numpy.typing import NDArray
from starlette.responses import Response

from load_tests.peers.sampler import Sampler, draw, encode

BATCH_TIMEOUT_S = 0.01

Latents = tuple[NDArray[np.float32], str]
"""Of one request, with the media type of its answer."""
Images = tuple[NDArray[np.uint8], str]


class API(LitAPI):
    """The body of a request is JSON: `n`, `seed`, `accept`."""

    def setup(self, device: str) -> None:
        del device
        self.sampler = Sampler()

    def decode_request(self, request: Request) -> Latents:  # by then its JSON, as LitServe hands it over
        return draw(request["n"], request["seed"]), request["accept"]

    def encode_response(self, output: Images) -> Response:
        images, accept = output
        return Response(encode(images, accept), media_type=accept)


class SampleAPI(API):
    """One request at a time."""

    def predict(self, x: Latents) -> Images:
        z, accept = x
        return self.sampler.images(z), accept


class BatchedSampleAPI(API):
    """What waits is computed together."""

    def batch(self, inputs: Sequence[Latents]) -> list[Latents]:
        return list(inputs)

    def predict(self, x: Sequence[Latents]) -> list[Images]:
        images = self.sampler.images(np.concatenate([z for z, _ in x]))
        ends = np.cumsum([len(z) for z, _ in x])
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
