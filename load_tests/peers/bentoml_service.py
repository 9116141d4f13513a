"""BentoML as its tutorial writes a service: a class, a method an endpoint. `bentoml serve ...:Sample`."""

import os
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from load_tests.peers.sampler import NPY, PNG, Sampler


@bentoml.service(workers=int(os.environ.get("WORKERS", "2")))
class Sample:
    def __init__(self) -> None:
        self.sampler = Sampler()

    @bentoml.api
    def sample_npy(self, n: int, seed: int) -> Annotated[bytes, ContentType(NPY)]:
        return self.sampler.answer(n, seed, NPY)

    @bentoml.api
    def sample_png(self, n: int, seed: int) -> Annotated[bytes, ContentType(PNG)]:
        return self.sampler.answer(n, seed, PNG)
