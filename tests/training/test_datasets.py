"""`load`: the search order, the registry's claims, and the IDX files that most tests here are made of."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from training.data import idx
from training.datasets import KNOWN, DataError, Known, load

IMAGES = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
LABELS = np.array([1, 0, 1], np.uint8)


def write_idx(
    folder: Path,
    images: np.ndarray = IMAGES,
    labels: np.ndarray = LABELS,
    prefix: str = "train",
    packed: bool = False,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        data = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
        (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory from which no real data can be found."""
    monkeypatch.delenv("LATENTRY_DATA", raising=False)
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_become_the_arrays_they_hold(tmp_path: Path, packed: bool) -> None:
    write_idx(tmp_path / "set", packed=packed)
    write_idx(tmp_path / "set", IMAGES[:1] + 100, LABELS[:1], prefix="t10k", packed=packed)

    train = load("set", "train", tmp_path / "set")
    assert train.images.dtype == np.uint8
    assert train.images.flags.c_contiguous
    np.testing.assert_array_equal(train.images, IMAGES.reshape(3, 1, 2, 4))
    assert train.labels is not None
    assert train.labels.dtype == np.int64
    np.testing.assert_array_equal(train.labels, [1, 0, 1])
    assert train.split == "train"

    test = load("set", "test", tmp_path / "set")
    np.testing.assert_array_equal(test.images, 100 + IMAGES[:1].reshape(1, 1, 2, 4))


def test_digest_is_of_the_content_and_not_of_the_packaging(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", packed=False)
    write_idx(tmp_path / "b", packed=True)
    write_idx(tmp_path / "c", labels=np.array([1, 1, 1], np.uint8))
    for name in "abc":
        write_idx(tmp_path / name, prefix="t10k")
    a, b, c = (load(name, "train", tmp_path / name).digest for name in "abc")
    assert a == hashlib.sha256(IMAGES.tobytes() + np.array([1, 0, 1], "<i8").tobytes()).hexdigest()
    assert a == b != c


def test_places_are_searched_in_order(
    tmp_path: Path, empty_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "given", tmp_path / "env" / "set", empty_place / ".data" / "set"]
    places.append(tmp_path / "shared" / "data" / "set")
    for value, place in enumerate(places):
        images = np.full((3, 2, 4), value, np.uint8)
        write_idx(place, images)
        write_idx(place, images, prefix="t10k")
    monkeypatch.setenv("LATENTRY_DATA", str(tmp_path / "env"))

    assert load("set", "train", tmp_path / "given").images.max() == 0
    assert load("set", "train").images.max() == 1
    monkeypatch.delenv("LATENTRY_DATA")
    assert load("set", "train").images.max() == 2
    (empty_place / ".data").rename(empty_place / "hidden")
    assert load("set", "train").images.max() == 3


def test_a_path_that_is_given_is_never_replaced_by_another(tmp_path: Path, empty_place: Path) -> None:
    write_idx(empty_place / ".data" / "set")
    with pytest.raises(DataError, match=r"nowhere: expected a folder .* found nothing"):
        load("set", "train", tmp_path / "nowhere")


def test_unknown_names_list_the_known_ones_and_the_places() -> None:
    with pytest.raises(
        DataError, match=r"'minst': expected one of mnist, fashion-mnist, .*\.data/minst.*--data"
    ):
        load("minst", "train")
    with pytest.raises(DataError, match=r"expected a name, found '\.\./mnist'"):
        load("../mnist", "train")
    with pytest.raises(DataError, match=r"split: expected one of train, test, found 'valid'"):
        load("mnist", "valid")  # type: ignore[arg-type]  # what a caller without mypy may do


def test_without_download_or_mirror_the_error_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"'mnist': found in none of .*allow the download"):
        load("mnist", "train", download=False)
    with pytest.raises(DataError, match=r"'clothing64': found in none of .*no public mirror.*alexeygrigorev"):
        load("clothing64", "train")


def test_the_licence_is_claimed_for_the_published_content_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_idx(write_idx(tmp_path / "set"), prefix="t10k")
    digest = load("set", "train", folder).digest
    known = Known("CC0", "someone", ("zero", "one"), {"train": digest, "test": "0" * 64})
    monkeypatch.setitem(KNOWN, "set", known)

    train, test = load("set", "train", folder), load("set", "test", folder)
    assert (train.licence, train.source, train.class_names) == ("CC0", "someone", ("zero", "one"))
    assert (test.licence, test.source) == ("unknown", "local files: set")
    assert str(tmp_path) not in test.source


def test_labels_beyond_the_class_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_idx(write_idx(tmp_path / "set"), prefix="t10k")
    monkeypatch.setitem(KNOWN, "set", Known("CC0", "someone", ("zero",), {"train": "", "test": ""}))
    with pytest.raises(DataError, match=r"set: expected labels below 1, .* found 1"):
        load("set", "train", folder)


def test_every_known_dataset_is_described_in_full() -> None:
    for name, known in KNOWN.items():
        assert known.licence, name
        assert "https://" in known.source or "http://" in known.source, name
        assert set(known.digests) == {"train", "test"}, name
        assert len(set(known.class_names)) == len(known.class_names) >= 2, name
        assert bool(known.mirrors) == bool(known.files), name
        assert all(len(digest) == 64 for digest in (*known.digests.values(), *known.files.values())), name


def damage(data: bytes, kind: str) -> bytes:
    return {
        "short": data[:-5],
        "long": data + b"\0",
        "foreign": b"\x89PNG\r\n\x1a\n" + data[8:],
        "labels for images": struct.pack(">I", 2049) + data[4:],
        "header only": data[:7],
        "no images": struct.pack(">4I", 2051, 0, 2, 4),
        "cut gzip": gzip.compress(data)[:-9],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("short", r"expected 40 bytes \(3x2x4 and the header\), found 35; .*get it again"),
        ("long", r"expected 40 bytes .*found 41"),
        ("foreign", r"expected an IDX file with magic number 2051, found 2303741511; .*another kind"),
        ("labels for images", r"expected an IDX file with magic number 2051, found 2049"),
        ("header only", r"expected an IDX header of 16 bytes, found 7"),
        ("no images", r"expected at least one image, found dimensions \[0, 2, 4\]"),
        ("cut gzip", r"expected a whole gzip file, found \d+ bytes"),
    ],
)
def test_a_damaged_idx_file_is_named_with_what_was_found(tmp_path: Path, kind: str, message: str) -> None:
    path = write_idx(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: " + message):
        load("set", "train", tmp_path)


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_no_flipped_bit_of_a_gzipped_file_changes_an_image_unseen(tmp_path: Path) -> None:
    """Some bits of a gzip header matter to nobody: its time, its flags for text and the name it had."""
    path = write_idx(tmp_path, packed=True) / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    refused = 0
    for bit in range(8 * len(data)):
        path.write_bytes(flipped(data, bit))
        try:
            found = idx.read_split(tmp_path, "train")
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.images[:, 0], IMAGES)
    assert refused > 8 * (len(data) - 10)


def test_a_gzipped_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = write_idx(tmp_path, packed=True) / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: expected .* found"):
            idx.read_split(tmp_path, "train")


def test_a_file_that_shrinks_after_it_was_read_changes_nothing(tmp_path: Path) -> None:
    """The images are a copy in memory: a run never comes back to the file."""
    folder = write_idx(write_idx(tmp_path), prefix="t10k")
    train = load("set", "train", folder)
    for path in folder.iterdir():
        os.truncate(path, 0) if path.is_file() else None
    np.testing.assert_array_equal(train.images[:, 0], IMAGES)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The memory of this process as a file: no byte can be read at its start, as where a disk fails."""
    write_idx(write_idx(tmp_path), prefix="t10k")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").symlink_to("/proc/self/mem")
    with pytest.raises(
        DataError, match=r"train-labels-idx1-ubyte: cannot be read \(Input/output error\); see that"
    ):
        load("set", "train", tmp_path)


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, labels=LABELS[:2])
    with pytest.raises(DataError, match=r"labels-idx1-ubyte: expected 3 labels.*found 2"):
        load("set", "train", tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"expected train-labels-idx1-ubyte or .*\.gz, found neither"):
        load("set", "train", tmp_path)
