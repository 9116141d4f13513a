"""MLServer: a custom runtime with a route of its own, which its parallel workers compute. `mlserver start FOLDER`.

FOLDER holds settings.json and model-settings.json. The V2 protocol would wrap the bytes in JSON; a custom handler
answers with them.
"""

from typing import Annotated

from fastapi import Header, Response
from mlserver import MLModel
from mlserver.handlers.custom import custom_handler

from load_tests.peers.sampler import NPY, Sampler


class SampleRuntime(MLModel):
    async def load(self) -> bool:
        self.sampler = Sampler()
        return True

    @custom_handler(rest_path="/sample")
    async def sample(self, n: int, seed: int, accept: Annotated[str, Header()] = NPY) -> Response:
        return Response(self.sampler.answer(n, seed, accept), media_type=accept)
