"""A GAN's samples, chosen by its own discriminator: by the score as it is served, and set right in each class."""

from collections.abc import Mapping
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
from training.studies.quality import mnist_features, quality
from training.studies.rejection_page import headline, page
from training.studies.served import served
from training.studies.study import Arrays, Device, Outcome, Run, Study

DISCRIMINATOR = "mnist-gan/2"
SOURCES = {"gan": ("mnist-gan/2", "normal"), "vae": ("mnist-vae/2", "fitted")}
"""Name -> the model, and the prior of its latents."""
SEEDS = (1, 2, 3)
"""Of the samples that are measured; not `SEED`, whose samples the calibration was fitted to."""
CHUNK = 1_000
CLASSES = 10
SHOWN = 60
RULES = ("served", "by_class")
"""By the score as it is served; by it less `class_log_odds`."""
CORRECTED = "mnist-gan/3"
"""The same networks, with a correction of its own in the graph of its score; see `training/class_correction.py`."""

Floats = npt.NDArray[np.float64]


def plan(quick: bool) -> list[Run]:
    samples, neighbours, fitted = (500, 200, 1_000) if quick else (10_000, 5_000, 10_000)
    keeps = {"gan": [1.0, 0.5], "vae": [1.0]}
    sizes = {"samples": samples, "neighbour_samples": neighbours, "fitted_samples": fitted}
    seeds = SEEDS[:1] if quick else SEEDS
    runs = [
        Run(
            f"{source}-seed{seed}",
            {"model": model, "prior": prior, "discriminator": DISCRIMINATOR, "keep": keeps[source], **sizes},
            (seed,),
        )
        for source, (model, prior) in SOURCES.items()
        for seed in seeds
    ]
    corrected = {"model": CORRECTED, "prior": "normal", "discriminator": CORRECTED, "rules": ["served"]}
    sizes = {"samples": samples, "neighbour_samples": neighbours}
    return runs + [
        Run(f"corrected-seed{seed}", {**corrected, "keep": [1.0], **sizes}, (seed,)) for seed in seeds
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
    _, real = mnist_features(n, device)
    proposals = propose(config, seed, device)
    features, labels = proposals.features, proposals.labels
    served_ratio = np.exp(proposals.log_odds["served"])
    classes = {"data": data_fractions(), "plain": fractions(labels[:n])}
    results: dict[str, Any] = {"plain": measured(real, features[:n], neighbours)}
    for rule, log_odds in proposals.log_odds.items():
        results[rule] = {"mean_ratio": float(np.exp(log_odds).mean())}
        for keep in strengths:
            chosen = proposals.first_kept(rule, keep, n)
            results[rule][f"{keep:g}"] = {
                "acceptance_rate": n / int(chosen[-1] + 1),
                **measured(real, features[chosen], neighbours),
            }
            classes[f"{rule} {keep:g}"] = fractions(labels[chosen])
    results["class_fractions"] = {name: values.tolist() for name, values in classes.items()}
    results["class_mean_ratio"] = [float(served_ratio[labels == c].mean()) for c in range(CLASSES)]
    shown = config["model"] == DISCRIMINATOR and seed == SEEDS[0]
    return Outcome(results, [], pictures(proposals, max(strengths)) if shown else {})


def pictures(proposals: Proposals, keep: float) -> Arrays:
    """The first samples, the first that are kept of them and the first that are not."""
    kept = is_kept(proposals.log_odds["by_class"], proposals.uniform, keep)
    images = proposals.images[:, 0]
    return {"all": images[:SHOWN], "kept": images[kept][:SHOWN], "rejected": images[~kept][:SHOWN]}


def propose(config: Mapping[str, Any], seed: int, device: Device) -> Proposals:
    """Enough samples for every rule to keep `samples` of them at the smallest `keep`."""
    space, _ = mnist_features(config["samples"], device)
    discriminator = served(config["discriminator"])
    calibration = discriminator.calibration()
    rules = config.get("rules", RULES)
    shift = None
    if "by_class" in rules:
        shift = fitted_shift(
            config["model"], config["prior"], config["fitted_samples"], config["samples"], device
        )
    generator, uniforms = torch.Generator().manual_seed(seed), np.random.default_rng([seed, 1])
    chunks: list[Proposals] = []
    kept = dict.fromkeys(rules, 0)
    while min(kept.values()) < config["samples"]:
        images = served(config["model"]).sample(CHUNK, generator, config["prior"])
        features, labels = space(torch.from_numpy(images))
        odds = calibration(discriminator.logits(images))
        log_odds = {"served": odds}
        if shift is not None:
            log_odds["by_class"] = odds - shift[labels]
        chunks.append(Proposals(images, features, labels, log_odds, uniforms.random(CHUNK)))
        kept = {
            rule: kept[rule] + len(chunks[-1].first_kept(rule, min(config["keep"]), CHUNK)) for rule in rules
        }
    return Proposals(
        np.concatenate([chunk.images for chunk in chunks]),
        np.concatenate([chunk.features for chunk in chunks]),
        np.concatenate([chunk.labels for chunk in chunks]),
        {rule: np.concatenate([chunk.log_odds[rule] for chunk in chunks]) for rule in rules},
        np.concatenate([chunk.uniform for chunk in chunks]),
    )


def measured(real: Features, fake: Features, neighbours: int) -> dict[str, float]:
    """Against all test images, and the FD against the odd-numbered ones, which no calibration was fitted to."""
    return {**quality(real, fake, neighbours), "fd_odd": frechet_distance(real[1::2], fake)}


@cache
def fitted_shift(model: str, prior: str, fitted: int, samples: int, device: Device) -> Floats:
    """`class_log_odds` of `fitted` samples of `SEED`, against the even-numbered test images."""
    space, _ = mnist_features(samples, device)
    images = served(model).sample(fitted, torch.Generator().manual_seed(SEED), prior)
    discriminator = served(DISCRIMINATOR)
    log_odds = discriminator.calibration()(discriminator.logits(images))
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
