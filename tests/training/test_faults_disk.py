"""A disk that is full: the run ends with a message, keeps its last checkpoint, and goes on from it when there is room.

Two ways to fill a disk that need no privilege: what is to become a file is a link to /dev/full, and a process whose
files may not grow beyond a size. Both fail in the kernel, in the middle of a write.
"""

import json
from pathlib import Path

import pytest

from tests.training.processes import arguments, assert_equal, finish, no_file_longer_than, run
from tests.training.recipes import small
from training.errors import WriteError
from training.events import EventFile
from training.files import write_whole
from training.run_dir import RunDir

CONFIG = small("vae", images=128, checkpoint_every_images=64)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("alone")
    finish(CONFIG, RunDir(folder / "run"), folder / "said")
    return RunDir(folder / "run")


def begun(folder: Path) -> RunDir:
    """A run that was stopped after its first step."""
    status, said = run(arguments(CONFIG, folder, "--minutes", "0"), folder.with_suffix(".said"))
    assert status == 0, said
    return RunDir(folder)


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "grids/0000000128.png", "log.jsonl", "provenance.json"]
)
def test_a_file_for_which_there_is_no_room(name: str, alone: RunDir, tmp_path: Path) -> None:
    folder, said = begun(tmp_path / "run"), tmp_path / "said"
    checkpoint = folder.checkpoint.read_bytes()
    (folder.path / f"{name}.partial").symlink_to("/dev/full")
    status, text = run(arguments(CONFIG, folder.path, "--resume"), said)
    assert status == 2, text
    assert f"error: {folder.path / name}: cannot be written (" in text
    assert "No space left on device" in text
    assert "free space there, or make it writable, and run the command again" in text
    assert "Traceback" not in text
    assert not list(folder.path.rglob("*.partial"))
    if "png" not in name:
        assert folder.checkpoint.read_bytes() == checkpoint
    finish(CONFIG, folder, said)
    assert_equal(alone, folder)


def test_a_first_checkpoint_for_which_there_is_no_room(alone: RunDir, tmp_path: Path) -> None:
    folder, said = RunDir(tmp_path / "run"), tmp_path / "said"
    # The seconds that a checkpoint names have more digits or fewer.
    longest = alone.checkpoint.stat().st_size - 64
    status, text = run(arguments(CONFIG, folder.path), said, longest_file_bytes=longest)
    assert status == 2, text
    assert f"error: {folder.checkpoint}: cannot be written (" in text
    assert "run the command again with --resume; there is no checkpoint yet" in text
    assert "Traceback" not in text
    assert not folder.checkpoint.exists()
    finish(CONFIG, folder, said)
    assert "has no checkpoint yet: it begins at its first image" in said.read_text()
    assert_equal(alone, folder)


def test_a_log_that_cannot_grow(alone: RunDir, tmp_path: Path) -> None:
    folder, said = begun(tmp_path / "run"), tmp_path / "said"
    rows = folder.log.read_text()
    padding = (json.dumps({"images_seen": 0}) + "\n") * 100_000
    folder.log.write_text(padding + rows)
    longest = folder.log.stat().st_size + len(rows) + 10
    status, text = run(arguments(CONFIG, folder.path, "--resume"), said, longest_file_bytes=longest)
    assert status == 2, text
    assert f"error: {folder.log}: cannot be written (File too large)" in text
    assert f"with --resume; the last checkpoint, {folder.checkpoint}, is whole: it is of 64 images" in text
    assert "Traceback" not in text
    # Cut in the middle of a line, as a real disk does.
    assert folder.log.stat().st_size == longest
    folder.log.write_text(folder.log.read_text().removeprefix(padding))
    finish(CONFIG, folder, said)
    assert_equal(alone, folder)


def test_tensorboard_for_which_there_is_no_room(tmp_path: Path) -> None:
    values = {f"scalar_{i}": 1.0 for i in range(20)}
    with no_file_longer_than(700):
        events = EventFile(tmp_path, first_step=1)
        events.add(values, 32)
        with pytest.raises(
            WriteError, match=r"events\S+: cannot be written \(File too large\); free space there"
        ):
            events.add(values, 64)
        events.close()


def test_a_file_that_is_there_stays_when_the_new_one_finds_no_room(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_whole(path, b"old")
    with (
        no_file_longer_than(10),
        pytest.raises(WriteError, match=r"metrics.json: cannot be written \(File too large\)"),
    ):
        write_whole(path, b"new" * 100)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"gone/x: cannot be written \(No such file or directory\)"):
        write_whole(tmp_path / "gone" / "x", b"")
