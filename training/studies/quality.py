"""How good samples are: the metrics of `evaluate`, for studies."""

from functools import cache

import torch

from training.datasets import load, spread
from training.feature_space import FeatureSpace, published_classifier
from training.metrics.density_coverage import density_coverage
from training.metrics.features import Features
from training.metrics.frechet import frechet_distance
from training.metrics.precision_recall import precision_recall


@cache
def test_features(dataset: str, n: int, device: torch.device) -> tuple[FeatureSpace, Features]:
    """The space of the dataset's classifier, and n test images in it: the same for all runs of a study."""
    test = load(dataset, "test")
    space = FeatureSpace.load(published_classifier(dataset), test, device)
    return space, space(torch.from_numpy(spread(test.images, n)))[0]


def mnist_features(n: int, device: torch.device) -> tuple[FeatureSpace, Features]:
    return test_features("mnist", n, device)


def quality(real: Features, fake: Features, neighbours: int) -> dict[str, float]:
    """The sample metrics of two sets of features; those of nearest neighbours, on `neighbours` of each."""
    # Not the first: those of MNIST's test images are easier than the others.
    few, few_fake = (features[:: len(features) // neighbours] for features in (real, fake))
    precision, recall = precision_recall(few, few_fake)
    density, coverage = density_coverage(few, few_fake)
    return {
        "fd": frechet_distance(real, fake),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }
