"""How sharp images are, and how their power spreads over spatial frequencies."""

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.floating]
HIGH_FREQUENCY = 0.25
"""Cycles/pixel: half the Nyquist frequency."""


def laplacian_variance(images: Images) -> npt.NDArray[np.float64]:
    """The variance over its pixels of an image's Laplacian: (N, H, W) -> (N,), squared units of the pixels.

    The Laplacian is that of the four neighbours, where a pixel has four (H, W >= 3). Pech-Pacheco et al. 2000;
    LAPV in Pertuz et al. 2013. It grows with contrast and with noise too: compare images of one kind.
    """
    x = np.asarray(images, np.float64)
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return np.asarray((around - 4 * x[:, 1:-1, 1:-1]).var(axis=(1, 2)))


def radial_power_spectrum(images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(N, H, W) -> frequencies (K,), cycles/pixel, and the mean power (K,) in a ring around each.

    Power is |DFT / (H W)|^2, so that its sum over all frequencies is the mean square of the pixels; a ring's is the
    mean over its frequencies and over the images. Rings are 1 / min(H, W) wide, from 0 to the Nyquist frequency
    of 0.5; what lies in the corners beyond is left out.
    """
    _, height, width = images.shape
    power = (np.abs(np.fft.fft2(np.asarray(images, np.float64)) / (height * width)) ** 2).mean(axis=0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    size = min(height, width)
    ring = np.rint(radius * size).astype(np.int64)
    last = size // 2
    inside = ring <= last
    sums = np.bincount(ring[inside], power[inside], minlength=last + 1)
    counts = np.bincount(ring[inside], minlength=last + 1)
    return np.arange(last + 1) / size, sums / counts


def high_frequency_power(frequencies: npt.ArrayLike, power: npt.ArrayLike) -> float:
    """The power beyond HIGH_FREQUENCY of a `radial_power_spectrum`, (K,) each, up to a constant factor.

    Each ring counts as often as it has frequencies, which is in proportion to its radius.
    """
    f = np.asarray(frequencies, np.float64)
    return float(np.sum((f * np.asarray(power, np.float64))[f > HIGH_FREQUENCY]))
