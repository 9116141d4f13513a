"""Large calls of the typed client, divided into requests that the service takes and put together again."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np

from service.client.request import Call

T = TypeVar("T")

# What the boundary and the headers of a part take, at most.
_PART_BYTES = 250


@dataclass(frozen=True)
class Limits:
    """What one request may hold; the settings of the service, at their defaults."""

    images: int = 1024
    body_bytes: int = 64 * 1024 * 1024


class Job(Generic[T]):
    """The requests of a call in turn; each result is given back with `add` before the next is asked for.

    Every row of an answer depends on its own image alone, so the results in a row are those of one request. The
    version that answers first is asked for in all.
    """

    def __init__(self, call: Call[T], limits: Limits) -> None:
        self._call = call
        self._limits = limits
        self._results: list[Any] = []

    def __iter__(self) -> Iterator[Call[T]]:
        ranges = list(_ranges(self._call, self._limits))
        if len(ranges) < 2:
            yield self._call
            self._report(self._call.images or 0)
            return
        version = self._call.options.get("version")
        for start, stop in ranges:
            yield self._call.part(start, stop, version)
            version = self._results[0].version
            self._report(stop)

    def add(self, result: T) -> None:
        self._results.append(result)

    def result(self) -> T:
        """Raises RuntimeError where the parts are not of one model."""
        result: T = _joined(self._results)
        return result

    def _report(self, done: int) -> None:
        total = self._call.images or 0
        if callable(self._call.progress):
            self._call.progress(done, total)
        elif self._call.progress:
            end = "\n" if done == total else ""
            print(f"\r{done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)


def _ranges(call: Call[Any], limits: Limits) -> Iterator[tuple[int, int]]:
    """Where each request starts and stops; one image is never divided, however large."""
    count = call.images or 0
    if any(len(values) != count for values in call.per_image.values()):
        return  # labels that are not one an image: the service says so
    start, held = 0, 0
    for i in range(count):
        size = _size(call, i)
        if i - start == limits.images or (i > start and held + size > limits.body_bytes):
            yield start, i
            start, held = i, 0
        held += size
    yield start, count


def _size(call: Call[Any], i: int) -> int:
    match call.upload:
        case None:
            return 0
        case np.ndarray():
            return int(call.upload[i].nbytes) + _PART_BYTES
        case files:
            return len(files[i]) + _PART_BYTES


def _joined(results: Sequence[Any]) -> Any:
    """Results of one class as one: arrays and tuples in a row, all else the same in each."""
    first, *others = results
    if not others:
        return first
    columns = {f.name: [getattr(result, f.name) for result in results] for f in fields(first)}
    return type(first)(**{name: _joined_field(name, values) for name, values in columns.items()})


def _joined_field(name: str, values: list[Any]) -> Any:
    if all(isinstance(value, np.ndarray) for value in values):
        return np.concatenate(values)
    if all(isinstance(value, tuple) for value in values):
        return sum(values, ())
    if any(value != values[0] for value in values):
        raise RuntimeError(f"the parts of a call are not of one model: {name} is {values}")
    return values[0]
