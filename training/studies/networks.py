"""Trains a family by the project's own loop, for a study."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from training import precision
from training.config import Config
from training.datasets import Dataset
from training.loop import train
from training.run_dir import RunDir
from training.trained import Trained, load_trained


def train_family(
    config: Config, data: Dataset, device: torch.device
) -> tuple[Trained, list[Mapping[str, Any]]]:
    """The trained networks (averages where the family has them), and the rows of the run's log.

    Raises:
        KeyboardInterrupt: a signal ended the training, which then is no record.
    """
    config = precision.for_device(config, device)
    fabric = Fabric(accelerator=device.type, devices=1, precision=config.precision)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder))
        run.create(config)
        outcome = train(config, data, run, fabric, quiet=True)
        if outcome.stopped_by != "images":
            raise KeyboardInterrupt(outcome.stopped_by)
        log = [json.loads(line) for line in run.log.read_text().splitlines()] if run.log.exists() else []
        return load_trained(run.path, data, device), log
