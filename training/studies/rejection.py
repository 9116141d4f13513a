"""A GAN's samples, chosen by its own discriminator: by its score as it is, set right in each class, and as served."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.datasets import load
from training.evaluation.kept import is_kept
from training.evaluation.samples import SEED
from training.fitted_correction import class_log_odds
from training.metrics.features import Features
from training.metrics.frechet import frechet_distance
from training.studies.quality import mnist_features, quality, test_features
from training.studies.rejection_page import headline, page
from training.studies.served import served
from training.studies.study import Arrays, Device, Outcome, Run, Study
from training.studies.uncorrected import uncorrected

DIGITS, TRIPLES, VAE = "mnist-gan/4", "stacked-mnist-gan/3", "mnist-vae/3"
SEEDS = (1, 2, 3)
"""Of the samples that are measured; not `SEED`, whose samples the calibration was fitted to."""
CHUNK = 1_000
CLASSES = 10
SHOWN = 60
CORRECTED = ["uncorrected", "by_class", "served"]
"""By the score without a correction; by it less `class_log_odds`; as it is served, with a correction in its graph (see
`training/class_correction.py`)."""

Floats = npt.NDArray[np.float64]


def plan(quick: bool) -> list[Run]:
    samples, neighbours, fitted = (500, 200, 1_000) if quick else (10_000, 5_000, 10_000)
    sizes = {"samples": samples, "neighbour_samples": neighbours, "fitted_samples": fitted}
    sources: dict[str, dict[str, Any]] = {
        # A thousand classes are too many for a correction: as it is served is the score as it is.
        "triples": {"dataset": "stacked-mnist", "model": TRIPLES, "keep": [1.0, 0.5], "rules": ["served"]},
        "digits": {"dataset": "mnist", "model": DIGITS, "keep": [1.0, 0.5], "rules": CORRECTED},
        "vae": {"dataset": "mnist", "model": VAE, "keep": [1.0], "rules": CORRECTED},
    }
    return [
        Run(
            f"{source}-seed{seed}",
            {
                **config,
                "prior": "fitted" if source == "vae" else "normal",
                "discriminator": TRIPLES if source == "triples" else DIGITS,
                **sizes,
            },
            (seed,),
        )
        for source, config in sources.items()
        for seed in (SEEDS[:1] if quick else SEEDS)
    ]


@dataclass(frozen=True)
class Proposals:
    """Samples in a row, (N,) each: what they look like, and all that their fate depends on."""

    images: npt.NDArray[np.uint8]
    features: Features
    labels: npt.NDArray[np.int64]
    """Of the classifier."""
    log_odds: Mapping[str, Floats]
    """By rule."""
    uniform: Floats

    def first_kept(self, rule: str, keep: float, n: int) -> npt.NDArray[np.int64]:
        return np.flatnonzero(is_kept(self.log_odds[rule], self.uniform, keep))[:n]


def execute(run: Run, device: Device) -> Outcome:
    config, seed = run.config, run.seeds[0]
    n, neighbours, strengths = config["samples"], config["neighbour_samples"], config["keep"]
    _, real = test_features(config["dataset"], n, device)
    proposals = propose(config, seed, device)
    features = proposals.features
    results: dict[str, Any] = {"plain": measured(real, features[:n], neighbours)}
    for rule, log_odds in proposals.log_odds.items():
        results[rule] = {"mean_ratio": float(np.exp(log_odds).mean())}
        for keep in strengths:
            chosen = proposals.first_kept(rule, keep, n)
            results[rule][f"{keep:g}"] = {
                "acceptance_rate": n / int(chosen[-1] + 1),
                **measured(real, features[chosen], neighbours),
            }
    if "by_class" in config["rules"]:
        results |= by_class(proposals, strengths, n)
    shown = config["model"] == config["discriminator"] and seed == SEEDS[0]
    return Outcome(results, [], pictures(proposals, max(strengths)) if shown else {})


def by_class(proposals: Proposals, strengths: Sequence[float], n: int) -> dict[str, Any]:
    """How much of each class there is, and how high the score is in it."""
    labels = proposals.labels
    classes = {"data": data_fractions(), "plain": fractions(labels[:n])}
    for rule in proposals.log_odds:
        for keep in strengths:
            classes[f"{rule} {keep:g}"] = fractions(labels[proposals.first_kept(rule, keep, n)])
    return {
        "class_fractions": {name: values.tolist() for name, values in classes.items()},
        "class_mean_ratio": {
            rule: [float(np.exp(log_odds[labels == c]).mean()) for c in range(CLASSES)]
            for rule, log_odds in proposals.log_odds.items()
        },
    }


def pictures(proposals: Proposals, keep: float) -> Arrays:
    """The first samples, the first that are kept of them and the first that are not: (SHOWN, H, W), or (..., 3)."""
    kept = is_kept(proposals.log_odds["served"], proposals.uniform, keep)
    images = proposals.images.transpose(0, 2, 3, 1).squeeze()
    return {"all": images[:SHOWN], "kept": images[kept][:SHOWN], "rejected": images[~kept][:SHOWN]}


def propose(config: Mapping[str, Any], seed: int, device: Device) -> Proposals:
    """Enough samples for every rule to keep `samples` of them at the smallest `keep`."""
    space, _ = test_features(config["dataset"], config["samples"], device)
    log_odds_of = _scores(config, device)
    generator, uniforms = torch.Generator().manual_seed(seed), np.random.default_rng([seed, 1])
    chunks: list[Proposals] = []
    kept = dict.fromkeys(config["rules"], 0)
    while min(kept.values()) < config["samples"]:
        images = served(config["model"]).sample(CHUNK, generator, config["prior"])
        features, labels = space(torch.from_numpy(images))
        log_odds = log_odds_of(images, labels)
        chunks.append(Proposals(images, features, labels, log_odds, uniforms.random(CHUNK)))
        kept = {
            rule: total + len(chunks[-1].first_kept(rule, min(config["keep"]), CHUNK))
            for rule, total in kept.items()
        }
    return Proposals(
        np.concatenate([chunk.images for chunk in chunks]),
        np.concatenate([chunk.features for chunk in chunks]),
        np.concatenate([chunk.labels for chunk in chunks]),
        {rule: np.concatenate([chunk.log_odds[rule] for chunk in chunks]) for rule in config["rules"]},
        np.concatenate([chunk.uniform for chunk in chunks]),
    )


def _scores(
    config: Mapping[str, Any], device: Device
) -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], dict[str, Floats]]:
    """Images and their labels -> log odds of "real", (N,), by rule."""
    as_served = served(config["discriminator"])
    calibration = as_served.calibration()
    if "uncorrected" not in config["rules"]:
        return lambda images, _: {"served": calibration(as_served.logits(images))}
    plain = uncorrected(config["discriminator"], device)
    shift = fitted_shift(
        config["model"], config["prior"], config["fitted_samples"], config["samples"], device
    )

    def scores(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> dict[str, Floats]:
        odds = plain.calibration(plain.logits(images))
        served_odds = calibration(as_served.logits(images))
        return {"uncorrected": odds, "by_class": odds - shift[labels], "served": served_odds}

    return scores


def measured(real: Features, fake: Features, neighbours: int) -> dict[str, float]:
    """Against all test images, and the FD against the odd-numbered ones, which no calibration was fitted to."""
    return {**quality(real, fake, neighbours), "fd_odd": frechet_distance(real[1::2], fake)}


@cache
def fitted_shift(model: str, prior: str, fitted: int, samples: int, device: Device) -> Floats:
    """`class_log_odds` of `fitted` samples of `SEED`, against the even-numbered test images."""
    space, _ = mnist_features(samples, device)
    images = served(model).sample(fitted, torch.Generator().manual_seed(SEED), prior)
    discriminator = uncorrected(DIGITS, device)
    log_odds = discriminator.calibration(discriminator.logits(images))
    return class_log_odds(log_odds, space(torch.from_numpy(images))[1], data_fractions())


def data_fractions() -> Floats:
    """Of each class among the even-numbered test images."""
    labels = load("mnist", "test").labels
    if labels is None:
        raise ValueError("mnist: expected labels")
    return fractions(labels[::2])


def fractions(labels: npt.NDArray[np.int64]) -> Floats:
    """Of each class, (CLASSES,)."""
    return np.bincount(labels, minlength=CLASSES) / len(labels)


STUDY = Study(
    name="rejection",
    title="Rejection sampling by the discriminator",
    claim=(
        "A discriminator that knows p_data / p_model corrects its generator: keep each sample with a probability in "
        "proportion to that ratio, and what is kept is distributed as the data (Azadi et al. 2019; calibrated as in "
        "Turner et al. 2019). It corrects what it knows: a ratio that is right on average, but not within the parts "
        "of the data, moves weight between the parts."
    ),
    plan=plan,
    execute=execute,
    headline=headline,
    page=page,
)
