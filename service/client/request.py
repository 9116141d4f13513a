"""One call of the typed client as a request, and how its answer is read."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from service.client import answers as client_answers
from service.client.results import Pictures

NPY = "application/x-npy"
JSON = "application/json"

T = TypeVar("T")
# Called with how many images are done, and of how many; True: a line on standard error.
Progress = bool | Callable[[int, int], None]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how to read its answer.

    `options` are of the whole request. `per_image` (seeds, labels) and `upload` (images or latents as an array, or
    files) have one item an image. Options go in the query beside an upload, else in a JSON body; None is not given.
    `images`: how many, where the call can be divided by images.
    """

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[httpx.Response], T]
    accept: str = JSON
    options: Mapping[str, Any] = field(default_factory=dict)
    per_image: Mapping[str, Sequence[int]] = field(default_factory=dict)
    upload: NDArray[Any] | Sequence[bytes] | None = None
    images: int | None = None
    progress: Progress = False

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        given = {name: plain(value) for name, value in self.options.items() if value is not None}
        for name, values in self.per_image.items():
            given |= _in_a_row(values) if isinstance(values, range) else {name: plain(values)}
        headers = {"Accept": self.accept}
        body: dict[str, Any] = {}
        match self.upload:
            case None if self.method == "POST":
                body = {"json": given}
            case None:
                pass
            case np.ndarray():
                headers["Content-Type"] = NPY
                body = {"content": _npy(self.upload), "params": _texts(given)}
            case files:
                parts = [
                    ("images", (f"{i}", data, "application/octet-stream")) for i, data in enumerate(files)
                ]
                body = {"files": parts, "params": _texts(given)}
        return http.build_request(self.method, self.path, headers=headers, **body)

    def answer(self, response: httpx.Response) -> T:
        """Raises LatentryError for a status that is not 2xx."""
        if not response.is_success:
            raise client_answers.error(response)
        result = self.read(response)
        if (
            isinstance(result, Pictures) and not result.seeds
        ):  # the service does not repeat a list that is long
            return replace(result, seeds=tuple(self.per_image.get("seeds", ())))
        return result

    def part(self, start: int, stop: int, version: int | None) -> "Call[T]":
        """The same of images `start` to `stop` alone, and of this version of the model."""
        return replace(
            self,
            options={**self.options, "version": version},
            per_image={name: values[start:stop] for name, values in self.per_image.items()},
            upload=None if self.upload is None else self.upload[start:stop],
            images=stop - start,
        )


def plain(value: Any) -> Any:
    """numpy's numbers and arrays, and sequences of them, as Python's."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return np.asarray(value).tolist()


def _in_a_row(seeds: range) -> dict[str, int]:
    return {"seed": seeds.start, "n": len(seeds)}


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as a query string has them: lists with commas, true and false."""
    return {name: _text(value) for name, value in options.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
