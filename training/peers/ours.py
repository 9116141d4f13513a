"""A recipe of ours, with as many images as its time allows, so that its learning rate has come down at the end."""

import dataclasses

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

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


def train(recipe: str) -> Train:
    """The training of a recipe, by its name or its path."""

    def made(task: Task) -> Made:
        config = dataclasses.replace(load_recipe(recipe), seed=task.seed)
        _, images, seconds = _run(config, task, "trial", TRIAL * task.seconds)
        rounds = max(1, round(images / seconds * task.seconds / config.batch_size))
        config = dataclasses.replace(config, images=rounds * config.batch_size)
        run, images, _ = _run(config, task, "run", 2 * task.seconds)
        trained = load_trained(run.path, task.data, task.device)
        operations = trained.operations(task.data, task.device)
        served, dim = trained.served(operations), latent_dim(config.model)

        def draw(n: int) -> Tensor:
            return sample(served, dim, n, SEED, task.device)

        parameters = sum(p.numel() for network in trained.networks.values() for p in network.parameters())
        return Made(draw, parameters, images, _density(config, operations))

    return made


def _run(config: Config, task: Task, name: str, seconds: float) -> tuple[RunDir, int, float]:
    """The run, the images that it saw, and its seconds."""
    run = RunDir(task.scratch / name)
    run.create(config)
    fabric = Fabric(accelerator=task.device.type, devices=1, precision=config.precision)
    outcome = train_run(config, task.data, run, fabric, minutes=seconds / 60, quiet=True)
    return run, outcome.images_seen, outcome.seconds


def _density(config: Config, operations: dict[str, nn.Module]) -> Density | None:
    if not (isinstance(config.model, VAEConfig) and config.model.pixels == "binarised"):
        return None
    log_prior = learned_log_prior(operations) or standard_normal_log_density_nats
    encode, generate = (torch.no_grad()(operations[name].forward) for name in ("encode", "generate"))
    return Density(encode, generate, log_prior)
