"""Stopping, going on, and what is left on disk. Bit-equality holds on the CPU with one thread."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.processes import arguments
from tests.training.recipes import mini, small
from training.checkpoint import load_network, read_tensors, restore, write_tensors
from training.config import Config
from training.errors import CheckpointError, RunDirError, TrainingError
from training.families import build
from training.families.gan import GAN
from training.loop import Outcome, make_players, new_family, train
from training.player import Batch, Player, Progress
from training.run_dir import RunDir

FAMILIES = ("ae", "vae", "gan", "classifier")


def run_to(config: Config, run: RunDir, *, resume: bool = False, minutes: float | None = None) -> Outcome:
    run.resume(config) if resume else run.create(config)
    return train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=minutes, resume=resume)


def state(run: RunDir) -> dict[str, torch.Tensor]:
    return read_tensors(run.checkpoint)[0]


def command(config: Config, folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "training", *arguments(config, folder, *more)]


def test_a_run_leaves_config_log_grids_tensorboard_and_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    outcome = run_to(small("vae"), run)
    assert (outcome.images_seen, outcome.stopped_by) == (256, "images")
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [row["images_seen"] for row in rows] == list(range(32, 257, 32))
    assert {"elbo_nats", "log_likelihood_nats", "kl_nats", "seconds"} <= rows[0].keys()
    assert [p.name for p in sorted((tmp_path / "run/grids").iterdir())] == [
        "0000000128.png",
        "0000000256.png",
    ]
    assert list(run.tensorboard.iterdir())
    assert not list(run.path.glob("*.partial"))


def test_a_step_is_told_which_part_of_the_run_is_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    step = GAN.step

    def listening(
        self: GAN, players: Mapping[str, Player], batches: Sequence[Batch], progress: Progress
    ) -> dict[str, torch.Tensor]:
        told.append(progress.fraction)
        return step(self, players, batches, progress)

    monkeypatch.setattr(GAN, "step", listening)
    run_to(small("gan"), RunDir(tmp_path / "run"))
    assert told == [i / 8 for i in range(8)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_is_interrupted_and_resumed_is_the_run_left_alone(family: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = small(family)
    alone, halves = RunDir(tmp_path / "alone"), RunDir(tmp_path / "halves")
    run_to(config, alone)
    assert run_to(config, halves, minutes=0).stopped_by == "minutes"
    assert json.loads(read_tensors(halves.checkpoint)[1]["state"])["step"] == 1
    run_to(config, halves, resume=True)
    one, two = state(alone), state(halves)
    assert one.keys() == two.keys()
    assert any(name.startswith("optimizer.") for name in one)
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_moments_come_back_in_the_layout_of_their_weights(tmp_path: Path) -> None:
    config, run, fabric = small("ae"), RunDir(tmp_path / "run"), Fabric(accelerator="cpu", devices=1)
    run_to(config, run)
    players = make_players(new_family(config, mini()), config, fabric)
    restore(run.checkpoint, players, {}, config.sha256())
    optimizer = players["ae"].optimizer
    weights = [w for group in optimizer.param_groups for w in group["params"] if w.dim() == 4]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    assert any(not w.is_contiguous() for w in weights)
    for weight in weights:
        for name in ("exp_avg", "exp_avg_sq"):
            assert optimizer.state[weight][name].stride() == weight.stride()


def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    config, run = small("vae"), RunDir(tmp_path / "run")
    run_to(config, run, minutes=0)
    run_to(config, run, resume=True)
    shown = EventAccumulator(str(run.tensorboard)).Reload().Scalars("elbo_nats")
    assert [event.step for event in shown] == list(range(32, 257, 32))
    logged = [json.loads(line)["elbo_nats"] for line in run.log.read_text().splitlines()]
    assert [event.value for event in shown] == pytest.approx(logged)


def wait_for(condition: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_more_images_a_batch_than_there_are_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="640 training images make no batch of 1,024"):
        run_to(small("ae", batch_size=1_024), RunDir(tmp_path / "run"))


def test_a_run_is_not_overwritten_nor_resumed_with_another_config(tmp_path: Path) -> None:
    config, run = small("ae", images=32), RunDir(tmp_path / "run")
    run_to(config, run)
    with pytest.raises(RunDirError, match="holds a run: add --resume"):
        run.create(config)
    with pytest.raises(RunDirError, match="batch_size was 32, now 16"):
        run.resume(replace(config, batch_size=16))
    changed = replace(config, seed=7, optimizer=replace(config.optimizer, lr=0.5))
    with pytest.raises(
        RunDirError,
        match=r"optimizer.lr was 0.001, now 0.5; seed was 0, now 7: resume with the recipe .* or begin a new run",
    ):
        run.resume(changed)
    with pytest.raises(RunDirError, match="holds no run to resume"):
        RunDir(tmp_path / "other").resume(config)


def test_a_checkpoint_of_other_networks_names_the_first_tensor(tmp_path: Path) -> None:
    run_to(small("ae", images=32), RunDir(tmp_path / "one"))
    other = small("ae", {"latent_dim": 5}, images=32)
    run = RunDir(tmp_path / "two")
    run_to(other, run)
    tensors, _ = read_tensors(RunDir(tmp_path / "one").checkpoint)
    network = build(other.model, (1, 28, 28), 10).networks["ae"]
    with pytest.raises(
        CheckpointError, match=r"network.ae.decoder.project.weight is .* in the file, .* in the config"
    ):
        load_network(network, tensors, "network.ae", run.checkpoint)


def test_two_processes_train_one_model_and_stop_together(tmp_path: Path) -> None:
    config = small("gan", images=1_000_000, optimizer={"lr": 1e-3}, checkpoint_every_images=64)
    run = RunDir(tmp_path / "run")
    process = subprocess.Popen(
        command(config, run.path, "--devices", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(run.checkpoint, process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0
    assert "stopped by SIGTERM" in out.decode()
    assert json.loads(run.provenance.read_text())["sessions"][0]["devices"] == 2
    assert json.loads(read_tensors(run.checkpoint)[1]["state"])["ranks"] == 2
    assert all(t.isfinite().all() for n, t in state(run).items() if n.startswith("network."))


def test_two_processes_step_on_the_mean_of_their_gradients(tmp_path: Path) -> None:
    """An autoencoder without batch norm would be equal; with it, near: each process sees half of the batch."""
    config = small("ae", images=32, optimizer={"lr": 1e-3, "warmup_images": 0})
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    subprocess.run(command(config, one.path), check=True, capture_output=True)
    subprocess.run(command(config, two.path, "--devices", "2"), check=True, capture_output=True, timeout=300)
    # Adam's first moment after a step is a tenth of the gradient.
    moments = [name for name in state(one) if name.endswith("exp_avg")]
    assert moments
    a, b = (torch.cat([state(run)[name].flatten() for name in moments]) for run in (one, two))
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.95
    assert 0.9 < float(b.norm() / a.norm()) < 1.1


def test_a_batch_that_does_not_divide_among_the_processes_is_an_error(tmp_path: Path) -> None:
    config = small("ae", batch_size=33, images=66)
    result = subprocess.run(
        command(config, tmp_path / "run", "--devices", "2"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode != 0
    assert "batch_size = 33: must be a multiple of accumulate = 1 times 2 devices" in result.stderr


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create(small("ae"))
    run.begin_session(mini(), torch.device("cpu"), 1)
    run.begin_session(mini(), torch.device("cpu"), 1)
    assert len(json.loads(run.provenance.read_text())["sessions"]) == 2
    with pytest.raises(
        RunDirError, match=r"data.images was 640, now \d+; data.sha256 was '\w{64}', now '\w{64}': go on with"
    ):
        run.begin_session(mini("test"), torch.device("cpu"), 1)


def test_a_run_goes_on_when_its_data_was_moved(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create(small("ae"))
    run.begin_session(replace(mini(), source="local files: here"), torch.device("cpu"), 1)
    run.begin_session(replace(mini(), source="local files: there"), torch.device("cpu"), 1)
    assert json.loads(run.provenance.read_text())["data"]["source"] == "local files: here"


def test_a_run_is_not_resumed_with_another_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU and a CUDA build of one version are no two: the same run may go from one to the other."""
    run = RunDir(tmp_path / "run")
    run.create(small("ae"))
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    run.begin_session(mini(), torch.device("cpu"), 1)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    run.begin_session(mini(), torch.device("cpu"), 1)
    monkeypatch.setattr(torch, "__version__", "2.14.1")
    with pytest.raises(
        RunDirError, match=r"torch was '2.13.0', now '2.14.1': go on with .* the torch of the first"
    ):
        run.begin_session(mini(), torch.device("cpu"), 1)


@pytest.mark.parametrize("content", ["", "[]", '{"data": {}, "sessions": []}', "\x00"])
def test_a_damaged_provenance_is_named(tmp_path: Path, content: str) -> None:
    run = RunDir(tmp_path / "run")
    run.create(small("ae"))
    run.provenance.write_text(content)
    with pytest.raises(RunDirError, match=r"provenance.json: is not understood .* or begin a new run"):
        run.begin_session(mini(), torch.device("cpu"), 1)


def test_a_checkpoint_of_another_version_of_the_code_names_both(tmp_path: Path) -> None:
    """A new key of the config has a default, so the recipe is as it was, but its digest is not."""
    config, run = small("ae", images=32), RunDir(tmp_path / "run")
    run_to(config, run)
    tensors, metadata = read_tensors(run.checkpoint)
    counters = json.loads(metadata["state"])
    write_tensors(run.checkpoint, tensors, {"state": json.dumps({**counters, "config_sha256": "0" * 64})})
    with pytest.raises(
        CheckpointError,
        match=rf"or by a version .* was 000000000000, now {config.sha256()[:12]}\); resume with",
    ):
        run_to(config, run, resume=True)
    write_tensors(run.checkpoint, tensors, {"state": json.dumps({**counters, "epoch": 3})})
    with pytest.raises(CheckpointError, match=r"counters are not understood .*'epoch'.* of another version"):
        run_to(config, run, resume=True)
