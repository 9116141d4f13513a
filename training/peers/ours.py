"""A recipe of ours, of as many images as its time allows: so its learning rate comes down by the end of it.

What else is a part of a run, the warm-up of the KL term and the half-life of the average, is the same part of this one.
The prior that is fitted afterwards to the codes of a VAE without one is part of what is served, and of the time.
"""

import dataclasses
import time

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from training import fitted_prior, precision
from training.config import Config, load_recipe
from training.evaluation.likelihood import learned_log_prior
from training.evaluation.samples import SEED, sample
from training.families import latent_dim
from training.families.vae import VAEConfig
from training.loop import train as train_run
from training.metrics.elbo import standard_normal_log_density_nats
from training.peers.made import Density, Made, Task, Train
from training.run_dir import RunDir
from training.trained import load_trained

TRIAL = 0.1
"""Of the time, trained before it to see how fast it goes."""
CAUTION = 0.97
"""Of the images that would fit: a run that is cut off ends before its learning rate has come down."""


def train(recipe: str) -> Train:
    """The training of a recipe, by its name or its path."""

    def made(task: Task) -> Made:
        config = dataclasses.replace(precision.for_device(load_recipe(recipe), task.device), seed=task.seed)
        trial, images, seconds = _run(config, task, "trial", TRIAL * task.seconds)
        left = max(0.0, task.seconds - _fit_prior(trial, task))
        steps = max(1, int(CAUTION * images / seconds * left / config.batch_size))
        config = shortened(config, steps * config.batch_size)
        run, images, seconds = _run(config, task, "run", left)
        seconds += _fit_prior(run, task)
        trained = load_trained(run.path, task.data, task.device)
        operations = trained.operations(task.data, task.device)
        served, dim = trained.served(operations), latent_dim(config.model)

        def draw(n: int) -> Tensor:
            return sample(served, dim, n, SEED, task.device)

        parameters = sum(p.numel() for network in trained.networks.values() for p in network.parameters())
        return Made(draw, parameters, images, seconds, _density(config, operations))

    return made


def shortened(config: Config, images: int) -> Config:
    """The config of a run of so many images; a longer one has its warm-up and its half-life as they are."""
    part = min(1.0, images / config.images)
    model = config.model
    if isinstance(model, VAEConfig):
        model = dataclasses.replace(model, kl_warmup_images=round(part * model.kl_warmup_images))
    half_life = round(part * config.ema_half_life_images)
    return dataclasses.replace(config, images=images, model=model, ema_half_life_images=half_life)


def _run(config: Config, task: Task, name: str, seconds: float) -> tuple[RunDir, int, float]:
    """The run, the images that it saw, and its seconds. Raises KeyboardInterrupt where a signal ended it."""
    run = RunDir(task.scratch / name)
    run.create(config)
    fabric = Fabric(accelerator=task.device.type, devices=1, precision=config.precision)
    outcome = train_run(config, task.data, run, fabric, minutes=seconds / 60, quiet=True)
    if outcome.stopped_by not in ("images", "minutes"):
        raise KeyboardInterrupt(outcome.stopped_by)
    return run, outcome.images_seen, outcome.seconds


def _fit_prior(run: RunDir, task: Task) -> float:
    """Where it lacks one; the seconds that it took."""
    started = time.monotonic()
    fitted_prior.fit_where_lacking(run.path, task.data, task.device)
    return time.monotonic() - started


def _density(config: Config, operations: dict[str, nn.Module]) -> Density | None:
    if not (isinstance(config.model, VAEConfig) and config.model.pixels == "binarised"):
        return None
    log_prior = learned_log_prior(operations) or standard_normal_log_density_nats
    encode, generate = (torch.no_grad()(operations[name].forward) for name in ("encode", "generate"))
    return Density(encode, generate, log_prior)
