"""The samples that a model's own discriminator keeps: rejection sampling as `/sample` does it."""

import time

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.evaluation import samples
from training.feature_space import batches
from training.metrics.frechet import frechet_distance
from training.metrics.monotone_scaling import Knots
from training.report import Calibration, Result, seconds_since

KEEP = 1.0
MOST = 4
"""Samples looked at for each that is wanted; a discriminator that keeps fewer has no distance of what it keeps."""
AT_A_TIME = 1000

Floats = npt.NDArray[np.float64]


def is_kept(log_odds: Floats, uniform: Floats, keep: float) -> npt.NDArray[np.bool_]:
    """Which samples are kept, (N,): with probability min(1, keep p_data / p_model), as in `service/rejection.py`."""
    return uniform < keep * np.exp(log_odds)


@torch.no_grad()
def kept(
    discriminate: nn.Module,
    calibration: Calibration,
    generate: nn.Module,
    latent_dim: int,
    against: samples.Reference,
    device: torch.device,
) -> list[Result]:
    """How many samples the calibrated score keeps, and how near they are to the data.

    Of another seed than the samples that the score was calibrated with.
    """
    started = time.monotonic()
    logit, log_odds = np.array(calibration.knots).T
    knots, seed, wanted = Knots(logit, log_odds), samples.SEED + 1, samples.SAMPLES
    generator, uniforms = torch.Generator().manual_seed(seed), np.random.default_rng([seed, 1])
    chosen: list[torch.Tensor] = []
    found = looked_at = 0
    while found < wanted and looked_at < MOST * wanted:
        z = torch.randn(AT_A_TIME, latent_dim, generator=generator)
        images = samples.decode(generate, z, device)
        logits = torch.cat([discriminate(batch).cpu() for batch in batches(images, device)])
        keep = is_kept(knots(logits.double().numpy()), uniforms.random(AT_A_TIME), KEEP)
        chosen.append(images[torch.from_numpy(keep)])
        found, looked_at = found + int(keep.sum()), looked_at + AT_A_TIME
    how = f"by the calibrated score, keep = {KEEP:g}"
    rate, seconds = f"fraction of {looked_at:,} samples that is kept {how}", seconds_since(started)
    results = [Result("kept_fraction", found / looked_at, "fraction", rate, looked_at, seed, seconds)]
    if found >= wanted:
        features, _ = against.space(torch.cat(chosen)[:wanted])
        distance = frechet_distance(against.test.features, features)
        protocol = (
            f"{wanted:,} samples kept {how}, against {len(against.test.features):,} test images, "
            f"features of {against.space.name}"
        )
        seconds = seconds_since(started)
        results.append(
            Result("fd10k_kept", distance, "squared feature units", protocol, wanted, seed, seconds)
        )
    return results
