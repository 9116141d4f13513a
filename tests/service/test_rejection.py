"""What is kept: its density on models whose densities are known, and that it is a function of the seed."""

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from service import latents, operations, rejection
from service.errors import BadRequest, NotFound
from service.folder import ModelsFolder
from service.manifest import Operation
from service.registry import Model, Registry
from tests.service import bundles, finished
from tests.service.bundles import DIM, GREY, Net

SEEDS = range(1000, 3000)


@pytest.fixture(scope="module")
def tilted(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Plain images of the grey Phi(z_0), so uniform in [0, 1], and a logit that is log odds: 2 grey - c.

    The ratio is exp(2 grey - c), of mean 1: the data has the density 2 exp(2 g) / (e^2 - 1) in [0, 1].
    """
    _, generate = bundles.generate(GREY, seed=0)
    net = Net(0)
    net.add("Reshape", "z", net.constant(np.array([-1, DIM, 1, 1], np.int64)))
    kernel = np.zeros((DIM, 1, 8, 8), np.float32)
    kernel[0] = 1 / np.sqrt(2)
    net.add("ConvTranspose", net.last, net.constant(kernel))
    half = net.constant(np.array(0.5, np.float32))
    net.add("Mul", net.add("Erf", net.last), half)
    net.add("Add", net.last, half, to="image")
    graphs = {
        "generate": (net.model(generate.inputs, generate.outputs), generate),
        "discriminate": mean_grey(2),
    }
    root = tmp_path_factory.mktemp("tilted")
    bundles.write(root, "tilted", graphs, image=GREY)
    return ModelsFolder(root).registry.get("tilted")


def mean_grey(slope: float) -> tuple[ModelProto, Operation]:
    """discriminate: slope grey - log((e^slope - 1) / slope), whose exponential has the mean 1 under a uniform grey."""
    _, operation = bundles.discriminate(GREY, seed=0)
    net = Net(0)
    kernel = np.full((1, 1, 8, 8), slope / 64, np.float32)
    bias = np.array([-np.log(np.expm1(slope) / slope)], np.float32)
    net.add("Conv", "image", net.constant(kernel), net.constant(bias))
    net.add("Reshape", net.last, net.constant(np.array([-1], np.int64)), to="logit")
    return net.model(operation.inputs, operation.outputs), operation


def greys(result: rejection.Kept) -> Any:
    return result.images[:, 0, 0, 0] / 255


def expected_fraction(low: float, high: float, keep: float) -> float:
    """The integral of min(1, keep r) over greys from `low` to `high`."""
    g = np.linspace(low, high, 10_001)
    ratio = 2 * np.exp(2 * g) / np.expm1(2)
    return float(np.minimum(1, keep * ratio).mean() * (high - low))


# The largest ratio is 2 e^2 / (e^2 - 1) = 2.31: 0.4 cuts nothing off, 1 cuts much.
@pytest.mark.parametrize("keep", [0.4, 1.0])
def test_what_is_kept_has_the_density_that_it_should(tilted: Model, keep: float) -> None:
    n = 4000
    result = finished.keep(tilted, tilted, range(20_000), n, keep)
    total = expected_fraction(0, 1, keep)
    if keep == 0.4:
        assert total == pytest.approx(0.4, rel=1e-4)
    # Four standard errors of a fraction of the proposals.
    assert abs(result.acceptance_rate - total) < 4 * np.sqrt(total * (1 - total) / result.proposed)
    counts, edges = np.histogram(greys(result), bins=8, range=(0, 1))
    expected = np.array([expected_fraction(*edge, keep) / total for edge in itertools.pairwise(edges)])
    assert np.abs(counts / n - expected).max() < 4 * np.sqrt(expected.max() / n)
    # The samples that nothing was kept of are uniform: far from it.
    assert np.abs(expected - 1 / 8).max() > 8 * np.sqrt(expected.max() / n)


def test_the_first_of_more_are_the_same(tilted: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    many = finished.keep(tilted, tilted, SEEDS, 64, 0.5)
    assert many.seeds == sorted(set(many.seeds))
    for n in (1, 4, 63):
        few = finished.keep(tilted, tilted, SEEDS, n, 0.5)
        assert few.images.tobytes() == many.images[:n].tobytes()
        assert few.seeds == many.seeds[:n]
        assert few.proposed == few.seeds[-1] - SEEDS[0] + 1
    for at_a_time in (1, 7, 1000):
        monkeypatch.setattr(rejection, "_MOST_AT_A_TIME", at_a_time)
        again = finished.keep(tilted, tilted, SEEDS, 64, 0.5)
        assert (again.seeds, again.proposed) == (many.seeds, many.proposed)
        assert again.images.tobytes() == many.images.tobytes()


def test_the_next_ones_begin_where_it_ended(tilted: Model) -> None:
    both = finished.keep(tilted, tilted, SEEDS, 20, 0.3)
    first = finished.keep(tilted, tilted, SEEDS, 12, 0.3)
    second = finished.keep(tilted, tilted, SEEDS[first.proposed :], 8, 0.3)
    assert first.seeds + second.seeds == both.seeds


def test_what_is_kept_are_the_samples_of_their_seeds(registry: Registry) -> None:
    gan = registry.get("tiny-gan")
    result = finished.keep(gan, gan, SEEDS, 30, 0.5, truncation=0.8)
    assert result.images.tobytes() == finished.sample(gan, result.seeds, 0.8).tobytes()
    # By hand: the first 30 whose number is below half their density ratio.
    looked_at = SEEDS[: result.proposed]
    images = finished.sample(gan, looked_at, 0.8)
    score = finished.score(gan, images)
    assert isinstance(score, operations.DiscriminatorScore)
    kept = latents.uniforms(looked_at) < 0.5 * score.density_ratio
    assert [seed for seed, yes in zip(looked_at, kept, strict=True) if yes] == result.seeds


def test_less_kept_is_less_of_the_same(registry: Registry) -> None:
    """The number of a seed is the same for every `keep`."""
    gan = registry.get("tiny-gan")
    some = finished.keep(gan, gan, SEEDS, 20, 0.2)
    more = finished.keep(gan, gan, SEEDS, 40, 0.9)
    assert {seed for seed in some.seeds if seed <= more.seeds[-1]} < set(more.seeds)


def test_label_and_prior_are_those_of_the_samples(registry: Registry) -> None:
    by = registry.get("tiny-gan")
    conditional, fitted = registry.get("tiny-cgan"), registry.get("tiny-prior")
    result = finished.keep(conditional, by, SEEDS, 9, 0.5, label=2)
    assert np.array_equal(result.images, finished.sample(conditional, result.seeds, labels=[2] * 9))
    assert result.labels == [2] * 9
    result = finished.keep(conditional, by, SEEDS, 9, 0.5)
    assert result.labels == operations.seed_labels(conditional, result.seeds, None)
    assert np.array_equal(result.images, finished.sample(conditional, result.seeds))
    for prior in ("fitted", "normal"):
        result = finished.keep(fitted, by, SEEDS, 9, 0.5, prior=prior)
        assert np.array_equal(result.images, finished.sample(fitted, result.seeds, prior=prior))


def test_too_few_are_an_error_that_says_how_many(tilted: Model) -> None:
    with pytest.raises(
        BadRequest, match=r"keep: 0.4 kept \d+ of the 100 samples that may be looked at, 90 are"
    ):
        finished.keep(tilted, tilted, range(100), 90, 0.4)


def test_who_cannot_choose(registry: Registry) -> None:
    gan, vae, rgb = (registry.get(name) for name in ("tiny-gan", "tiny-vae", "tiny-rgb"))
    with pytest.raises(
        NotFound, match="tiny-vae/1 has no discriminator to choose by; name another model's with"
    ):
        finished.keep(vae, vae, SEEDS, 1, 0.5)
    with pytest.raises(NotFound, match=r"tiny-vae/1 has no discriminator to choose by$"):
        finished.keep(gan, vae, SEEDS, 1, 0.5)
    with pytest.raises(
        BadRequest, match="tiny-gan/2 scores images of 8 x 8 x 1; those of tiny-rgb/1 are 8 x 12 x 3"
    ):
        finished.keep(rgb, gan, SEEDS, 1, 0.5)
    with pytest.raises(NotFound, match="cannot sample"):
        finished.keep(registry.get("tiny-ae"), gan, SEEDS, 1, 0.5)
