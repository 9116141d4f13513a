"""What a model does for a caller: sample, reconstruct, encode, decode, interpolate, score.

Plain functions on arrays, in steps (see service/steps.py): what a graph shall run is handed to whoever takes them.
Images are uint8 (N, H, W, C) here, and float32 (N, C, H, W) in [0, 1] in graphs.
Everything about image i depends on image i alone, never on the images beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service import elbo, latents, offers, tensors
from service.errors import BadRequest
from service.latents import Prior
from service.manifest import Likelihood
from service.registry import Model, is_conditional
from service.sampler import SEEDED, Sampler
from service.steps import Rows, Steps, run
from service.tensors import Doubles, Floats, Images, Labels

# exp of more than this overflows float64; JSON has no infinity.
_LARGEST_LOG_RATIO = 700.0


@dataclass(frozen=True)
class Encoding:
    """q(z|x): `mean` and `logvar`, (N, dim); `logvar` is None where the encoder gives none (a plain AE)."""

    mean: Floats
    logvar: Floats | None


@dataclass(frozen=True)
class Reconstruction:
    """Images decoded from the means of their encodings, and how far they are from the originals.

    `mse` (N,) is the mean over pixels and channels of the squared difference, pixels in [0, 1].
    `psnr`, dB, is -10 log10(mse), and None for an image with mse 0.
    `anomaly_percentile` (N,), 0 to 100, is None where the model has no such statistic.
    `elbo_nats` (N,) is None where the model has no likelihood.
    """

    images: Images
    mean: Floats
    mse: Doubles
    psnr: tuple[float | None, ...]
    anomaly_percentile: Doubles | None
    elbo_nats: Doubles | None


@dataclass(frozen=True)
class DiscriminatorScore:
    """`logit`, `probability` of being real, and `density_ratio` p_data / p_model = p / (1 - p); (N,).

    The ratio is kept within e^-700 and e^700, so that it is a number in JSON.
    """

    logit: Doubles
    probability: Doubles
    density_ratio: Doubles


@dataclass(frozen=True)
class ElboScore:
    """`elbo_nats`, `bits_per_dim` of it, and `anomaly_percentile` (0 to 100, or None where it has none); (N,).

    `iw_nats` (N,) is the importance weighted bound, None where it was not asked for.
    """

    elbo_nats: Doubles
    bits_per_dim: Doubles
    anomaly_percentile: Doubles | None
    iw_nats: Doubles | None = None


@dataclass(frozen=True)
class Sampled:
    """`labels`: of a conditional model, the class of each image; else None."""

    images: Images
    labels: Sequence[int] | None


def draw(
    model: Model, seeds: Sequence[int], truncation: float | None = None, prior: Prior | None = None
) -> Steps[Floats]:
    """Latents (n, dim), one a seed: normal draws (see `latents.from_seeds`), or what the `prior` graph makes of them.

    Args:
        prior: "fitted", by the graph; "normal", N(0, I), which the codes of a plain autoencoder do not follow.
            None: fitted where the model has the graph. A prior that was learned with the model is the only one.

    Raises:
        NotFound: the model has no prior over its latents.
        BadRequest: "fitted", of a model without the graph; "normal", of one that learned its prior.
    """
    fitted = _is_fitted(model, prior)
    eps = latents.from_seeds(seeds, offers.latent_dim(model), truncation)
    if not fitted:
        return eps
    (z,) = yield from run(model.graph("prior"), eps=eps)
    return z


def sample(
    model: Model,
    seeds: Sequence[int],
    truncation: float | None = None,
    labels: Sequence[int] | None = None,
    prior: Prior | None = None,
) -> Steps[Sampled]:
    """Images drawn from the model, one a seed.

    Args:
        seeds: each in [0, 2^53).
        truncation: in (0, 1]; smaller is closer to the mean: less varied.
        prior: see `draw`.
        labels: a class for each image, for a conditional model and only for one; None: see `seed_labels`.

    Raises:
        NotFound: the model has no prior over its latents, or does not generate.
        BadRequest: labels that the model does not take, or a prior that it has not.
    """
    rows = _sampler(model, _is_fitted(model, prior))
    if labels is None and is_conditional(model.manifest):
        label = {"label": np.full(len(seeds), SEEDED, np.int64)}
    else:
        label = tensors.from_labels(model, labels, len(seeds))
    seed = np.asarray(seeds, np.int64)
    psi = np.full(len(seed), 1.0 if truncation is None else truncation)
    images, *classes = yield from run(rows, seed=seed, truncation=psi, **label)
    return Sampled(images, classes[0].tolist() if classes else None)


def seed_labels(model: Model, seeds: Sequence[int], labels: Sequence[int] | None) -> Sequence[int] | None:
    """`labels`; where there are none, a conditional model's seeds have a class each, drawn as their latents are."""
    if labels is None and is_conditional(model.manifest):
        drawn: list[int] = latents.classes(seeds, len(model.manifest.class_names or ())).tolist()
        return drawn
    return labels


def encode(model: Model, images: Images) -> Steps[Encoding]:
    """Raises NotFound where the model does not encode, BadRequest for images of another shape."""
    offers.require(model, "encode")
    return (yield from _encode(model, tensors.from_images(model, images)))


def decode(model: Model, z: Floats, labels: Sequence[int] | None = None) -> Steps[Images]:
    """Images (n, H, W, C) of latents (n, dim).

    Raises:
        NotFound: the model does not generate.
        BadRequest: latents of another shape or not finite, or labels that the model does not take.
    """
    offers.require(model, "decode")
    z = tensors.from_latents(model, z, offers.latent_dim(model))
    label = tensors.from_labels(model, labels, len(z))
    try:
        return tensors.to_images((yield from _decode(model, z, label)))
    except FloatingPointError as error:
        raise BadRequest.at("latents", f"are too large: {error}") from error


def reconstruct(
    model: Model,
    images: Images,
    samples: int = elbo.SAMPLES,
    labels: Sequence[int] | None = None,
) -> Steps[Reconstruction]:
    """Encode, then decode the means.

    Args:
        images: uint8 (n, H, W, C) of the model's shape.
        samples: for the ELBO; 0 leaves it out (None), which saves most of the time.
        labels: a class for each image, for a conditional model and only for one.

    Raises:
        NotFound: the model does not both encode and generate.
        BadRequest: images of another shape, or labels that the model does not take.
    """
    offers.require(model, "reconstruct")
    x = tensors.from_images(model, images)
    encoding = yield from _encode(model, x)
    label = tensors.from_labels(model, labels, len(x))
    decoded = yield from _decode(model, encoding.mean, label)
    mse = np.square(tensors.rows(x) - tensors.rows(decoded)).mean(axis=1)
    bound = None
    if samples and offers.has_elbo(model):
        bound = yield from _elbo_nats(model, x, encoding, label, samples)
    return Reconstruction(
        images=tensors.to_images(decoded),
        mean=encoding.mean,
        mse=mse,
        psnr=tuple(-10 * math.log10(m) if m > 0 else None for m in mse.tolist()),
        anomaly_percentile=_anomaly_percentile(model, mse=mse, elbo_nats=bound),
        elbo_nats=bound,
    )


def interpolate(
    model: Model,
    keys: Floats,
    steps: int,
    path: latents.Path = "slerp",
    labels: Sequence[int] | None = None,
    *,
    closed: bool = False,
    easing: latents.Easing = "linear",
) -> Steps[Images]:
    """`steps` images along a path through the latents `keys` (k, dim); see `latents.walk`.

    For keys given as seeds, `keys` is `draw(model, seeds)`; for images, `encode(model, images).mean`.

    Raises:
        NotFound: the model does not generate.
        BadRequest: keys of another shape or not finite, or labels that the model does not take.
        ValueError: see `latents.walk`.
    """
    offers.require(model, "interpolate")
    keys = tensors.from_latents(model, keys, offers.latent_dim(model))
    z = latents.walk(keys, steps, path, closed=closed, easing=easing)
    return (yield from decode(model, z, labels))


def score(
    model: Model, images: Images, labels: Sequence[int] | None = None, k: int | None = None
) -> Steps[DiscriminatorScore | ElboScore]:
    """How much images look like the model's data: by its discriminator, or else by its ELBO.

    The probability is the sigmoid of the log odds that the manifest's calibration gives for the logit, and
    sigmoid(logit) without. The ELBO uses `elbo.SAMPLES` fixed draws of noise, the same for every image.

    Args:
        labels: a class for each image, for a conditional model scored by its ELBO and only for one.
        k: draws for the importance weighted bound, beside the ELBO; for models scored by that. None: no such bound.

    Raises:
        NotFound: the model has neither a discriminator nor a likelihood.
        BadRequest: images of another shape, or labels or `k` that the model does not take.
    """
    offers.require(model, "score")
    if "discriminate" in model.graphs:
        if labels is not None:
            raise BadRequest.at("label", f"must be left out: the discriminator of {model} takes none")
        if k is not None:
            raise BadRequest.at(
                "k", f"must be left out: {model} is scored by its discriminator, not by an ELBO"
            )
        return (yield from discriminate(model, images))
    x = tensors.from_images(model, images)
    label = tensors.from_labels(model, labels, len(x))
    encoding = yield from _encode(model, x)
    bound = yield from _elbo_nats(model, x, encoding, label, elbo.SAMPLES)
    iw_nats = None
    if k is not None:
        iw_nats = yield from _importance_weighted_nats(model, x, encoding, label, k)
    return ElboScore(
        elbo_nats=bound,
        bits_per_dim=elbo.bits_per_dim(bound, math.prod(x.shape[1:]), _likelihood(model)),
        anomaly_percentile=_anomaly_percentile(model, elbo_nats=bound),
        iw_nats=iw_nats,
    )


def discriminate(model: Model, images: Images) -> Steps[DiscriminatorScore]:
    """As `score`, by the discriminator and nothing else; raises NotFound where the model has none."""
    (output,) = yield from run(model.graph("discriminate"), image=tensors.from_images(model, images))
    logit = output.astype(np.float64)
    calibration = model.manifest.score
    log_odds = _through(calibration.knots, logit) if calibration else logit
    log_ratio = np.clip(log_odds, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
    return DiscriminatorScore(
        logit=logit, probability=1 / (1 + np.exp(-log_ratio)), density_ratio=np.exp(log_ratio)
    )


def _through(knots: Sequence[tuple[float, float]], x: Doubles) -> Doubles:
    """The piecewise linear function through `knots`, whose first and last piece have no end; (n,) -> (n,)."""
    at, value = np.array(knots).T
    slope = np.diff(value) / np.diff(at)
    piece = np.clip(np.searchsorted(at, x, side="right") - 1, 0, len(slope) - 1)
    y: Doubles = value[piece] + slope[piece] * (x - at[piece])
    return y


def _elbo_nats(model: Model, x: Floats, encoding: Encoding, label: Labels, samples: int) -> Steps[Doubles]:
    if encoding.logvar is None:
        raise ValueError(f"{model}: an ELBO needs the variance of q(z|x)")

    def decoded(z: Floats) -> Steps[Doubles]:
        return tensors.rows((yield from _decode(model, z, label)))

    return (
        yield from elbo.elbo_nats(
            tensors.rows(x),
            encoding.mean,
            encoding.logvar,
            decoded,
            _likelihood(model),
            _log_prior(model),
            samples=samples,
        )
    )


def _importance_weighted_nats(
    model: Model, x: Floats, encoding: Encoding, label: Labels, k: int
) -> Steps[Doubles]:
    if encoding.logvar is None:
        raise ValueError(f"{model}: the bound needs the variance of q(z|x)")

    def decoded(z: Floats) -> Steps[Doubles]:
        labels = {name: np.tile(row, len(z) // len(x)) for name, row in label.items()}
        return tensors.rows((yield from _decode(model, z, labels)))

    return (
        yield from elbo.importance_weighted_nats(
            tensors.rows(x),
            encoding.mean,
            encoding.logvar,
            decoded,
            _likelihood(model),
            _log_prior(model),
            k=k,
        )
    )


def _log_prior(model: Model) -> elbo.LogPrior | None:
    """Of a learned prior; None: N(0, I)."""
    if "log_prior" not in model.graphs:
        return None
    graph = model.graph("log_prior")

    def density(z: Floats) -> Steps[Doubles]:
        (values,) = yield from run(graph, z=z)
        return values.astype(np.float64)

    return density


def _likelihood(model: Model) -> Likelihood:
    likelihood = model.manifest.likelihood
    if likelihood is None:
        raise ValueError(f"{model} has no likelihood")
    return likelihood


def _anomaly_percentile(
    model: Model, *, mse: Doubles | None = None, elbo_nats: Doubles | None = None
) -> Doubles | None:
    """Percentile, 0 to 100, of the manifest's statistic; None where it has none or it was not computed."""
    anomaly = model.manifest.anomaly
    if anomaly is None:
        return None
    statistics = {"mse": mse, "negative_elbo_nats": None if elbo_nats is None else -elbo_nats}
    statistic = statistics[anomaly.statistic]
    if statistic is None:
        return None
    percentile: Doubles = np.interp(statistic, anomaly.quantiles, np.arange(101.0))
    return percentile


def _encode(model: Model, x: Floats) -> Steps[Encoding]:
    mean, *logvar = yield from run(model.graph("encode"), image=x)
    return Encoding(mean, logvar[0] if logvar else None)


def _is_fitted(model: Model, prior: Prior | None) -> bool:
    """Whether latents are drawn through the `prior` graph; raises as `draw` does."""
    offers.require(model, "sample")
    fitted = "prior" in model.graphs
    if prior == "fitted" and not fitted:
        raise BadRequest.at("prior", f"must be 'normal' or left out: {model} has no fitted prior")
    if prior == "normal" and "log_prior" in model.graphs:
        raise BadRequest.at(
            "prior", f"must be 'fitted' or left out: {model} was trained with a prior of its own"
        )
    return fitted and prior != "normal"


def _sampler(model: Model, fitted: bool) -> Rows:
    if fitted not in model.chains:
        prior = model.graph("prior") if fitted else None
        classes = len(model.manifest.class_names or ()) if is_conditional(model.manifest) else 0
        model.chains[fitted] = Sampler(
            str(model), model.graph("generate"), prior, offers.latent_dim(model), classes
        )
    return model.chains[fitted]


def _decode(model: Model, z: Floats, label: Labels) -> Steps[Floats]:
    """Raises FloatingPointError where the graph overflows."""
    (x,) = yield from run(model.graph("generate"), z=z, **label)
    if bad := tensors.rows_not_finite(x):
        raise FloatingPointError(f"{model} makes no finite image of row {bad[0]}")
    return x
