"""StyleGAN zips and image folders: labels, held-out splits, and the files that are refused."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.data import image_files
from training.data.layouts import read_split
from training.data.samples import SPLITS
from training.datasets import load
from training.errors import DataError


def png(value: int, size: tuple[int, int] = (4, 2), mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    color = value if mode in ("L", "I;16") else (value, value + 1, value + 2, 255)[: len(mode)]
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(path: Path, n: int, dataset: dict[str, Any] | None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i in reversed(range(n)):
            archive.writestr(f"00000/img{i:08d}.png", png(i))
        if dataset is not None:
            archive.writestr("dataset.json", json.dumps(dataset))
    return path


def values(images: np.ndarray) -> list[int]:
    """The grey value of each image of one colour."""
    return [int(image.flat[0]) for image in images]


def labels_for(n: int) -> list[list[Any]]:
    return [[f"00000/img{i:08d}.png", i % 3] for i in range(n)]


def test_rgb_images_become_channels_first(tmp_path: Path) -> None:
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    write_folder(tmp_path, {"train/0.png": buffer.getvalue(), "test/0.png": buffer.getvalue()})
    images = load("set", "train", tmp_path).images
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, image.transpose(2, 0, 1)[None])


def test_a_zip_pair_has_the_labels_and_names_of_its_json(tmp_path: Path) -> None:
    write_zip(tmp_path / "train.zip", 5, {"labels": labels_for(5), "class_names": ["a", "b", "c"]})
    write_zip(tmp_path / "test.zip", 2, {"labels": labels_for(2), "class_names": ["a", "b", "c"]})
    train = load("set", "train", tmp_path)
    assert train.images.shape == (5, 1, 2, 4)
    assert values(train.images) == [0, 1, 2, 3, 4]
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 2, 0, 1]
    assert train.class_names == ("a", "b", "c")
    assert values(load("set", "test", tmp_path).images) == [0, 1]


@pytest.mark.parametrize("dataset", [None, {}, {"labels": None}])
def test_a_zip_without_labels_is_unlabelled(tmp_path: Path, dataset: dict[str, Any] | None) -> None:
    train = load("set", "train", write_zip(tmp_path / "x.zip", 3, dataset))
    assert train.labels is None
    assert train.class_names is None


def test_an_unpacked_zip_reads_as_the_zip_does(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", 12, {"labels": labels_for(12)})
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "x")
    for split in SPLITS:
        zipped, unpacked = (load("set", split, place) for place in (path, tmp_path / "x"))
        assert zipped.digest == unpacked.digest
        assert zipped.labels is not None


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"labels": labels_for(2)}, r"dataset.json: expected a class number .*img00000002.png, found None"),
        ({"labels": [["00000/img00000000.png", 1.5]]}, r"img00000000.png, found 1.5"),
        ({"labels": [["00000/img00000000.png", -1]]}, r"img00000000.png, found -1"),
        ({"labels": [["00000/img00000000.png", True]]}, r"img00000000.png, found True"),
        ({"labels": [1, 2]}, r'dataset.json: expected {"labels"'),
        ([], r'dataset.json: expected {"labels"'),
        (
            {"labels": labels_for(4)},
            r"expected 3 labels, .* found 4, .* '00000/img00000003.png', which is not there",
        ),
        ({"labels": labels_for(3), "class_names": ["a", "b"]}, r"expected labels below 2, .* found 2"),
    ],
)
def test_wrong_labels_are_refused_by_name(tmp_path: Path, dataset: Any, message: str) -> None:
    write_zip(tmp_path / "test.zip", 1, None)
    write_zip(tmp_path / "train.zip", 3, dataset)
    with pytest.raises(DataError, match=message):
        load("set", "train", tmp_path)


def test_a_cut_zip_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", 3, None)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"x.zip: expected a whole zip file, found \d+ bytes .*get it again"):
        load("set", "train", path)


def test_a_damaged_image_in_a_zip_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", 3, None)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x.zip: expected a whole zip file"):
        load("set", "train", path)


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_no_flipped_bit_of_a_zip_changes_an_image_unseen(tmp_path: Path) -> None:
    """The list of names at the end of the file, which has no checksum, is for the next test."""
    path = write_zip(tmp_path / "x.zip", 2, {"labels": labels_for(2)})
    with zipfile.ZipFile(path) as archive:
        list_at = archive.start_dir
    whole, data = image_files.read_zip(path), path.read_bytes()
    refused = 0
    for bit in range(0, 8 * list_at, 3):
        path.write_bytes(flipped(data, bit))
        try:
            found = image_files.read_zip(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.images, whole.images, f"bit {bit}")
            np.testing.assert_array_equal(found.labels, whole.labels, f"bit {bit}")
    assert refused > list_at


def test_a_flipped_bit_in_a_listed_name_of_a_zip_loses_no_image(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", 2, None)
    data = path.read_bytes()
    first = 8 * data.rindex(b"00000/img00000000.png")
    for bit in range(first, first + 8 * len("00000/img00000000.png")):
        path.write_bytes(flipped(data, bit))
        with pytest.raises(DataError, match=r"x.zip"):
            image_files.read_zip(path)


def test_a_zip_that_shrinks_between_its_list_and_its_images_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, decode = write_zip(tmp_path / "x.zip", 3, None), image_files.decode
    lengths = iter(range(path.stat().st_size // 2))

    def shrink_and_decode(place: str, names: list[str], read: Callable[[str], bytes]) -> np.ndarray:
        os.truncate(path, next(lengths))
        return decode(place, names, read)

    monkeypatch.setattr(image_files, "decode", shrink_and_decode)
    for _ in range(path.stat().st_size // 2):
        write_zip(path, 3, None)
        with pytest.raises(DataError, match=r"x.zip"):
            image_files.read_zip(path)


def test_an_image_that_is_gone_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.png": png(0)})
    (tmp_path / "b.png").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"b.png: cannot be read \(Input/output error\); see that"):
        load("set", "train", tmp_path)
    with pytest.raises(DataError, match=r"gone.png: cannot be read \(No such file or directory\)"):
        image_files.decode(str(tmp_path), ["gone.png"], lambda name: (tmp_path / name).read_bytes())


def test_sub_folders_are_classes_in_sorted_order_and_hidden_files_are_none(tmp_path: Path) -> None:
    files = {f"train/{kind}/{i}.png": png(10 * c + i) for c, kind in enumerate(["b", "a"]) for i in range(2)}
    files |= {
        "test/b/0.png": png(99),
        "train/a/._0.png": b"mac",
        "train/.cache/0.png": b"x",
        "train/a/notes.txt": b"",
    }
    write_folder(tmp_path, files)
    train, test = load("set", "train", tmp_path), load("set", "test", tmp_path)
    assert train.class_names == ("a", "b") == test.class_names
    assert train.labels is not None
    assert test.labels is not None
    assert (values(train.images), train.labels.tolist()) == ([10, 11, 0, 1], [0, 0, 1, 1])
    # "a" has no test image: "b" is number 1 all the same.
    assert (values(test.images), test.labels.tolist()) == ([99], [1])


def test_a_tenth_is_held_out_of_every_part_and_always_the_same(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{i:03d}.png": png(i) for i in range(100)})
    train, test = load("set", "train", tmp_path), load("set", "test", tmp_path)
    assert len(test.images) == 10
    assert sorted(values(train.images) + values(test.images)) == list(range(100))
    assert train.labels is None
    # Spread over the set, for folders are often sorted by class. Pinned: what is held out on one machine must
    # not be trained on by another.
    assert values(test.images) == [26, 27, 67, 73, 77, 78, 91, 94, 95, 97]


def test_a_shuffled_set_holds_out_its_tail(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", 7, {"labels": labels_for(7)})
    train, test = read_split(path, "train", held_out=3), read_split(path, "test", held_out=3)
    assert values(train.images) == [0, 1, 2, 3]
    assert values(test.images) == [4, 5, 6]
    assert test.labels is not None
    assert test.labels.tolist() == [1, 2, 0]


def test_a_single_image_is_too_few_to_hold_one_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"0.png": png(0)})
    with pytest.raises(DataError, match=r"expected 2 images or more.* found 1"):
        load("set", "train", tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"expected images .*, found none"),
        ({"b.png": png(0, size=(3, 2))}, r"b.png: expected 4x2 L like a.png, found 3x2 L"),
        ({"b.png": png(0, mode="RGB")}, r"b.png: expected 4x2 L like a.png, found 4x2 RGB"),
        ({"a.png": png(0, mode="RGBA")}, r"a.png: expected an 8-bit image of mode L or RGB, found mode RGBA"),
        ({"a.png": png(0, mode="I;16")}, r"a.png: expected an 8-bit image of mode L or RGB, found mode I;16"),
        ({"b.png": png(0)[:-30]}, r"b.png: expected a whole image, found \d+ bytes that do not decode"),
        ({"b.jpg": b"GIF89a"}, r"b.jpg: expected a whole image, found 6 bytes"),
        ({"cats/b.png": png(0)}, r"a.png: expected each image in the folder of its class"),
    ],
)
def test_a_folder_of_unequal_or_broken_images_names_the_file(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    write_folder(tmp_path, ({"a.png": png(0)} | files) if files else {"notes.txt": b""})
    with pytest.raises(DataError, match=message):
        load("set", "train", tmp_path)


def test_a_test_split_alone_is_no_training_set(tmp_path: Path) -> None:
    write_zip(tmp_path / "test.zip", 3, None)
    assert values(load("set", "test", tmp_path).images) == [0, 1, 2]
    with pytest.raises(DataError, match=r"expected a train split, found only test"):
        load("set", "train", tmp_path)
