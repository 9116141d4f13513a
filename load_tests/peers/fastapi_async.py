"""FastAPI, an `async def`: the work is done on the event loop. `fastapi run --workers 2 fastapi_async.py`."""

from typing import Annotated

from fastapi import FastAPI, Header, Response

from load_tests.peers.sampler import NPY, Sampler

app = FastAPI()
sampler = Sampler()


@app.post("/sample")
async def sample(n: int, seed: int, accept: Annotated[str, Header()] = NPY) -> Response:
    return Response(sampler.answer(n, seed, accept), media_type=accept)
