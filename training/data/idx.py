"""IDX, the file format of MNIST: a big-endian header (magic number, dimensions), then unsigned bytes."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.reading import reading
from training.data.samples import Samples
from training.errors import DataError

IMAGES_MAGIC = 2051
"""0x00000803: unsigned bytes in 3 dimensions (images, rows, columns)."""
LABELS_MAGIC = 2049
"""0x00000801: unsigned bytes in 1 dimension."""

PREFIXES = {"train": "train", "test": "t10k"}


def has_split(folder: Path, prefix: str) -> bool:
    """Whether `folder` holds a file of the split whose names start with `prefix` ("train" or "t10k")."""
    return any(_find(folder, name) for name in _names(prefix))


def read_split(folder: Path, prefix: str) -> Samples:
    """The images and labels of `<prefix>-images-idx3-ubyte[.gz]` and `<prefix>-labels-idx1-ubyte[.gz]`.

    Raises DataError when one is missing, is not such a file, is cut short, or when their counts differ.
    """
    images_path, labels_path = (_existing(folder, name) for name in _names(prefix))
    images = read_idx(images_path, IMAGES_MAGIC)
    labels = read_idx(labels_path, LABELS_MAGIC)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, one for each image of {images_path.name}, "
            f"found {len(labels)}; the two files are not of one set: get both again"
        )
    return Samples(images[:, np.newaxis], labels.astype(np.int64))


def read_idx(path: Path, magic: int) -> npt.NDArray[np.uint8]:
    """The array of the IDX file at `path` (plain, or gzipped: told by its content), uint8, writable.

    `magic` is the number expected at its head; its last byte counts the dimensions. Raises DataError.
    """
    data = _unpacked(path)
    n_dims = magic & 0xFF
    header_bytes = 4 * (1 + n_dims)
    if len(data) < header_bytes:
        raise DataError(
            f"{path}: expected an IDX header of {header_bytes} bytes, found {len(data)} in all; {AGAIN}"
        )
    found, *shape = (int(word) for word in np.frombuffer(data, ">u4", count=1 + n_dims))
    if found != magic:
        raise DataError(f"{path}: expected an IDX file with magic number {magic}, found {found}; {FOREIGN}")
    if 0 in shape:
        raise DataError(f"{path}: expected at least one image, found dimensions {shape}; {AGAIN}")
    expected = header_bytes + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        size = "x".join(map(str, shape))
        raise DataError(
            f"{path}: expected {expected} bytes ({size} and the header), found {len(data)}; {AGAIN}"
        )
    return np.frombuffer(data, np.uint8, offset=header_bytes).reshape(shape).copy()


AGAIN = "the file is damaged: delete it and get it again"
FOREIGN = "this is another kind of file: check its name, or point --data at the right folder"


def _unpacked(path: Path) -> bytes:
    with reading(path):
        data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole gzip file, found {len(data)} bytes ({error}); {AGAIN}"
        ) from error


def _names(prefix: str) -> tuple[str, str]:
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _existing(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder}: expected {name} or {name}.gz, found neither; add the missing file")
    return path
