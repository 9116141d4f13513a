"""Ray Serve: `python -m load_tests.peers.ray_serve PORT REPLICAS`, a deployment behind Serve's own HTTP proxy."""

import sys

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from load_tests.peers.sampler import Sampler


class Sample:
    def __init__(self) -> None:
        self.sampler = Sampler()

    async def __call__(self, request: Request) -> Response:
        query, accept = request.query_params, request.headers["accept"]
        body = self.sampler.answer(int(query["n"]), int(query["seed"]), accept)
        return Response(body, media_type=accept)


def main() -> None:
    port, replicas = (int(argument) for argument in sys.argv[1:])
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    app = serve.deployment(num_replicas=replicas)(Sample).bind()
    serve.run(app, route_prefix="/sample", blocking=True)


if __name__ == "__main__":
    main()
