"""The runs of the blur study."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.config import parse
from training.datasets import load, spread
from training.families import latent_dim
from training.feature_space import FeatureSpace, batches, published_classifier
from training.metrics.frechet import frechet_distance
from training.metrics.sharpness import laplacian_variance, radial_power_spectrum
from training.networks import Pictures
from training.studies.blur_adversarial import HALF, train_completion, train_vae_gan
from training.studies.blur_neighbours import (
    Neighbours,
    completion_errors,
    label_entropy_bits,
    mnist_neighbours,
)
from training.studies.networks import train_family
from training.studies.study import Device, Outcome, Run
from training.trained import load_trained, resolve

SHEET = 40
"""Samples that are kept for the pictures."""
SHOWN = 10
"""Half-hidden digits that are kept for the pictures."""


def execute(run: Run, device: Device) -> Outcome:
    kinds = {
        "data": data,
        "neighbours": neighbours,
        "published": published,
        "family": family,
        "vae-gan": vae_gan,
        "completion": completion,
    }
    return kinds[run.config["kind"]](run, device)


def data(run: Run, device: Device) -> Outcome:
    """The test images themselves; their distance is that of as many training images."""
    n = run.config["samples"]
    images = torch.from_numpy(spread(load("mnist", "test").images, n))
    results, arrays = measured(images.float() / 255, n, device)
    features, _ = _feature_space(device)(torch.from_numpy(spread(load("mnist", "train").images, n)))
    return Outcome({**results, "fd": frechet_distance(_test_features(n, device), features)}, [], arrays)


def published(run: Run, device: Device) -> Outcome:
    """The newest version of a published model, trained for much longer than the study's own."""
    train = load("mnist", "train")
    folder = resolve(run.config["model"])
    trained = load_trained(folder, train, device)
    n, latent = run.config["samples"], latent_dim(trained.config.model)
    images = _samples(trained.of_latents(trained.operations(train, device)["generate"]), latent, n, 0, device)
    results, arrays = measured(images, n, device)
    return Outcome({**results, "version": folder.name, "images_seen": trained.state.images_seen}, [], arrays)


def family(run: Run, device: Device) -> Outcome:
    config = parse({**run.config["recipe"], "seed": run.seeds[0]})
    train = load(config.dataset, "train")
    trained, log = train_family(config, train, device)
    generate = trained.operations(train, device)["generate"]
    n, latent = run.config["samples"], latent_dim(config.model)
    results, arrays = measured(_samples(generate, latent, n, run.seeds[0], device), n, device)
    return Outcome(results, log[:: max(1, len(log) // 20)], arrays)


def vae_gan(run: Run, device: Device) -> Outcome:
    torch.manual_seed(run.seeds[0])
    network, log = train_vae_gan(run.config["model"], load("mnist", "train"), device)
    generate = Pictures(network.decoder)
    n, latent = run.config["samples"], run.config["model"]["latent_dim"]
    images = _samples(generate, latent, n, run.seeds[0], device)
    results, arrays = measured(images, n, device)
    return Outcome(results, log, arrays)


def neighbours(run: Run, device: Device) -> Outcome:  # noqa: ARG001 - one signature for all kinds
    """What can be said without a network: of the truth, of single neighbours, and of their mean."""
    found, rows = _asked(run)
    lower = found.lower[rows]
    entropy = label_entropy_bits(found.labels)
    candidates = {"truth": found.truth[rows, HALF:], "neighbour": lower[:, 0], "mean": lower.mean(axis=1)}
    results: dict[str, Any] = {
        "entropy_bits": float(entropy.mean()),
        "entropy_bits_ambiguous": float(entropy[rows].mean()),
    }
    for name, completed in candidates.items():
        results[name] = {
            "sharpness": float(laplacian_variance(completed).mean()),
            **completion_errors(completed, found, rows),
        }
    shown = rows[:SHOWN]
    three = np.stack([found.lower[i, found.differing(i, 3)] for i in shown])  # (S, 3, 14, 28)
    arrays = {
        "truth": _uint8(found.truth[shown]),
        "neighbours": _uint8(three),
        "mean": _uint8(lower[:SHOWN].mean(axis=1)),
    }
    return Outcome(results, [], arrays)


def completion(run: Run, device: Device) -> Outcome:
    found, rows = _asked(run)
    torch.manual_seed(run.seeds[0])
    network, log = train_completion(run.config["model"], load("mnist", "train"), device)
    images = torch.from_numpy(found.truth)[:, None].to(device)
    with torch.no_grad():
        once, again = (network(images)[:, 0, HALF:].cpu().numpy() for _ in range(2))
    results = {
        "sharpness": float(laplacian_variance(once[rows]).mean()),
        **completion_errors(once[rows], found, rows),
        "mse_between_draws": float(np.square(once - again)[rows].mean()),
        "mse_to_truth_all": float(np.square(once - found.truth[:, HALF:]).mean()),
    }
    return Outcome(results, log, {"completed": _uint8(once[rows[:SHOWN]])})


def measured(
    images: Tensor, n: int, device: Device
) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.uint8]]]:
    """Sharpness, spectrum and Frechet distance to `n` test images of (N, 1, 28, 28) in [0, 1]."""
    features, _ = _feature_space(device)(images)
    pixels = images[:, 0].cpu().numpy()
    sharpness = laplacian_variance(pixels)
    frequencies, power = radial_power_spectrum(pixels)
    results = {
        "sharpness": float(sharpness.mean()),
        "sharpness_sd": float(sharpness.std(ddof=1)),
        "fd": frechet_distance(_test_features(n, device), features),
        "frequencies": [round(f, 5) for f in frequencies.tolist()],
        "power": power.tolist(),
    }
    return results, {"sheet": _uint8(pixels[:SHEET])}


@torch.no_grad()
def _samples(generate: nn.Module, latent: int, n: int, seed: int, device: Device) -> Tensor:
    generate.eval()
    z = torch.randn(n, latent, generator=torch.Generator().manual_seed(seed))
    return torch.cat([generate(batch) for batch in batches(z, device)]).cpu()


@lru_cache(maxsize=1)
def _feature_space(device: Device) -> FeatureSpace:
    return FeatureSpace.load(published_classifier("mnist"), load("mnist", "test"), device)


@lru_cache(maxsize=1)
def _test_features(n: int, device: Device) -> npt.NDArray[np.float32]:
    features, _ = _feature_space(device)(torch.from_numpy(spread(load("mnist", "test").images, n)))
    return features


def _asked(run: Run) -> tuple[Neighbours, npt.NDArray[np.int64]]:
    """The half-hidden digits, and the numbers of the ambiguous ones."""
    asked = run.config["asked"]
    found = mnist_neighbours(asked["n"], asked["k"])
    return found, found.ambiguous(asked["ambiguous"])


def _uint8(images: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(images * 255), np.uint8)
