"""A file that cannot be read is an error that names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import DataError


@contextmanager
def reading(place: Path | str) -> Iterator[None]:
    """Raises DataError for an OSError inside: `place` is gone, may not be read, or lies on a disk that fails."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{place}: cannot be read ({error.strerror or error}); "
            "see that it is there, that you may read it and that its disk is well"
        ) from error
