"""Pixels of samples beside pixels of the data: are they as sharp?"""

import time

import numpy as np
from torch import Tensor

from training.metrics.sharpness import (
    HIGH_FREQUENCY,
    high_frequency_power,
    laplacian_variance,
    radial_power_spectrum,
)
from training.report import Result, seconds_since


def sharpness(images: Tensor, test: Tensor, source: str, seed: int, suffix: str = "") -> list[Result]:
    """Of uint8 images (N, C, H, W), each as a multiple of the test images' own (M, C, H, W).

    `source`: what the images are; `suffix`: of the results' names.
    """
    started = time.monotonic()
    (edges, power), (test_edges, test_power) = _measured(images), _measured(test)
    n, seconds = len(images), seconds_since(started)
    protocol = f"{n:,} {source} as a multiple of that of {len(test):,} test images"
    values = {
        "laplacian_variance": (edges / test_edges, f"mean variance of the Laplacian of {protocol}"),
        "high_frequency_power": (
            power / test_power,
            f"power beyond {HIGH_FREQUENCY} cycles/pixel in the radial power spectrum of {protocol}",
        ),
    }
    return [
        Result(f"{name}{suffix}", value, "ratio", how, n, seed, seconds)
        for name, (value, how) in values.items()
    ]


def _measured(images: Tensor) -> tuple[float, float]:
    """Colours count as images of their own."""
    pixels = images.flatten(0, 1).numpy().astype(np.float32) / 255
    return float(laplacian_variance(pixels).mean()), high_frequency_power(*radial_power_spectrum(pixels))
