"""What a bad request is made of."""

import json
from dataclasses import dataclass

import httpx

from tests.service.http.pictures import encode, grey

JSON, NPY, PNG = "application/json", "application/x-npy", "image/png"
FORM = "multipart/form-data; boundary=xyz"
PART = b'--xyz\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
GOOD_PNG = encode(grey(1)[0])


@dataclass(frozen=True)
class Bad:
    """A request, and the status, location and words that its answer must have."""

    name: str
    path: str
    body: object
    status: int
    location: str | None
    says: tuple[str, ...]
    content_type: str | None = JSON
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"


def sample(name: str, body: object, location: str, *says: str, status: int = 400) -> Bad:
    if isinstance(body, dict):
        body = {"model": "tiny-vae"} | body
    return Bad(name, "/sample", body, status, location, says)


def score(name: str, body: bytes, kind: str, location: str, *says: str, status: int = 400) -> Bad:
    return Bad(name, "/score?model=tiny-gan", body, status, location, says, content_type=kind)


def decode(name: str, body: bytes, *says: str) -> Bad:
    """Latents as npy."""
    return Bad(name, "/decode?model=tiny-vae", body, 400, "body", says, content_type=NPY)


def form(*parts: tuple[str, bytes]) -> bytes:
    """multipart/form-data of FORM's boundary."""
    head = '--xyz\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    return b"".join(head.format(name).encode() + data + b"\r\n" for name, data in parts) + b"--xyz--\r\n"


def send(http: httpx.Client, bad: Bad) -> httpx.Response:
    body = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    headers = list(bad.headers)
    if bad.content_type:
        headers.append(("Content-Type", bad.content_type))
    return http.request(bad.method, bad.path, content=body, headers=headers)


def message(answer: httpx.Response) -> str:
    """What a refusal says, in the form of either API."""
    problem = answer.json()
    return str(problem.get("detail") or problem["error"])
