"""Samples of a model against the data, in the features of the dataset's classifier."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.datasets import Dataset, spread
from training.feature_space import BATCH, FeatureSpace, Seen, batches
from training.metrics.class_balance import class_balance
from training.metrics.classifier_score import classifier_score
from training.metrics.density_coverage import density_coverage
from training.metrics.frechet import frechet_distance
from training.metrics.kernel_distance import kernel_distance
from training.metrics.perceptual_path import perceptual_path_length, slerp
from training.metrics.precision_recall import precision_recall
from training.networks import classes_in_turn
from training.report import Result, seconds_since

SAMPLES = 10_000
SEED = 0
LISTED_CLASSES = 20
PATH_EPSILON = 1e-4
"""Karras et al. 2019; in float32 the value is that of float64 to 1e-4, and that of any smaller step to 1e-3."""


@torch.no_grad()
def sample(generate: nn.Module, latent_dim: int, n: int, seed: int, device: torch.device) -> Tensor:
    """n images (n, C, H, W) uint8 on the CPU from z ~ N(0, I): in 8 bits, as they are served and as the data is."""
    return decode(generate, torch.randn(n, latent_dim, generator=torch.Generator().manual_seed(seed)), device)


@torch.no_grad()
def decode(generate: nn.Module, z: Tensor, device: torch.device) -> Tensor:
    """Latents (n, dim) on the CPU -> images (n, C, H, W) uint8 on the CPU."""
    return torch.cat(
        [(generate(part.to(device)) * 255).round().to(torch.uint8).cpu() for part in torch.split(z, BATCH)]
    )


@dataclass(frozen=True)
class Reference:
    """What samples are measured against."""

    space: FeatureSpace
    test: Seen
    train: Seen
    """As many training images, evenly spaced: the classifier has seen them, no model should do better."""
    class_names: tuple[str, ...]


def reference(space: FeatureSpace, train: Dataset, test: Dataset) -> Reference:
    return Reference(
        space,
        space.see(torch.from_numpy(test.images)),
        space.see(torch.from_numpy(spread(train.images, len(test.images)))),
        test.class_names or (),
    )


def floors(against: Reference) -> list[Result]:
    """Values of real images in place of samples."""
    started = time.monotonic()
    test, train, name = against.test, against.train, against.space.name
    n = len(train.features)
    frechet, kernel = (f(test.features, train.features) for f in (frechet_distance, kernel_distance))
    score, seconds = classifier_score(test.probabilities), seconds_since(started)
    instead = f"{n:,} training images (which {name} has seen) in place of samples"
    own = f"is10k of {len(test.features):,} test images"
    return [
        Result("fd10k_train", frechet, "squared feature units", instead, n, None, seconds),
        Result("kid10k_train", kernel, "kernel units", instead, n, None, seconds),
        Result("is10k_test", score, "classes", own, len(test.features), None, seconds),
    ]


def distances(against: Reference, samples: Seen, source: str, suffix: str = "") -> list[Result]:
    """How near samples are to the data. `source`: what the samples are; `suffix`: of the results' names."""
    started = time.monotonic()
    real, fake = against.test.features, samples.features
    precision, recall = precision_recall(real, fake)
    density, coverage = density_coverage(real, fake)
    frechet, kernel = frechet_distance(real, fake), kernel_distance(real, fake)
    n, seconds = len(fake), seconds_since(started)
    protocol = f"{n:,} {source} against {len(real):,} test images, features of {against.space.name}"

    def result(name: str, value: float, unit: str, setting: str = "") -> Result:
        return Result(f"{name}{suffix}", value, unit, f"{protocol}{setting}", n, SEED, seconds)

    return [
        result("fd10k", frechet, "squared feature units"),
        result("kid10k", kernel, "kernel units", ", unbiased, kernel (x.y / D + 1)^3"),
        result("precision", precision, "fraction", ", k = 3"),
        result("recall", recall, "fraction", ", k = 3"),
        result("density", density, "ratio", ", k = 5"),
        result("coverage", coverage, "fraction", ", k = 5"),
    ]


def classes(against: Reference, samples: Seen) -> list[Result]:
    """Which classes the samples are of, and how clearly."""
    started = time.monotonic()
    kinds = len(against.class_names)
    balance = class_balance(samples.labels, kinds, np.bincount(against.test.labels, minlength=kinds))
    score = classifier_score(samples.probabilities)
    n, seconds, name = len(samples.labels), seconds_since(started), against.space.name
    assigned = f"fraction of {n:,} samples that {name} assigns to a class"
    information = f"exp of the mutual information of sample and class, {n:,} samples, probabilities of {name}"

    def fraction(name: str, value: float, which: str = "") -> Result:
        return Result(
            f"class_fraction_{name}", float(value), "fraction", f"{assigned}{which}", n, SEED, seconds
        )

    results = [
        Result("is10k", score, "classes", information, n, SEED, seconds),
        Result(
            "modes10k",
            int(np.count_nonzero(balance.fractions)),
            f"of {kinds}",
            f"classes that {name} sees among {n:,} samples",
            n,
            SEED,
            seconds,
        ),
        fraction("smallest", balance.smallest, ", rarest"),
        fraction("largest", balance.largest, ", most frequent"),
    ]
    if kinds <= LISTED_CLASSES:
        divergence = f"KL(samples || test images) of the classes that {name} sees, {n:,} samples"
        results.append(Result("class_reverse_kl_nats", balance.kl_nats, "nats", divergence, n, SEED, seconds))
        results += [fraction(of, x) for of, x in zip(against.class_names, balance.fractions, strict=True)]
    return results


def agreement(against: Reference, samples: Seen, kinds: int, source: str, suffix: str = "") -> list[Result]:
    """How many samples of a conditional generator of `kinds` classes are seen as what they were to be."""
    started = time.monotonic()
    parts = torch.split(torch.arange(len(samples.labels)), BATCH)
    asked = torch.cat([classes_in_turn(len(part), kinds) for part in parts])
    agrees = float(np.mean(samples.labels == asked.numpy()))
    n, name = len(samples.labels), against.space.name
    protocol = f"fraction of {n:,} {source.rstrip(',')}, that {name} assigns to their class"
    return [
        Result(f"label_agreement10k{suffix}", agrees, "fraction", protocol, n, SEED, seconds_since(started))
    ]


@torch.no_grad()
def path_length(
    space: FeatureSpace, generate: nn.Module, latent_dim: int, device: torch.device, noise: str
) -> list[Result]:
    """Arcs between pairs of what `generate` takes, `noise` ~ N(0, I), a random place on each.

    Images are not rounded to 8 bits.
    """
    started = time.monotonic()
    rng = np.random.default_rng(SEED)
    a, b = rng.standard_normal((2, SAMPLES, latent_dim))
    t = rng.random(SAMPLES)

    def features(at: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(slerp(a, b, at)).float()
        return np.concatenate([space(generate(part))[0] for part in batches(z, device)])

    length = perceptual_path_length(features(t), features(t + PATH_EPSILON), PATH_EPSILON)
    protocol = (
        f"{SAMPLES:,} random places on arcs between pairs of {noise} ~ N(0, I), epsilon = {PATH_EPSILON:g}, 1 % off "
        f"either end, features of {space.name}"
    )
    return [
        Result(
            "ppl10k",
            length,
            "squared feature units a squared arc",
            protocol,
            SAMPLES,
            SEED,
            seconds_since(started),
        )
    ]
