"""A checkpoint that is not what was written: refused with file and reason, whatever bit of it is wrong."""

import random
from pathlib import Path

import pytest
import torch

from tests.training.processes import arguments, finish, run
from tests.training.recipes import small
from training.checkpoint import read_state, read_tensors
from training.errors import CheckpointError
from training.run_dir import RunDir

CONFIG = small("ae", images=64, checkpoint_every_images=32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("finished")
    finish(CONFIG, RunDir(folder / "run"), folder / "said")
    return RunDir(folder / "run")


def refusal(path: Path) -> str | None:
    try:
        read_state(path, read_tensors(path)[1])
    except CheckpointError as error:
        return str(error)
    return None


def test_no_flipped_bit_goes_unseen(finished: RunDir, tmp_path: Path) -> None:
    """In the header, whose every byte matters in a way of its own, and in the numbers."""
    data, path = finished.checkpoint.read_bytes(), tmp_path / "checkpoint.safetensors"
    tensors, metadata = read_tensors(finished.checkpoint)
    header = 8 + int.from_bytes(data[:8], "little")
    chosen = random.Random(3)
    name = data.index(b'"sha256"')
    positions = [
        *range(8),
        *range(name, name + 12),
        *chosen.sample(range(8, header), 300),
        *chosen.sample(range(header, len(data)), 60),
    ]
    refused = 0
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        if reason := refusal(path):
            assert reason.startswith(f"{path}: "), position
            assert reason.endswith("put a copy of it back, or begin again with another --out")
            refused += 1
        else:
            found, told = read_tensors(path)
            assert told == metadata, position
            assert found.keys() == tensors.keys(), position
            assert all(torch.equal(found[name], tensors[name]) for name in tensors), position
    # Blanks at the end of the header mean nothing.
    assert refused > len(positions) - 10


@pytest.mark.parametrize("length", [0, 7, 8, 1_000, -100, -1])
def test_a_cut_checkpoint_is_refused(finished: RunDir, length: int, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(finished.checkpoint.read_bytes()[:length])
    with pytest.raises(
        CheckpointError, match=r"checkpoint.safetensors: cannot be read as safetensors: .*begin again"
    ):
        read_tensors(path)


def test_a_run_is_not_resumed_from_a_damaged_checkpoint_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    folder, said = RunDir(tmp_path / "run"), tmp_path / "said"
    assert run(arguments(CONFIG, folder.path, "--minutes", "0"), said)[0] == 0
    good = folder.checkpoint.read_bytes()
    damaged = good[:-5] + bytes([good[-5] ^ 1]) + good[-4:]
    folder.checkpoint.write_bytes(damaged)
    rows = folder.log.read_bytes()
    status, text = run(arguments(CONFIG, folder.path, "--resume"), said)
    assert status == 2
    assert f"error: {folder.checkpoint}: is damaged: its content has sha256 " in text
    assert "Traceback" not in text
    assert folder.checkpoint.read_bytes() == damaged
    assert folder.log.read_bytes() == rows
    folder.checkpoint.write_bytes(good)
    finish(CONFIG, folder, said)
