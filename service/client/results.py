"""What the typed client gives: a class for each kind of result, and the error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]


class LatentryError(Exception):
    """The service refused or failed: `str()` is the problem's text.

    Attributes:
        status: of HTTP; title: its name.
        detail: what was wrong, the value, and what is allowed.
        errors: {"location", "message"} for each field at fault.
        retry_after_s: seconds after which to try again, where the service says so (429, 503).
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 (N, H, W, C). `seeds` has one for each (of an interpolation: the ends'), or is empty.

    `labels`: of samples of a conditional model, the class of each; else empty.

    Of a sample with `keep`: the fraction of the samples looked at that were kept, and how many were looked at.
    """

    model: str
    version: int
    images: Images
    seeds: tuple[int, ...]
    labels: tuple[int, ...] = ()
    acceptance_rate: float | None = None
    proposed: int | None = None


@dataclass(frozen=True)
class Codes:
    """q(z|x): `mean` and `logvar`, float32 (N, dim); a plain autoencoder has no `logvar`."""

    model: str
    version: int
    mean: Floats
    logvar: Floats | None


@dataclass(frozen=True)
class ReconstructionErrors:
    """How far reconstructions are from their images, (N,) each; None: the model has no such figure.

    `mse` is in [0, 1]; `psnr` in dB, infinite where mse is 0; `anomaly_percentile` 0 to 100, high is strange.
    """

    model: str
    version: int
    mse: Floats
    psnr: Floats
    elbo_nats: Floats | None
    anomaly_percentile: Floats | None


@dataclass(frozen=True)
class Scores:
    """(N,) each. A discriminator gives the first three, a VAE the others (a percentile if calibrated).

    `iw_nats`, the importance weighted bound of `k` draws, is there where `k` was given.
    """

    model: str
    version: int
    logit: Floats | None
    probability: Floats | None
    density_ratio: Floats | None
    elbo_nats: Floats | None
    bits_per_dim: Floats | None
    anomaly_percentile: Floats | None
    iw_nats: Floats | None
    k: int | None


@dataclass(frozen=True)
class ModelInfo:
    """One version of a model; the service's `/docs.json` describes the fields."""

    name: str
    version: int
    latest: bool
    family: str
    description: str
    operations: list[str]
    image: dict[str, int]
    latent: dict[str, Any] | None
    class_names: list[str] | None
    graphs: dict[str, Any]
    sha256: str
    dataset: dict[str, str]
    metrics: dict[str, float]
