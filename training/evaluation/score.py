"""A discriminator's score: does it tell real images from samples, and are its probabilities right?"""

import time

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor, nn

from training.evaluation.samples import SEED
from training.feature_space import batches
from training.metrics.monotone_scaling import monotone_scaling
from training.metrics.scoring import (
    auroc,
    calibration_error_floor,
    expected_calibration_error,
    platt_scaling,
    reliability_curve,
    temperature_scaling,
)
from training.report import Calibration, Curve, Result, seconds_since


@torch.no_grad()
def discrimination(
    discriminate: nn.Module, images: Tensor, samples: Tensor, device: torch.device
) -> tuple[list[Result], Calibration]:
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
    temperature = temperature_scaling(fit, fit_is_real)
    knots = monotone_scaling(fit, fit_is_real)
    calibrated = {
        "raw": expit(held_out),
        "temperature": expit(temperature * held_out),
        "platt": expit(slope * held_out + intercept),
        "monotone": expit(knots(held_out)),
    }
    errors = {name: expected_calibration_error(p, is_real) for name, p in calibrated.items()}
    floor = calibration_error_floor(calibrated["monotone"])
    seconds, n = seconds_since(started), len(held_out)
    measured = "odd-numbered test images and samples, served graph"
    fitted = f"{len(fit):,} even-numbered test images and samples, served graph"

    def result(name: str, value: float, unit: str, protocol: str, count: int = n) -> Result:
        return Result(f"score_{name}", value, unit, protocol, count, SEED, seconds)

    def ece(name: str, key: str, how: str) -> Result:
        return result(name, errors[key], "fraction", f"{measured}, {how}, 15 bins")

    results = [
        result(
            "auroc",
            auroc(real[1::2], fake[1::2]),
            "fraction",
            f"{measured}; calibration keeps the order and so the value",
        ),
        ece("ece_raw", "raw", "sigmoid of the logit"),
        ece("ece_temperature", "temperature", "temperature scaling"),
        ece("ece_platt", "platt", "Platt scaling"),
        ece("ece", "monotone", "calibrated as served: piecewise linear scaling"),
        result(
            "ece_floor",
            floor,
            "fraction",
            f"mean of 200 draws: what {n:,} values show, 15 bins, that are right",
        ),
    ]
    curves = {name: _curve(p, is_real) for name, p in calibrated.items()}
    points = tuple(zip(knots.logit.tolist(), knots.log_odds.tolist(), strict=True))
    return results, Calibration(curves, points, fitted)


def _curve(probabilities: npt.NDArray[np.float64], is_real: npt.NDArray[np.bool_]) -> Curve:
    curve = reliability_curve(probabilities, is_real)
    values = (curve.probability, curve.frequency, curve.count)
    return Curve(*(tuple(value.tolist()) for value in values))
