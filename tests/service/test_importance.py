"""The importance weighted bound against log p(x), which a linear Gaussian model has in closed form.

x = W z + b + s e with z ~ N(0, I) and e ~ N(0, I) is N(b, W W^T + s^2 I). Where the columns of W are orthogonal, the
posterior p(z|x) has independent latents: mean (x - b) W / (|w|^2 + s^2) and variance s^2 / (|w|^2 + s^2) in each
(Bishop 2006, "Pattern recognition and machine learning", eq. 12.35, 12.41 and 12.42).
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from service import latents
from service.folder import ModelsFolder
from service.manifest import Likelihood, Operation
from service.operations import ElboScore
from service.registry import Model, Registry
from service.steps import Steps
from tests.service import bundles, finished
from tests.service.bundles import DIM, GREY, Net

NOISE = 0.3
BIAS = 0.5
PIXELS = 64
Doubles = NDArray[np.float64]


def loadings() -> Doubles:
    """W, (64, 4), with orthogonal columns of different lengths."""
    columns, _ = np.linalg.qr(np.random.RandomState(0).standard_normal((PIXELS, DIM)))
    scaled: Doubles = columns * np.array([1.5, 1.0, 0.6, 0.2])
    return scaled


def generate(w: Doubles) -> tuple[ModelProto, Operation]:
    """Every image is W z + b."""
    _, operation = bundles.generate(GREY, seed=0)
    net = Net(0)
    net.add("Reshape", "z", net.constant(np.array([-1, DIM, 1, 1], np.int64)))
    kernel = w.T.reshape(DIM, 1, 8, 8).astype(np.float32)
    net.add("ConvTranspose", net.last, net.constant(kernel), to="image")
    net.nodes[-1].input.append(net.constant(np.array([BIAS], np.float32)))
    return net.model(operation.inputs, operation.outputs), operation


def encode(w: Doubles, *, shrink: float, widen: float) -> tuple[ModelProto, Operation]:
    """The posterior, its mean `shrink` times as far from 0, its standard deviation `widen` times as large."""
    _, operation = bundles.encode(GREY, seed=0, logvar=True)
    length2 = np.square(w).sum(axis=0)
    to_mean = shrink * w / (length2 + NOISE**2)
    logvar = np.log(NOISE**2 / (length2 + NOISE**2)) + 2 * math.log(widen)
    net = Net(0)
    shape = net.constant(np.array([-1, DIM], np.int64))
    for name, kernel, bias in (
        ("mean", to_mean.T, -BIAS * to_mean.sum(axis=0)),
        ("logvar", np.zeros((DIM, PIXELS)), logvar),
    ):
        weights = net.constant(kernel.reshape(DIM, 1, 8, 8).astype(np.float32))
        net.add("Conv", "image", weights, net.constant(bias.astype(np.float32)))
        net.add("Reshape", net.last, shape, to=name)
    return net.model(operation.inputs, operation.outputs), operation


def model(folder: Path, *, shrink: float = 1.0, widen: float = 1.0) -> Model:
    graphs = {"generate": generate(loadings()), "encode": encode(loadings(), shrink=shrink, widen=widen)}
    bundles.write(folder, "linear", graphs, image=GREY, likelihood={"kind": "gaussian", "stddev": NOISE})
    return ModelsFolder(folder).registry.get("linear")


def pictures(n: int) -> NDArray[np.uint8]:
    random = np.random.RandomState(1)
    x = random.standard_normal((n, DIM)) @ loadings().T + BIAS + NOISE * random.standard_normal((n, PIXELS))
    return np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8).reshape(n, 8, 8, 1)


def log_p(images: NDArray[np.uint8]) -> Doubles:
    """log N(x; b, W W^T + s^2 I)."""
    w = loadings()
    covariance = w @ w.T + NOISE**2 * np.eye(PIXELS)
    off = images.reshape(len(images), PIXELS) / 255 - BIAS
    distance = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    result: Doubles = -0.5 * (distance + np.linalg.slogdet(2 * np.pi * covariance)[1])
    return result


def bound(served: Model, images: NDArray[np.uint8], k: int) -> Doubles:
    score = finished.score(served, images, k=k)
    assert isinstance(score, ElboScore)
    assert score.iw_nats is not None
    return score.iw_nats


@pytest.mark.parametrize("k", [1, 2, 50])
def test_with_the_true_posterior_every_weight_is_p_of_x(tmp_path: Path, k: int) -> None:
    images = pictures(6)
    expected = log_p(images)
    assert np.ptp(expected) > 10
    served = model(tmp_path)
    np.testing.assert_allclose(bound(served, images, k), expected, atol=2e-3)


def test_the_bound_rises_with_k_over_draws_of_the_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(8)
    served = model(tmp_path, shrink=0.9, widen=1.4)
    from_seeds, means = latents.from_seeds, []
    for k in (1, 4, 16, 64):
        bounds = []
        for first in range(0, 100_000, 1000):
            moved = functools.partial(_moved, from_seeds, first)
            monkeypatch.setattr(latents, "from_seeds", moved)
            bounds.append(bound(served, images, k))
        means.append(np.mean(bounds))
    gaps = log_p(images).mean() - np.array(means)
    assert (np.diff(gaps) < 0).all(), gaps
    assert gaps[0] > 0.3
    assert abs(gaps[3]) < 0.02


def _moved(from_seeds: Callable[..., Any], first: int, seeds: Sequence[int], dim: int) -> Any:
    return from_seeds([first + seed for seed in seeds], dim)


def test_many_draws_give_log_p_of_x(tmp_path: Path) -> None:
    images = pictures(4)
    got = bound(model(tmp_path, shrink=0.9, widen=1.4), images, 8192)
    np.testing.assert_allclose(got, log_p(images), atol=0.03)


def test_one_draw_is_the_elbo_with_its_kl_drawn(tmp_path: Path) -> None:
    """By hand: log p(x|z) + log p(z) - log q(z|x) at the z of seed 0."""
    images = pictures(3)
    served = model(tmp_path, shrink=0.6, widen=0.7)
    encoding = finished.encode(served, images)
    assert encoding.logvar is not None
    (eps,) = latents.from_seeds([0], DIM).astype(float)
    stddev = np.exp(encoding.logvar.astype(float) / 2)
    z = encoding.mean + stddev * eps
    off = images.reshape(3, PIXELS) / 255 - (z @ loadings().T + BIAS)
    log_2pi = math.log(2 * math.pi)
    log_likelihood = -0.5 * np.square(off / NOISE).sum(1) - PIXELS * (math.log(NOISE) + 0.5 * log_2pi)
    log_prior = -0.5 * (np.square(z) + log_2pi).sum(1)
    log_q = -0.5 * (np.square(eps) + log_2pi + 2 * np.log(stddev)).sum(1)
    np.testing.assert_allclose(bound(served, images, 1), log_likelihood + log_prior - log_q, atol=2e-3)


@pytest.mark.parametrize("k", [1, 7, 300])
def test_an_image_has_its_bound_alone_and_in_any_batch(registry: Registry, k: int) -> None:
    random = np.random.RandomState(2)
    for name in ("tiny-vae", "tiny-rgb"):
        served = registry.get(name)
        shape = served.manifest.image
        images = random.randint(0, 256, (40, shape.height, shape.width, shape.channels)).astype(np.uint8)
        together = bound(served, images, k)
        for part in (slice(13, 14), slice(5, 25), slice(39, 40)):
            assert bound(served, images[part], k).tobytes() == together[part].tobytes()


def test_draws_keep_the_label_of_their_image(tmp_path: Path) -> None:
    graphs = {
        "generate": bundles.generate(GREY, seed=1, classes=len(bundles.CLASS_NAMES)),
        "encode": bundles.encode(GREY, seed=2, logvar=True),
    }
    bernoulli = {"kind": "bernoulli"}
    names = bundles.CLASS_NAMES
    bundles.write(tmp_path, "labelled", graphs, image=GREY, likelihood=bernoulli, class_names=names)
    served = ModelsFolder(tmp_path).registry.get("labelled")
    images = pictures(5)
    labels = [0, 2, 1, 1, 0]
    together = finished.score(served, images, labels, k=70)
    assert isinstance(together, ElboScore)
    assert together.iw_nats is not None
    for i, label in enumerate(labels):
        alone = finished.score(served, images[i : i + 1], [label], k=70)
        other = finished.score(served, images[i : i + 1], [(label + 1) % 3], k=70)
        assert isinstance(alone, ElboScore)
        assert isinstance(other, ElboScore)
        assert alone.iw_nats == together.iw_nats[i] != other.iw_nats


def test_weights_that_float64_cannot_hold() -> None:
    """Log weights near -2e6: without a common factor taken out, each is exp(-2e6) = 0 and the bound -inf."""
    x = np.ones((1, 2))
    zeros = np.zeros((1, 1), np.float32)
    draws: list[Any] = []

    def decode(z: NDArray[np.float32]) -> Steps[Doubles]:
        yield from ()
        draws.append(z)
        return np.full((len(z), 2), -1.0)

    likelihood = Likelihood(kind="gaussian", stddev=0.001)
    got = finished.importance_weighted_nats(x, zeros, zeros, decode, likelihood, k=5)
    # q is the prior and the decoder looks away: each weight is p(x|z), two pixels 2,000 deviations off.
    expected = 2 * (-0.5 * 2000.0**2 - math.log(0.001 * math.sqrt(2 * math.pi)))
    np.testing.assert_allclose(got, [expected], rtol=1e-12)
    assert sum(map(len, draws)) == 5
