"""The correction of a discriminator's score: fitted after training, so that the score favours no class.

A score that is calibrated over all images together can still be too high in one class and too low in another; then
rejection sampling by it moves weight between the classes (docs/studies/rejection.md).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from training.class_correction import ClassCorrection, write
from training.datasets import Dataset, spread
from training.evaluation import samples
from training.families import latent_dim
from training.feature_space import FeatureSpace, batches
from training.metrics.monotone_scaling import monotone_scaling
from training.networks import ServedDiscriminator
from training.trained import Trained

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
LEAST = 30
"""Samples and images of each class that a correction is fitted to; of fewer, none is."""
ROUNDS = 30
TOLERANCE = 1e-3


class Scored(NamedTuple):
    """Images as the discriminator sees them."""

    features: Tensor
    """(N, A)."""
    logits: Floats
    """(N,)."""


def class_log_odds(log_odds: Floats, labels: Labels, fractions: Floats) -> Floats:
    """What to take from the log odds of samples (N,) in each class.

    With p_data / p_model divided by its exponential, rejection sampling gives class c the fraction `fractions[c]` that
    it has in the data: the mean ratio of a class over the model's samples is p_data(c) / p_model(c).
    """
    ratio = np.exp(log_odds)
    weights = np.array([ratio[labels == c].sum() / len(ratio) for c in range(len(fractions))])
    if not (weights.all() and fractions.all()):
        raise ValueError("expected samples and images of every class")
    return np.log(weights / fractions)


def class_offsets(
    logits: Floats, probabilities: Floats, is_real: npt.NDArray[np.bool_], labels: Labels, fractions: Floats
) -> Floats:
    """What to take from the logits in each class, (K,), so that calibrated afterwards they favour none.

    That is where `class_log_odds` of the calibrated samples are 0: by Newton's method, calibrating anew each time.
    The mean of the offsets is 0, as calibration makes up for what they have in common.

    Args:
        logits, is_real: (N,), of images and samples.
        probabilities: (N, K), of the classes, as they weigh the offsets.
        labels: of the samples alone, in order.
        fractions: (K,), of the classes in the data.

    Raises:
        ValueError: a class has no samples, or no fraction of the data.
    """
    offsets = np.zeros(len(fractions))
    unit = float(logits.std())
    step = unit / 100
    for _ in range(ROUNDS):
        corrected = logits - probabilities @ offsets
        knots = monotone_scaling(corrected, is_real)
        fake = corrected[~is_real]
        level = np.log(np.exp(knots(fake)).mean())
        excess, lowered = (class_log_odds(knots(x) - level, labels, fractions) for x in (fake, fake - step))
        if np.abs(excess).max() < TOLERANCE:
            break
        offsets += np.clip(excess * step / (excess - lowered), -unit, unit)
    centred: Floats = offsets - offsets.mean()
    return centred


def fit(
    folder: Path, trained: Trained, space: FeatureSpace, train: Dataset, test: Dataset, device: torch.device
) -> ClassCorrection | None:
    """Fit a correction on the half of test images and samples that the calibration is fitted on, and keep it.

    `trained` has none yet. None, and nothing in the run `folder`, where the samples or the images are not of every
    class.
    """
    operations = trained.operations(train, device)
    served = operations["discriminate"]
    if not isinstance(served, ServedDiscriminator):
        raise TypeError(f"discriminate is a {type(served).__name__}")
    dim = latent_dim(trained.config.model)
    generate = trained.of_latents(operations["generate"])
    drawn = samples.sample(generate, dim, samples.SAMPLES, samples.SEED, device)[::2]
    images, seen = torch.from_numpy(test.images[::2]), torch.from_numpy(spread(train.images, samples.SAMPLES))
    classes = len(test.class_names or ())
    labels, real_labels, seen_labels = (space(x)[1] for x in (drawn, images, seen))
    counts, real_counts = (np.bincount(x, minlength=classes) for x in (labels, real_labels))
    if min(*counts, *real_counts) < LEAST:
        return None
    fake, real, others = (_score(served, x, device) for x in (drawn, images, seen))
    weight, bias = linear_readout(
        torch.cat([others.features, fake.features]), np.concatenate([seen_labels, labels]), classes
    )
    plain = ClassCorrection(weight, bias, torch.zeros(classes))
    offsets = class_offsets(
        np.concatenate([real.logits, fake.logits]),
        plain.probabilities(torch.cat([real.features, fake.features])).double().numpy(),
        np.arange(len(images) + len(drawn)) < len(images),
        labels,
        real_counts / real_counts.sum(),
    )
    correction = ClassCorrection(weight, bias, torch.from_numpy(offsets).float()).eval()
    write(folder, correction, trained.state.images_seen)
    return correction


def linear_readout(features: Tensor, labels: Labels, classes: int) -> tuple[Tensor, Tensor]:
    """`weight` (classes, A) and `bias` (classes,) of a multinomial logistic regression of `labels` on features (N, A).

    Raises:
        ValueError: a class has no label.
    """
    if len(np.unique(labels)) != classes:
        raise ValueError(f"expected labels of {classes} classes")
    x = features.double().numpy()
    scale = np.where(x.std(0) > 0, x.std(0), 1)
    fitted = LogisticRegression(max_iter=1000).fit(x / scale, labels)
    weight, bias = fitted.coef_ / scale, fitted.intercept_
    if classes == 2:  # given as one, the logit of the second
        weight, bias = (np.concatenate([0 * values, values]) for values in (weight, bias))
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()


@torch.no_grad()
def _score(served: ServedDiscriminator, images: Tensor, device: torch.device) -> Scored:
    features = [served.discriminator.features(batch) for batch in batches(images, device)]
    logits = torch.cat([served.score(f) for f in features])
    return Scored(torch.cat(features).cpu(), logits.double().cpu().numpy())
