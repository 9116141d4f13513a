"""Stopping, going on, and what is left on disk. Bit-equality holds on the CPU with one thread."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from tests.training.recipes import MINI, mini, small
from training.checkpoint import load_network, read_tensors
from training.config import Config
from training.errors import CheckpointError, RunDirError, TrainingError
from training.families import build
from training.loop import Outcome, train
from training.run_dir import RunDir

FAMILIES = ("ae", "vae", "gan", "classifier")


def run_to(config: Config, run: RunDir, *, resume: bool = False, minutes: float | None = None) -> Outcome:
    run.resume(config) if resume else run.create(config)
    return train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=minutes, resume=resume)


def state(run: RunDir) -> dict[str, torch.Tensor]:
    return read_tensors(run.checkpoint)[0]


def command(config: Config, folder: Path, *more: str) -> list[str]:
    """The command line that trains `config`; TOML is a superset of what the config needs here."""
    recipe = folder.with_suffix(".toml")
    lines = [
        f"{k} = {json.dumps(v)}" for k, v in json.loads(config.to_json()).items() if not isinstance(v, dict)
    ]
    for table in ("optimizer", "model"):
        lines += [f"[{table}]"]
        lines += [f"{k} = {json.dumps(v)}" for k, v in json.loads(config.to_json())[table].items()]
    recipe.write_text("\n".join(lines))
    arguments = ["train", str(recipe), "--data", str(MINI), "--out", str(folder), "--threads", "1", *more]
    return [sys.executable, "-m", "training", *arguments, "--device", "cpu"]


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


def wait_for(condition: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_kill_9_and_resume_gives_the_weights_of_the_run_left_alone(tmp_path: Path) -> None:
    config = small("gan", images=2_048, checkpoint_every_images=96)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command(config, tmp_path / "alone"), check=True, capture_output=True, env=environment)
    killed = RunDir(tmp_path / "killed")
    process = subprocess.Popen(
        command(config, killed.path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    wait_for(killed.checkpoint, process)
    process.kill()
    process.wait()
    at = json.loads(read_tensors(killed.checkpoint)[1]["state"])["images_seen"]
    assert 0 < at < 2_048
    subprocess.run(command(config, killed.path, "--resume"), check=True, capture_output=True, env=environment)
    one, two = state(RunDir(tmp_path / "alone")), state(killed)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name
    rows = [json.loads(line)["images_seen"] for line in killed.log.read_text().splitlines()]
    assert rows == list(range(32, 2_049, 32))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_with_a_checkpoint(number: signal.Signals, tmp_path: Path) -> None:
    config = small("ae", images=1_000_000, checkpoint_every_images=64)
    run = RunDir(tmp_path / "run")
    process = subprocess.Popen(command(config, run.path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(run.checkpoint, process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"stopped by {number.name}" in out.decode()
    assert 0 < json.loads(read_tensors(run.checkpoint)[1]["state"])["images_seen"] < 1_000_000


def test_a_loss_that_stays_non_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    """Half the images fine, then a learning rate that blows up: the checkpoint is of the fine half."""
    config = small("ae", images=4_096, optimizer={"lr": 1e30, "warmup_images": 0}, checkpoint_every_images=32)
    run = RunDir(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"mse is nan, and 10 steps in a row were so.*lower optimizer.lr"):
        run_to(config, run)
    assert not run.checkpoint.exists() or all(
        t.isfinite().all() for n, t in state(run).items() if n.startswith("network.")
    )


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
    with pytest.raises(RunDirError, match="holds no run to resume"):
        RunDir(tmp_path / "other").resume(config)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    config, run = small("ae", images=32), RunDir(tmp_path / "run")
    run_to(config, run)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"checkpoint.safetensors: cannot be read as safetensors"):
        run_to(config, run, resume=True)


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
    with pytest.raises(RunDirError, match="was begun on other data"):
        run.begin_session(mini("test"), torch.device("cpu"), 1)
