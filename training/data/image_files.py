"""Images that are files of their own: StyleGAN's layout (zipped or not) and folders named after classes."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from training.data.reading import reading
from training.data.samples import Samples
from training.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CHANNELS = {"L": 1, "RGB": 3}
"""Pillow's name of a mode -> channels. Others would lose something when converted: the user's choice."""
LABELS_FILE = "dataset.json"


def read_zip(path: Path) -> Samples:
    """A zip in StyleGAN's layout: images anywhere in it, and `dataset.json` with their labels, if any.

    `dataset.json` is `{"labels": [["00000/img00000000.png", 3], ...] or null, "class_names": [...]}`; the
    file and both keys may be absent. Images come in the order of their names, as in StyleGAN's own reader.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            samples = _read_stylegan(str(path), archive.namelist(), archive.read)
            # The list of names has no checksum. That of a file which is not read must stand at its content too: it
            # may be a damaged name of an image.
            for name in set(archive.namelist()).difference(_images_among(archive.namelist())):
                archive.open(name).close()
            return samples
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(
            f"{path}: expected a whole zip file, found {path.stat().st_size} bytes ({error}); "
            "the file is damaged or of another kind: get it again"
        ) from error


def read_stylegan_folder(folder: Path) -> Samples:
    """A StyleGAN zip that was unpacked into `folder`: as `read_zip`."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return _read_stylegan(str(folder), names, lambda name: (folder / name).read_bytes())


def class_folders(folder: Path) -> list[str]:
    """The names of the sub-folders of `folder`, sorted; hidden ones are passed over."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_class_folders(folder: Path, class_names: Sequence[str]) -> Samples:
    """The images below `folder`, sorted by path; labels are the indices of sub-folders in `class_names`.

    With no `class_names` the images lie in `folder` itself and have no labels.
    Raises DataError for images beside class folders, for none at all, and for those that `decode` refuses.
    """
    names = _images_among(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not class_names:
        return Samples(decode(str(folder), names, lambda name: (folder / name).read_bytes()))
    index = {name: label for label, name in enumerate(class_names)}
    stray = next((name for name in names if "/" not in name), None)
    if stray is not None:
        raise DataError(
            f"{folder / stray}: expected each image in the folder of its class, found this one beside them; "
            "move it into a class, or all images into one folder"
        )
    images = decode(str(folder), names, lambda name: (folder / name).read_bytes())
    labels = np.array([index[name.split("/", 1)[0]] for name in names], np.int64)
    return Samples(images, labels, tuple(class_names))


def decode(place: str, names: Sequence[str], read: Callable[[str], bytes]) -> npt.NDArray[np.uint8]:
    """The images called `names`, uint8 (N, C, H, W); C is 1 (grey) or 3 (RGB).

    `read(name)` gives a file's bytes; `place` stands before names in errors.
    Raises DataError for no images, one that does not decode, and one unlike the first in size or mode.
    """
    if not names:
        raise DataError(f"{place}: expected images ({', '.join(SUFFIXES)}), found none; check the path")
    first = _open(place, names[0], read)
    images = np.empty((len(names), CHANNELS[first.mode], first.height, first.width), np.uint8)
    for row, name in enumerate(
        tqdm(names, desc=f"reading {place}", unit=" images", leave=False, disable=None)
    ):
        image = _open(place, name, read)
        if (image.size, image.mode) != (first.size, first.mode):
            raise DataError(
                f"{place}/{name}: expected {_kind(first)} like {names[0]}, found {_kind(image)}; "
                "all images of a set must share one size and mode: convert or remove it"
            )
        images[row] = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)
    return images


def _open(place: str, name: str, read: Callable[[str], bytes]) -> Image.Image:
    with reading(f"{place}/{name}"):
        data = read(name)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{place}/{name}: expected a whole image, found {len(data)} bytes that do not decode ({error}); "
            "replace or remove the file"
        ) from error
    if image.mode not in CHANNELS:
        raise DataError(
            f"{place}/{name}: expected an 8-bit image of mode {' or '.join(CHANNELS)}, "
            f"found mode {image.mode}; convert it"
        )
    return image


def _kind(image: Image.Image) -> str:
    return f"{image.width}x{image.height} {image.mode}"


def _images_among(names: Iterable[str]) -> list[str]:
    paths = map(PurePosixPath, names)
    return sorted(
        str(path)
        for path in paths
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
    )


def _read_stylegan(place: str, files: Sequence[str], read: Callable[[str], bytes]) -> Samples:
    names = _images_among(files)
    labels, class_names = None, None
    if LABELS_FILE in files:
        labels, class_names = _parse_labels(f"{place}/{LABELS_FILE}", read(LABELS_FILE), names)
    return Samples(decode(place, names, read), labels, class_names)


def _parse_labels(
    where: str, data: bytes, names: Sequence[str]
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...] | None]:
    try:
        content = json.loads(data)
        class_names = content.get("class_names")
        pairs = content.get("labels")
        by_name = None if pairs is None else dict(pairs)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f'{where}: expected {{"labels": [["name", 3], ...], "class_names": [...]}}, '
            f"found something else ({error}); write it anew"
        ) from error
    if class_names is not None:
        class_names = tuple(map(str, class_names))
    if by_name is None:
        return None, class_names
    for name in names:
        label = by_name.get(name)
        if type(label) is not int or label < 0:
            raise DataError(
                f"{where}: expected a class number (0 or more) for {name}, found {label!r}; "
                'label every image, or none: "labels": null'
            )
    if missing := sorted(by_name.keys() - set(names)):
        raise DataError(
            f"{where}: expected {len(names)} labels, one for each image, found {len(by_name)}, the first too many for "
            f"{missing[0]!r}, which is not there; add the missing images, or remove their labels"
        )
    return np.array([by_name[name] for name in names], np.int64), class_names
