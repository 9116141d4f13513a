"""Metrics of a trained model on held-out data: one function a question, results that say how they were got.

Names are protocols: `fd10k` is the Frechet distance of 10,000 samples to the 10,000 test images, in the features
of the dataset's published classifier, whose digest is written beside the results.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.datasets import Dataset, load
from training.errors import CheckpointError
from training.evaluation import appearance, likelihood, samples, score
from training.evaluation.copies import copies
from training.evaluation.kept import kept
from training.evaluation.likelihood import elbo_terms, stddev
from training.evaluation.modes import modes
from training.evaluation.samples import sample
from training.families import latent_dim
from training.families.ae import AEConfig
from training.families.classifier import ClassifierConfig
from training.families.vae import VAEConfig
from training.feature_space import FeatureSpace, published_classifier
from training.report import Calibration, Report, Result, seconds_since
from training.trained import Trained, load_trained

__all__ = ["elbo_terms", "evaluate", "evaluate_folder", "sample", "stddev"]


def evaluate(
    trained: Trained, train: Dataset, test: Dataset, device: torch.device, classifier: Path | None = None
) -> Report:
    """All metrics that apply to the family, on the test split.

    Args:
        classifier: folder of the classifier for the sample metrics (default: the published one of the dataset).
    """
    results: list[Result] = []
    space: FeatureSpace | None = None
    calibration: Calibration | None = None
    # TensorFloat-32 keeps 3 digits: too few for paths, and values would depend on the device.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        if isinstance(trained.config.model, ClassifierConfig):
            results += _accuracy(trained, test, device)
        else:
            operations = trained.operations(train, device)
            results += _of_images(trained, operations, test, device)
            space = FeatureSpace.load(classifier or published_classifier(test.name), test, device)
            found, calibration = _of_samples(trained, operations, space, train, test, device)
            results += found
    return Report(
        model=trained.config.name,
        dataset=test.name,
        train_sha256=train.digest,
        test_sha256=test.digest,
        images_seen=trained.state.images_seen,
        classifier=space.name if space else None,
        classifier_sha256=space.sha256 if space else None,
        results=tuple(results),
        calibration=calibration,
    )


def _of_images(
    trained: Trained, operations: Mapping[str, nn.Module], test: Dataset, device: torch.device
) -> list[Result]:
    results = []
    if "encode" in operations:
        results += likelihood.reconstruction(
            operations, torch.from_numpy(test.images), trained.told(test), device
        )
    if isinstance(trained.config.model, VAEConfig):
        bound = likelihood.elbo(trained, operations, test, device)
        results += bound
        results += likelihood.kl_parts(trained, operations, test, device)
        (elbo_nats,) = (result.value for result in bound if result.name == "elbo_nats")
        results += likelihood.importance_weighted(trained, operations, test, elbo_nats, device)
    return results


def _of_samples(
    trained: Trained,
    operations: Mapping[str, nn.Module],
    space: FeatureSpace,
    train: Dataset,
    test: Dataset,
    device: torch.device,
) -> tuple[list[Result], Calibration | None]:
    learned = "log_prior" in operations
    dim, served = latent_dim(trained.config.model), trained.served(operations)
    generate = served if learned else trained.of_latents(operations["generate"])
    in_turn = " of the classes in turn" if trained.classes else ""
    has_prior = not isinstance(trained.config.model, AEConfig)
    against = samples.reference(space, train, test)
    images = sample(generate, dim, samples.SAMPLES, samples.SEED, device)
    seen = space.see(images)
    source = (
        f"samples{in_turn}"
        if has_prior
        else "images of z ~ N(0, I) (an autoencoder has no prior: not samples of it)"
    )
    if learned:
        source = f"samples{in_turn}, generate(prior(eps)), eps ~ N(0, I),"
    pixels = torch.from_numpy(test.images)
    results = samples.distances(against, seen, source)
    results += appearance.sharpness(images, pixels, source, samples.SEED)
    results += samples.floors(against)
    results += samples.classes(against, seen)
    if trained.classes:
        results += samples.agreement(against, seen, trained.classes, source)
    if has_prior:
        results += samples.path_length(space, generate, dim, device, "eps" if learned else "z")
    if "prior" in operations and not learned:
        images = sample(served, dim, samples.SAMPLES, samples.SEED, device)
        source = f"samples{in_turn}, generate(prior(eps)), eps ~ N(0, I), of the prior fitted to codes,"
        seen = space.see(images)
        results += samples.distances(against, seen, source, "_fitted_prior")
        if trained.classes:
            results += samples.agreement(against, seen, trained.classes, source, "_fitted_prior")
        results += appearance.sharpness(images, pixels, source, samples.SEED, "_fitted_prior")
    results += copies(images, torch.from_numpy(train.images), pixels, source, samples.SEED)
    if space.colours > 1:
        results += modes(space, served, dim, train, device)
    if "discriminate" not in operations:
        return results, None
    discriminate = operations["discriminate"]
    found, calibration = score.discrimination(discriminate, pixels, images, device)
    chosen = kept(discriminate, calibration, generate, dim, against, device)
    return results + found + chosen, calibration


@torch.no_grad()
def _accuracy(trained: Trained, test: Dataset, device: torch.device) -> list[Result]:
    started = time.monotonic()
    space = FeatureSpace(trained.config.name, "", trained.networks["classifier"], device)
    _, predicted = space(torch.from_numpy(test.images))
    if test.labels is None:
        raise CheckpointError(f"{test.name}: the test split has no labels")
    correct = float(np.mean(predicted == test.labels))
    protocol = "fraction of test images whose most probable class is their label"
    return [Result("accuracy", correct, "fraction", protocol, len(predicted), None, seconds_since(started))]


def evaluate_folder(folder: Path, data: Path | None, device: torch.device, classifier: Path | None) -> Report:
    """`evaluate` for a run folder or a bundle folder."""
    name = json.loads((folder / "config.json").read_text())["dataset"]
    train, test = load(name, "train", data), load(name, "test", data)
    return evaluate(load_trained(folder, test, device), train, test, device, classifier)
