"""Metrics of a trained model on held-out data: one function a question, results that say how they were got.

Names are protocols: `fd10k` is the Frechet distance of 10,000 samples to the 10,000 test images, in the features
of the dataset's published classifier, whose digest is written beside the results.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor, nn

from training.datasets import Dataset, load, spread
from training.errors import CheckpointError
from training.families.classifier import ClassifierConfig
from training.families.gan import GANConfig
from training.families.vae import VAEConfig
from training.feature_space import BATCH, FeatureSpace, batches, published_classifier
from training.metrics.class_balance import class_balance
from training.metrics.density_coverage import density_coverage
from training.metrics.elbo import (
    active_units,
    bernoulli_log_likelihood_nats,
    gaussian_kl_nats,
    gaussian_log_likelihood_nats,
    mse,
    psnr_db,
)
from training.metrics.frechet import frechet_distance
from training.metrics.precision_recall import precision_recall
from training.metrics.scoring import auroc, expected_calibration_error, platt_scaling
from training.report import Report, Result
from training.trained import Trained, load_trained

SAMPLES = 10_000
SEED = 0
ELBO_SAMPLES = 8


def evaluate(
    trained: Trained, train: Dataset, test: Dataset, device: torch.device, classifier: Path | None = None
) -> Report:
    """All metrics that apply to the family, on the test split.

    Args:
        classifier: folder of the classifier for the sample metrics (default: the published one of the dataset).
    """
    images = torch.from_numpy(test.images)
    operations = trained.operations(train, device)
    results: list[Result] = []
    features: FeatureSpace | None = None
    model = trained.config.model
    if isinstance(model, ClassifierConfig):
        results += _accuracy(trained, test, device)
    else:
        if "encode" in operations:
            results += _reconstruction(operations, images, device)
        if isinstance(model, VAEConfig):
            results += _elbo(trained, operations, images, device)
        if isinstance(model, VAEConfig | GANConfig):
            features = FeatureSpace.load(classifier or published_classifier(test.name), test, device)
            samples = sample(operations["generate"], model.latent_dim, SAMPLES, SEED, device)
            results += _samples(features, samples, train, test)
        if "discriminate" in operations:
            results += _discrimination(operations["discriminate"], images, samples, device)
    return Report(
        model=trained.config.name,
        dataset=test.name,
        train_sha256=train.digest,
        test_sha256=test.digest,
        images_seen=trained.state.images_seen,
        classifier=features.name if features else None,
        classifier_sha256=features.sha256 if features else None,
        results=tuple(results),
    )


@torch.no_grad()
def sample(generate: nn.Module, latent_dim: int, n: int, seed: int, device: torch.device) -> Tensor:
    """n images (n, C, H, W) uint8 on the CPU from z ~ N(0, I): in 8 bits, as they are served and as the data is."""
    z = torch.randn(n, latent_dim, generator=torch.Generator().manual_seed(seed))
    return torch.cat(
        [(generate(part.to(device)) * 255).round().to(torch.uint8).cpu() for part in torch.split(z, BATCH)]
    )


@torch.no_grad()
def _accuracy(trained: Trained, test: Dataset, device: torch.device) -> list[Result]:
    started = time.monotonic()
    space = FeatureSpace(trained.config.name, "", trained.networks["classifier"], device)
    _, predicted = space(torch.from_numpy(test.images))
    if test.labels is None:
        raise CheckpointError(f"{test.name}: the test split has no labels")
    correct = float(np.mean(predicted == test.labels))
    protocol = "fraction of test images whose most probable class is their label"
    return [Result("accuracy", correct, "fraction", protocol, len(predicted), None, _since(started))]


@torch.no_grad()
def _reconstruction(
    operations: Mapping[str, nn.Module], images: Tensor, device: torch.device
) -> list[Result]:
    started = time.monotonic()
    pairs = [(x, operations["generate"](operations["encode"](x)[0])) for x in batches(images, device)]
    errors = torch.cat([mse(x, y).cpu() for x, y in pairs])
    psnr = torch.cat([psnr_db(x, y).cpu() for x, y in pairs])
    protocol = "generate(mean of encode(x)) against x, test images"
    n, seconds = len(errors), _since(started)
    return [
        Result("mse", float(errors.mean()), "squared, pixels in [0, 1]", protocol, n, None, seconds),
        Result("psnr_db", float(psnr.mean()), "dB", f"{protocol}; mean over images", n, None, seconds),
    ]


@torch.no_grad()
def elbo_terms(
    trained: Trained,
    operations: Mapping[str, nn.Module],
    images: Tensor,
    device: torch.device,
    samples: int = ELBO_SAMPLES,
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x|z) (N,), mean over `samples` draws of q(z|x); KL per dimension (N, D); means (N, D). Nats."""
    generator = torch.Generator(device).manual_seed(SEED)
    likelihoods, kls, means = [], [], []
    for batch in batches(images, device):
        mean, logvar = operations["encode"](batch)
        draws = []
        for _ in range(samples):
            noise = torch.randn(mean.shape, generator=generator, device=device)
            p = operations["generate"](mean + torch.exp(0.5 * logvar) * noise)
            draws.append(_log_likelihood(trained, batch, p))
        likelihoods.append(torch.stack(draws).mean(0).cpu())
        kls.append(gaussian_kl_nats(mean.double(), logvar.double()).cpu())
        means.append(mean.cpu())
    return torch.cat(likelihoods), torch.cat(kls), torch.cat(means)


def stddev(trained: Trained) -> float | None:
    """The learned standard deviation of a Gaussian likelihood, in units of pixels in [0, 1]; None for others."""
    model = trained.config.model
    if isinstance(model, VAEConfig) and model.likelihood == "gaussian":
        return float(trained.networks["vae"].get_parameter("log_stddev").exp())
    return None


def _log_likelihood(trained: Trained, images: Tensor, p: Tensor) -> Tensor:
    sigma = stddev(trained)
    if sigma is None:
        return bernoulli_log_likelihood_nats(images, p)
    return gaussian_log_likelihood_nats(images, p, sigma)


def _elbo(
    trained: Trained, operations: Mapping[str, nn.Module], images: Tensor, device: torch.device
) -> list[Result]:
    started = time.monotonic()
    log_likelihood, kl, means = elbo_terms(trained, operations, images, device)
    protocol = f"mean over test images, {ELBO_SAMPLES} samples of q(z|x) each"
    n, seconds = len(means), _since(started)
    values = {
        "elbo_nats": float((log_likelihood - kl.sum(1)).mean()),
        "log_likelihood_nats": float(log_likelihood.mean()),
        "kl_nats": float(kl.sum(1).mean()),
    }
    active = Result(
        "active_units",
        int(active_units(means).sum()),
        f"of {means.shape[1]}",
        "Var over test x of E[z|x] > 0.01",
        n,
        None,
        seconds,
    )
    return [*(Result(k, v, "nats", protocol, n, SEED, seconds) for k, v in values.items()), active]


def _samples(space: FeatureSpace, samples: Tensor, train: Dataset, test: Dataset) -> list[Result]:
    started = time.monotonic()
    real, _ = space(torch.from_numpy(test.images))
    fake, labels = space(samples)
    trained_on, _ = space(torch.from_numpy(spread(train.images, len(real))))
    balance = class_balance(labels, len(test.class_names or ()))
    precision, recall = precision_recall(real, fake)
    density, coverage = density_coverage(real, fake)
    seconds, n = _since(started), len(samples)
    against = f"{n:,} samples against {len(real):,} test images, features of {space.name}"
    classes = f"fraction of {n:,} samples that {space.name} assigns to a class"

    def result(name: str, value: float, unit: str, protocol: str, seed: int | None = SEED) -> Result:
        return Result(name, value, unit, protocol, n, seed, seconds)

    return [
        result("fd10k", frechet_distance(real, fake), "squared feature units", against),
        result(
            "fd10k_train",
            frechet_distance(real, trained_on),
            "squared feature units",
            f"{len(trained_on):,} training images (which {space.name} has seen) in place of samples",
            None,
        ),
        result("precision", precision, "fraction", f"{against}, k = 3"),
        result("recall", recall, "fraction", f"{against}, k = 3"),
        result("density", density, "ratio", f"{against}, k = 5"),
        result("coverage", coverage, "fraction", f"{against}, k = 5"),
        result("class_fraction_smallest", balance.smallest, "fraction", f"{classes}, rarest"),
        result("class_fraction_largest", balance.largest, "fraction", f"{classes}, most frequent"),
        *(
            result(f"class_fraction_{name}", float(fraction), "fraction", classes)
            for name, fraction in zip(test.class_names or (), balance.fractions, strict=True)
        ),
    ]


@torch.no_grad()
def _discrimination(
    discriminate: nn.Module, images: Tensor, samples: Tensor, device: torch.device
) -> list[Result]:
    """Calibrated on every other test image and sample, measured on the rest.

    Not on halves: the first 5,000 test images of MNIST are easier than the others.
    """
    started = time.monotonic()
    real, fake = (
        torch.cat([discriminate(batch).cpu() for batch in batches(x, device)]).double().numpy()
        for x in (images, samples)
    )
    fit, held_out = (np.concatenate([real[i::2], fake[i::2]]) for i in (0, 1))
    fit_is_real, is_real = np.arange(len(fit)) < len(real[0::2]), np.arange(len(held_out)) < len(real[1::2])
    slope, intercept = platt_scaling(fit, fit_is_real)
    seconds, n = _since(started), len(held_out)

    def ece(logits: npt.NDArray[np.float64]) -> float:
        return expected_calibration_error(expit(logits), is_real)

    measured = "odd-numbered test images and samples, served graph"
    fitted = "Platt scaling on the even-numbered test images and samples, served graph"
    return [
        Result("score_auroc", auroc(real[1::2], fake[1::2]), "fraction", measured, n, SEED, seconds),
        Result("score_ece_raw", ece(held_out), "fraction", f"{measured}, 15 bins", n, SEED, seconds),
        Result(
            "score_ece",
            ece(slope * held_out + intercept),
            "fraction",
            f"{measured}, calibrated, 15 bins",
            n,
            SEED,
            seconds,
        ),
        Result("score_slope", slope, "1", fitted, len(fit), SEED, seconds),
        Result("score_intercept", intercept, "logit", fitted, len(fit), SEED, seconds),
    ]


def evaluate_folder(folder: Path, data: Path | None, device: torch.device, classifier: Path | None) -> Report:
    """`evaluate` for a run folder or a bundle folder."""
    name = json.loads((folder / "config.json").read_text())["dataset"]
    train, test = load(name, "train", data), load(name, "test", data)
    return evaluate(load_trained(folder, test, device), train, test, device, classifier)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)
