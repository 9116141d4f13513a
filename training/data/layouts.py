"""Which layout a path holds, told by its content, and which splits are in it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from training.data import idx, image_files
from training.data.samples import SPLITS, Samples, Split
from training.errors import DataError

Readers = Mapping[Split, Callable[[], Samples]]


def find_splits(path: Path) -> Readers:
    """What `path` holds: for each split that is there, the function that reads it.

    Tried in this order: a zip file (one split, "train"); a folder of IDX files; of train.zip and test.zip; of
    train/ and test/; of images (one split, "train"). Raises DataError when nothing is at `path`.
    """
    if path.is_file():
        return {"train": partial(image_files.read_zip, path)}
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of images or a zip, found nothing; check the path")
    if found := [split for split in SPLITS if idx.has_split(path, idx.PREFIXES[split])]:
        return {split: partial(idx.read_split, path, idx.PREFIXES[split]) for split in found}
    if found := [split for split in SPLITS if (path / f"{split}.zip").is_file()]:
        return {split: partial(image_files.read_zip, path / f"{split}.zip") for split in found}
    if found := [split for split in SPLITS if (path / split).is_dir()]:
        return _image_folders({split: path / split for split in found})
    return _image_folders({"train": path})


def _image_folders(folders: Mapping[Split, Path]) -> Readers:
    # A class may be missing from one split: the numbers of the others must not shift.
    names = sorted({name for folder in folders.values() for name in image_files.class_folders(folder)})
    return {
        split: (
            partial(image_files.read_stylegan_folder, folder)
            if (folder / image_files.LABELS_FILE).is_file()
            else partial(image_files.read_class_folders, folder, names)
        )
        for split, folder in folders.items()
    }


def read_split(path: Path, split: Split, held_out: int | None = None) -> Samples:
    """The images of `split` at `path`; where there is no test split, a part of "train" is held out as one.

    With `held_out` (for sets known to be shuffled) that is the last `held_out` images; otherwise a tenth, and
    at least one, picked by a shuffle that depends on the number of images alone. "train" is what is left.
    """
    readers = find_splits(path)
    if "train" not in readers and split == "train":
        raise DataError(f"{path}: expected a train split, found only {', '.join(readers)}; add it")
    if "test" in readers:
        return readers[split]()
    samples = readers["train"]()
    n = len(samples.images)
    if n < 2:
        raise DataError(
            f"{path}: expected 2 images or more, to hold one out as a test split, found {n}; add images"
        )
    # numpy promises the raw bits of a bit generator for good, but not what `Generator.permutation` does.
    order = np.arange(n) if held_out else np.argsort(np.random.PCG64(0).random_raw(n), kind="stable")
    n_test = min(held_out or max(1, n // 10), n - 1)
    return samples.take(np.sort(order[-n_test:] if split == "test" else order[:-n_test]))
