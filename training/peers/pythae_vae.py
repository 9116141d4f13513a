"""The VAE of pythae (Chadebec et al. 2022), in an environment of its own: its networks and its trainer.

This file is also the program that runs there: it needs torch, numpy and pythae, and nothing of this project.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from training.peers.made import Made, Task

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / "pythae" / "bin" / "python"
SAMPLES = 26_000
"""All that are drawn; who asks for fewer has the first."""
LATENT, BATCH, LR = 16, 64, 1e-3
"""Not its defaults, 10 and 1e-4 (with the same batch), which are for longer runs; nor is the Bernoulli likelihood."""


def train(task: "Task") -> "Made":
    """Raises ConfigError where its environment is missing, TrainingError where it failed."""
    import torch  # noqa: PLC0415 - the other side of this file has no use for these

    from training.errors import ConfigError, TrainingError  # noqa: PLC0415
    from training.peers.made import Made  # noqa: PLC0415

    if not PYTHON.exists():
        raise ConfigError(f"{PYTHON.relative_to(ROOT)} is missing: `make peers` installs pythae beside it")
    np.save(task.scratch / "images.npy", task.data.images)
    asked = (task.scratch, task.seconds, task.seed, task.device.type, torch.get_num_threads())
    command = [str(PYTHON), __file__, *map(str, asked)]
    with (task.scratch / "pythae.log").open("w+") as log:
        ended = subprocess.run(command, check=False, stdout=log, stderr=log)  # noqa: S603 - ours
        if ended.returncode:
            log.seek(0)
            raise TrainingError(f"pythae failed: {log.read()[-1000:]}")
    told = json.loads((task.scratch / "told.json").read_text())
    drawn = torch.from_numpy(np.load(task.scratch / "samples.npy"))
    return Made(lambda n: drawn[:n], told["parameters"], told["images_seen"], told["seconds"])


def main(folder: Path, seconds: float, seed: int, device: str, threads: int) -> None:
    import torch  # noqa: PLC0415
    from pythae.data.datasets import BaseDataset  # noqa: PLC0415
    from pythae.models import VAE, VAEConfig  # noqa: PLC0415
    from pythae.trainers import BaseTrainer, BaseTrainerConfig  # noqa: PLC0415
    from pythae.trainers.training_callbacks import TrainingCallback  # noqa: PLC0415

    class Clock(TrainingCallback):  # type: ignore[misc]  # pythae has no types
        """Ends the training when its time is over."""

        steps = 0
        started = seconds = 0.0

        def on_train_begin(self, *_args: Any, **_kwargs: Any) -> None:
            self.started = time.monotonic()

        def on_train_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            self.steps, self.seconds = self.steps + 1, time.monotonic() - self.started
            if self.seconds >= seconds:
                raise TimeoutError

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    images = torch.from_numpy(np.load(folder / "images.npy")).float() / 255
    model = VAE(VAEConfig(input_dim=tuple(images.shape[1:]), latent_dim=LATENT, reconstruction_loss="bce"))
    config = BaseTrainerConfig(
        output_dir=str(folder / "pythae"),
        num_epochs=1_000_000,
        learning_rate=LR,
        per_device_train_batch_size=BATCH,
        seed=seed,
        no_cuda=device != "cuda",
    )
    clock, data = Clock(), BaseDataset(images, torch.zeros(len(images)))
    trainer = BaseTrainer(model=model, train_dataset=data, training_config=config, callbacks=[clock])
    with suppress(TimeoutError):
        trainer.train()
    model.eval()
    z = torch.randn(SAMPLES, LATENT, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        drawn = torch.cat(
            [model.decoder(part.to(model.device)).reconstruction.cpu() for part in torch.split(z, 500)]
        )
    np.save(folder / "samples.npy", (255 * drawn.reshape(-1, *images.shape[1:])).round().byte().numpy())
    told: dict[str, float] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "images_seen": BATCH * clock.steps,
        "seconds": clock.seconds,
    }
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
