import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from service import latents, offers, operations, tensors
from service.errors import BadRequest, NotFound
from service.folder import ModelsFolder
from service.manifest import Operation, Tensor
from service.operations import DiscriminatorScore, ElboScore
from service.registry import Model, Registry
from service.runtime import Graph
from service.steps import Run
from tests.service import bundles, finished
from tests.service.bundles import DIM, GREY, Net

PIXELS = 64


def flat(weights: Sequence[float], bias: float = 0.0) -> tuple[ModelProto, Operation]:
    """generate: every pixel is sigmoid(weights . z + bias)."""
    _, operation = bundles.generate(GREY, seed=0)
    net = Net(0)
    net.add("Reshape", "z", net.constant(np.array([-1, DIM, 1, 1], np.int64)))
    kernel = np.broadcast_to(np.array(weights, np.float32)[:, None, None, None], (DIM, 1, 8, 8)).copy()
    net.add("ConvTranspose", net.last, net.constant(kernel), net.constant(np.array([bias], np.float32)))
    net.add("Sigmoid", net.last, to="image")
    return net.model(operation.inputs, operation.outputs), operation


def constant_encode(mean: Sequence[float], logvar: Sequence[float]) -> tuple[ModelProto, Operation]:
    """encode: the same q(z|x) for every image."""
    _, operation = bundles.encode(GREY, seed=0, logvar=True)
    net = Net(0)
    zeros = net.constant(np.zeros((DIM, 1, 8, 8), np.float32))
    shape = net.constant(np.array([-1, DIM], np.int64))
    for name, values in (("mean", mean), ("logvar", logvar)):
        net.add("Conv", "image", zeros, net.constant(np.array(values, np.float32)))
        net.add("Reshape", net.last, shape, to=name)
    return net.model(operation.inputs, operation.outputs), operation


def shifted_prior() -> dict[str, tuple[ModelProto, Operation]]:
    """prior and log_prior: N(1, I)."""
    vector, row = bundles.prior(seed=0)[1].inputs[0].shape, np.array([-1], np.int64)
    z = Tensor(name="z", dtype="float32", shape=vector)
    net = Net(0)
    net.add("Add", "eps", net.constant(np.ones(DIM, np.float32)), to="z")
    prior = Operation(
        graph="prior.onnx", inputs=(Tensor(name="eps", dtype="float32", shape=vector),), outputs=(z,)
    )
    draw = net.model(prior.inputs, prior.outputs), prior
    net = Net(0)
    net.add("Sub", "z", net.constant(np.ones(DIM, np.float32)))
    net.add("Mul", net.last, net.last)
    net.add("Add", net.last, net.constant(np.full(1, math.log(2 * math.pi), np.float32)))
    net.add("ReduceSum", net.last, net.constant(np.array([1], np.int64)), keepdims=0)
    net.add("Mul", net.last, net.constant(np.full(1, -0.5, np.float32)))
    net.add("Reshape", net.last, net.constant(row), to="log_density")
    density = Operation(
        graph="log_prior.onnx",
        inputs=(z,),
        outputs=(Tensor(name="log_density", dtype="float32", shape=("N",)),),
    )
    return {"prior": draw, "log_prior": (net.model(density.inputs, density.outputs), density)}


def constant_logit(logit: float) -> tuple[ModelProto, Operation]:
    _, operation = bundles.discriminate(GREY, seed=0)
    net = Net(0)
    zeros = net.constant(np.zeros((1, 1, 8, 8), np.float32))
    net.add("Conv", "image", zeros, net.constant(np.array([logit], np.float32)))
    net.add("Reshape", net.last, net.constant(np.array([-1], np.int64)), to="logit")
    return net.model(operation.inputs, operation.outputs), operation


Make = Callable[..., Model]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write, load and return a model of these graphs."""

    def make(graphs: dict[str, tuple[ModelProto, Operation]], **fields: Any) -> Model:
        bundles.write(tmp_path, "made", graphs, image=GREY, **fields)
        return ModelsFolder(tmp_path).registry.get("made")

    return make


def vae(
    make: Make, weights: Sequence[float], mean: Sequence[float], logvar: Sequence[float], **fields: Any
) -> Model:
    graphs = {"generate": flat(weights), "encode": constant_encode(mean, logvar)}
    return make(graphs, **{"likelihood": {"kind": "bernoulli"}, **fields})


def grey(*levels: int) -> NDArray[np.uint8]:
    """One plain 8x8 image a level."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), 8, 8, 1)).copy()


ZERO, ONE = [0.0] * DIM, [1.0] * DIM
FLAT_QUANTILES = [i / 200 for i in range(101)]


def test_what_each_model_offers(registry: Registry) -> None:
    draws = ("sample", "decode", "interpolate")
    maps = ("reconstruct", "encode", "decode", "interpolate")
    offered = {str(model): offers.offered(model) for model in registry.models()}
    assert offered == {
        "tiny-ae/1": maps,
        "tiny-cgan/1": draws,
        "tiny-gan/1": (*draws, "score"),
        "tiny-gan/2": (*draws, "score"),
        "tiny-prior/1": ("sample", *maps),
        "tiny-rgb/1": ("sample", *maps, "score"),
        "tiny-vae/1": ("sample", *maps, "score"),
    }


@pytest.mark.parametrize(
    ("name", "call", "reason"),
    [
        (
            "tiny-gan",
            finished.encode,
            "tiny-gan/2 cannot encode; it offers sample, decode, interpolate, score",
        ),
        ("tiny-gan", finished.reconstruct, "tiny-gan/2 cannot reconstruct; it offers sample"),
        ("tiny-ae", finished.score, "tiny-ae/1 cannot score; it offers reconstruct, encode, decode"),
        ("tiny-cgan", finished.score, "tiny-cgan/1 cannot score; it offers sample, decode, interpolate"),
    ],
)
def test_what_a_model_cannot_do_is_not_found(
    registry: Registry, name: str, call: Callable[..., object], reason: str
) -> None:
    with pytest.raises(NotFound, match=reason):
        call(registry.get(name), grey(0))


@pytest.mark.parametrize("call", [finished.sample, finished.draw])
def test_a_plain_autoencoder_cannot_be_sampled(registry: Registry, call: Callable[..., object]) -> None:
    reason = r"tiny-ae/1 cannot sample: it has no prior over its latents.*; it offers reconstruct, encode"
    with pytest.raises(NotFound, match=reason):
        call(registry.get("tiny-ae"), [1])


# Everything about image i is a function of image i: to the bit, at any place in any batch.


def test_a_sample_is_the_same_alone_and_at_any_place(registry: Registry) -> None:
    seeds = [int(s) for s in np.random.RandomState(3).randint(0, 2**53, 64)]
    for model in registry.models():
        if "sample" in offers.offered(model):
            conditional = model.name == "tiny-cgan"
            labels = [i % 3 for i in range(64)] if conditional else None
            together = finished.sample(model, seeds, labels=labels)
            assert together.dtype == np.uint8
            assert len({image.tobytes() for image in together}) == 64
            for i in (0, 15, 16, 37, 63):
                alone = finished.sample(model, [seeds[i]], labels=[i % 3] if conditional else None)
                assert alone.tobytes() == together[i].tobytes()


@pytest.mark.parametrize("n", [1, 2, 7, 33])
def test_scores_and_reconstructions_are_the_same_in_any_batch(registry: Registry, n: int) -> None:
    random = np.random.RandomState(4)
    for name in ("tiny-vae", "tiny-gan", "tiny-rgb", "tiny-ae", "tiny-prior"):
        model = registry.get(name)
        image = model.manifest.image
        images = random.randint(0, 256, (64, image.height, image.width, image.channels)).astype(np.uint8)
        for call in (finished.score, finished.reconstruct):
            if call.__name__ in offers.offered(model):
                whole, part = vars(call(model, images)), vars(call(model, images[64 - n :]))
                for key, value in part.items():
                    if value is not None:
                        assert np.asarray(value).tobytes() == np.asarray(whole[key][64 - n :]).tobytes(), key


# Sampling.


def test_a_sample_is_the_decoding_of_its_draw(registry: Registry) -> None:
    model = registry.get("tiny-vae")
    z = latents.from_seeds([5, 6], DIM, truncation=0.5)
    (raw,) = model.graph("generate").run(z=z)
    images = finished.sample(model, [5, 6], truncation=0.5)
    assert images.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(images[..., 0], np.rint(raw[:, 0] * 255))
    assert not np.array_equal(images, finished.sample(model, [5, 6]))


def test_a_model_that_breaks_by_itself_does_not_blame_the_caller(make: Make) -> None:
    model = make({"generate": flat(ONE)})
    (z,) = finished.draw(model, [1])
    broken = replace(model, graphs={"generate": Overflow(model.graph("generate"))}, chains={})  # type: ignore[dict-item]  # a stand-in
    with pytest.raises(FloatingPointError, match="made/1 makes no finite image of row 0"):
        finished.sample(broken, [1])
    with pytest.raises(BadRequest, match="latents: are too large"):
        finished.decode(broken, z[None])


class Overflow:
    run_images = 64

    def __init__(self, generate: Graph) -> None:
        self.operation = generate.operation
        self.check = generate.check

    def compute(self, inputs: Any) -> tuple[Any]:
        return (np.full((len(inputs["z"]), 1, 8, 8), np.nan, np.float32),)


def test_colours_and_sides_keep_their_places(registry: Registry) -> None:
    model = registry.get("tiny-rgb")
    images = finished.sample(model, [1, 2])
    assert images.shape == (2, 8, 12, 3)
    (raw,) = model.graph("generate").run(z=latents.from_seeds([1, 2], DIM))
    np.testing.assert_array_equal(images, np.rint(np.moveaxis(raw, 1, -1) * 255))
    (mean, logvar) = model.graph("encode").run(image=np.moveaxis(images, -1, 1) / np.float32(255))
    encoding = finished.encode(model, images)
    np.testing.assert_array_equal(encoding.mean, mean)
    np.testing.assert_array_equal(encoding.logvar, logvar)


def test_a_fitted_prior_comes_before_the_decoder(registry: Registry) -> None:
    model = registry.get("tiny-prior")
    eps = latents.from_seeds([8, 9], DIM, truncation=0.7)
    (z,) = model.graph("prior").run(eps=eps)
    np.testing.assert_array_equal(finished.draw(model, [8, 9], 0.7), z)
    sampled = finished.sample(model, [8, 9], 0.7)
    np.testing.assert_array_equal(sampled, finished.decode(model, z))
    assert not np.array_equal(sampled, finished.decode(model, eps))


def test_the_prior_can_be_chosen(registry: Registry) -> None:
    model = registry.get("tiny-prior")
    np.testing.assert_array_equal(finished.draw(model, [8], prior="fitted"), finished.draw(model, [8]))
    normal = finished.draw(model, [8], 0.7, prior="normal")
    np.testing.assert_array_equal(normal, latents.from_seeds([8], DIM, truncation=0.7))
    vae = registry.get("tiny-vae")
    np.testing.assert_array_equal(finished.draw(vae, [8], prior="normal"), finished.draw(vae, [8]))
    with pytest.raises(BadRequest, match="tiny-vae/1 has no fitted prior"):
        finished.sample(vae, [8], prior="fitted")


def test_pixels_are_the_nearest_of_256_levels() -> None:
    x = np.array([-0.1, 0, 0.49 / 255, 0.51 / 255, 0.5, 1, 1.1], np.float32)
    assert tensors.to_images(x.reshape(7, 1, 1, 1)).ravel().tolist() == [0, 0, 0, 1, 128, 255, 255]


def test_labels_choose_the_class(registry: Registry) -> None:
    model = registry.get("tiny-cgan")
    images = finished.sample(model, [1, 1, 1], labels=[0, 1, 0])
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize(
    ("name", "labels", "reason"),
    [
        ("tiny-cgan", [0], "label: must be given for each of 2 images, got 1"),
        ("tiny-cgan", [0, 3], r"label: must be one of 0 \(circle\).*, got 3"),
        ("tiny-cgan", [-1, 0], r"label: must be one of .*, got -1"),
        ("tiny-gan", [0, 1], "label: must be left out: tiny-gan/2 is not conditional"),
    ],
)
def test_wrong_labels_are_refused(registry: Registry, name: str, labels: list[int], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        finished.sample(registry.get(name), [1, 2], labels=labels)


def test_latents_of_a_conditional_model_need_a_label(registry: Registry) -> None:
    model = registry.get("tiny-cgan")
    z = latents.from_seeds([1, 2], model.manifest.latent.dim if model.manifest.latent else 0)
    reason = r"label: is required.* one of 0 \(circle\), 1 \(square\), 2 \(cross\)"
    with pytest.raises(BadRequest, match=reason):
        finished.decode(model, z)
    with pytest.raises(BadRequest, match=reason):
        finished.interpolate(model, z, 4)


def test_without_a_label_each_seed_has_its_own(registry: Registry) -> None:
    model, seeds = registry.get("tiny-cgan"), [7, 3, 8, 9, 2**53 - 1, 7]
    labels = operations.seed_labels(model, seeds, None)
    assert labels is not None
    assert set(labels) == {0, 1, 2}
    result = finished.sampled(model, seeds)
    images, drawn = result.images, result.labels
    assert drawn == labels
    assert np.array_equal(images, finished.sample(model, seeds, labels=labels))
    assert np.array_equal(images[3], finished.sample(model, [9])[0])
    assert operations.seed_labels(model, seeds, [1] * 6) == [1] * 6
    assert operations.seed_labels(registry.get("tiny-gan"), seeds, None) is None
    assert finished.sampled(registry.get("tiny-gan"), seeds).labels is None


def test_requests_with_a_label_and_without_share_a_run(registry: Registry) -> None:
    model, seeds = registry.get("tiny-cgan"), [7, 3, 8, 9]
    [seeded, chosen] = (
        next(operations.sample(model, part, labels=labels))
        for part, labels in ((seeds[:2], None), (seeds[2:], [2, 2]))
    )
    assert isinstance(seeded, Run)
    assert isinstance(chosen, Run)
    assert seeded.rows is chosen.rows
    both = {name: np.concatenate([seeded.inputs[name], chosen.inputs[name]]) for name in seeded.inputs}
    images, classes = seeded.rows.compute(both)
    labels = operations.seed_labels(model, seeds[:2], None)
    assert labels is not None
    assert classes.tolist() == [*labels, 2, 2]
    assert np.array_equal(images, finished.sample(model, seeds, labels=classes.tolist()))


def test_a_discriminator_takes_no_label(registry: Registry) -> None:
    with pytest.raises(BadRequest, match="label: must be left out: the discriminator of tiny-gan/2"):
        finished.score(registry.get("tiny-gan"), grey(0), labels=[1])


# Latents and images at the door.


@pytest.mark.parametrize(
    ("z", "reason"),
    [
        (np.zeros((2, 5)), r"latents: must have the shape \(n, 4\) for tiny-vae/1, got \(2, 5\)"),
        (np.zeros(4), r"latents: must have the shape \(n, 4\)"),
        (np.array([ZERO, [0, 0, math.nan, 0]]), "latents: must be finite float32 numbers, row 1 is not"),
        (np.array([[math.inf, 0, 0, 0], ZERO]), "row 0 is not"),
        (np.array([ZERO, ZERO, [1e39, 0, 0, 0]]), "row 2 is not"),
        (
            np.array([ZERO, [3e38, 3e38, 3e38, 3e38]]),
            "latents: are too large: tiny-vae/1 makes no finite image of row 1",
        ),
    ],
    ids=["wide", "flat", "nan", "inf", "no float32", "overflow"],
)
def test_wrong_latents_are_refused(registry: Registry, z: Any, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        finished.decode(registry.get("tiny-vae"), z)


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (np.zeros((1, 8, 9, 1), np.uint8), r"uint8 \(1, 8, 9, 1\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"uint8 \(1, 8, 8, 3\)"),
        (np.zeros((1, 8, 8, 1), np.float32), r"float32 \(1, 8, 8, 1\)"),
    ],
)
def test_images_of_another_shape_are_refused(registry: Registry, images: Any, got: str) -> None:
    reason = rf"images: must be uint8 \(n, 8, 8, 1\) for tiny-vae/1, got {got}"
    for call in (finished.encode, finished.reconstruct, finished.score):
        with pytest.raises(BadRequest, match=reason):
            call(registry.get("tiny-vae"), images)


def test_a_plain_autoencoder_encodes_without_variance(registry: Registry) -> None:
    assert finished.encode(registry.get("tiny-ae"), grey(0)).logvar is None
    assert finished.encode(registry.get("tiny-vae"), grey(0)).logvar is not None


# Interpolation.


def test_an_interpolation_runs_from_key_to_key(registry: Registry) -> None:
    model = registry.get("tiny-vae")
    keys = finished.draw(model, [1, 2, 3])
    frames = finished.interpolate(model, keys, 5)
    np.testing.assert_array_equal(frames[[0, 2, 4]], finished.decode(model, keys))
    assert len({frame.tobytes() for frame in frames}) == 5
    assert not np.array_equal(frames, finished.interpolate(model, keys, 5, "lerp"))


def test_an_autoencoder_interpolates_between_images(registry: Registry) -> None:
    model = registry.get("tiny-ae")
    keys = finished.encode(model, grey(0, 255)).mean
    frames = finished.interpolate(model, keys, 3, "lerp")
    np.testing.assert_array_equal(frames[1], finished.decode(model, keys.mean(0, keepdims=True))[0])


# Numbers worked out by hand.


def test_reconstruction_errors_by_hand(make: Make) -> None:
    # All pixels are decoded as sigmoid(0) = 0.5: white is off by 0.5, 51/255 = 0.2 by 0.3.
    anomaly = {"statistic": "mse", "split": "test", "quantiles": FLAT_QUANTILES}
    model = vae(make, ZERO, ONE, ZERO, anomaly=anomaly)
    got = finished.reconstruct(model, grey(255, 51))
    assert np.unique(got.images).tolist() == [128]
    np.testing.assert_array_equal(got.mean, [ONE, ONE])
    np.testing.assert_allclose(got.mse, [0.25, 0.09], rtol=1e-6)
    assert got.psnr == pytest.approx((6.0206, 10.4576), abs=1e-4)  # -10 log10 of 1/4 and of 9/100
    # Percentile i of the statistic is i / 200.
    assert got.anomaly_percentile is not None
    np.testing.assert_allclose(got.anomaly_percentile, [50, 18], rtol=1e-6)


def test_a_perfect_reconstruction_has_no_psnr(make: Make) -> None:
    model = make({"generate": flat(ZERO, bias=100), "encode": constant_encode(ONE, ZERO)})
    got = finished.reconstruct(model, grey(255))
    assert got.mse.tolist() == [0]
    assert got.psnr == (None,)
    assert got.anomaly_percentile is None
    assert got.elbo_nats is None  # the model has no likelihood


def test_an_elbo_with_a_decoder_that_looks_away_by_hand(make: Make) -> None:
    # log p(x|z) = 64 log 0.5 for any x; KL(N(1, I) || N(0, I)) = 4 / 2.
    quantiles = [float(i) for i in range(101)]
    anomaly = {"statistic": "negative_elbo_nats", "split": "test", "quantiles": quantiles}
    model = vae(make, ZERO, ONE, ZERO, anomaly=anomaly)
    got = finished.score(model, grey(0, 200))
    assert isinstance(got, ElboScore)
    expected = -PIXELS * math.log(2) - 2
    np.testing.assert_allclose(got.elbo_nats, [expected, expected], rtol=1e-7)
    np.testing.assert_allclose(got.bits_per_dim, [1 + 2 / (PIXELS * math.log(2))] * 2, rtol=1e-7)
    assert got.anomaly_percentile is not None
    np.testing.assert_allclose(got.anomaly_percentile, [-expected] * 2, rtol=1e-7)


def test_the_kl_counts_variance(make: Make) -> None:
    # 0.5 (4 + 0 - 1 - log 4) for each of the four latents of N(0, 4 I).
    model = vae(make, ZERO, ZERO, [math.log(4)] * DIM)
    got = finished.score(model, grey(9))
    assert isinstance(got, ElboScore)
    expected = -PIXELS * math.log(2) - 4 * 0.5 * (3 - math.log(4))
    np.testing.assert_allclose(got.elbo_nats, [expected], rtol=1e-6)


def test_an_elbo_is_of_the_learned_prior(make: Make) -> None:
    # q(z|x) = N(0, 4 I), p(z) = N(1, I), and a decoder that looks away: each draw z = 2 eps by itself.
    graphs = {"generate": flat(ZERO), "encode": constant_encode(ZERO, [math.log(4)] * DIM), **shifted_prior()}
    learned = {"dim": DIM, "prior": "learned"}
    model = make(graphs, latent=learned, likelihood={"kind": "bernoulli"})
    eps = latents.from_seeds(range(8), DIM).astype(np.float64)
    log_ratios = 0.5 * (np.square(eps) + math.log(4) - np.square(2 * eps - 1)).sum(1)
    got = finished.score(model, grey(9, 90), k=3)
    assert isinstance(got, ElboScore)
    np.testing.assert_allclose(got.elbo_nats, [log_ratios.mean() - PIXELS * math.log(2)] * 2, rtol=1e-6)
    assert got.iw_nats is not None
    bound = math.log(np.exp(log_ratios[:3]).mean()) - PIXELS * math.log(2)
    np.testing.assert_allclose(got.iw_nats, [bound] * 2, rtol=1e-6)


def test_a_learned_prior_is_the_only_one(make: Make) -> None:
    graphs = {"generate": flat(ZERO), "encode": constant_encode(ONE, ZERO), **shifted_prior()}
    model = make(graphs, latent={"dim": DIM, "prior": "learned"})
    assert finished.draw(model, [3]).tolist() == (latents.from_seeds([3], DIM) + 1).tolist()
    for draw in (finished.draw, finished.sample):
        with pytest.raises(BadRequest, match="must be 'fitted' or left out: made/1 was trained with a prior"):
            draw(model, [3], prior="normal")


def test_a_gaussian_elbo_by_hand(make: Make) -> None:
    # Black is one stddev of 0.5 from 0.5, and white too; 256 grey levels cost 8 bits a pixel.
    model = vae(make, ZERO, ZERO, ZERO, likelihood={"kind": "gaussian", "stddev": 0.5})
    got = finished.score(model, grey(0, 255))
    assert isinstance(got, ElboScore)
    nats = -0.5 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(got.elbo_nats, [PIXELS * nats] * 2, rtol=1e-6)
    np.testing.assert_allclose(got.bits_per_dim, [-nats / math.log(2) + 8] * 2, rtol=1e-6)


def test_an_elbo_averages_over_reparameterised_draws(make: Make) -> None:
    # Every pixel is sigmoid(z0), and z0 = 0.5 + e^(0.5 log 0.25) eps0 = 0.5 + 0.5 eps0.
    model = vae(make, [1, 0, 0, 0], [0.5, 0, 0, 0], [math.log(0.25), 0, 0, 0])
    x = 51 / 255
    total = 0.0
    for eps in latents.from_seeds(range(8), DIM)[:, 0].tolist():
        p = 1 / (1 + math.exp(-(0.5 + 0.5 * eps)))
        total += PIXELS * (x * math.log(p) + (1 - x) * math.log(1 - p)) / 8
    kl = 0.5 * (0.25 + 0.25 - 1 - math.log(0.25))
    got = finished.score(model, grey(51))
    assert isinstance(got, ElboScore)
    np.testing.assert_allclose(got.elbo_nats, [total - kl], rtol=1e-6)
    # A reconstruction tells the same, if it is asked to.
    assert finished.reconstruct(model, grey(51)).elbo_nats == got.elbo_nats
    assert finished.reconstruct(model, grey(51), samples=2).elbo_nats != got.elbo_nats
    assert finished.reconstruct(model, grey(51), samples=0).elbo_nats is None


def test_a_certain_bernoulli_pixel_costs_no_more_than_its_margin(make: Make) -> None:
    model = make(
        {"generate": flat(ZERO, bias=100), "encode": constant_encode(ZERO, ZERO)},
        likelihood={"kind": "bernoulli"},
    )
    got = finished.score(model, grey(0, 255))
    assert isinstance(got, ElboScore)
    np.testing.assert_allclose(got.elbo_nats, [PIXELS * math.log(1e-6), -PIXELS * 1e-6], rtol=1e-5)


def test_a_percentile_stays_between_0_and_100(make: Make) -> None:
    anomaly = {"statistic": "mse", "split": "test", "quantiles": [0.09 + i / 1000 for i in range(101)]}
    got = finished.reconstruct(vae(make, ZERO, ZERO, ZERO, anomaly=anomaly), grey(255, 128, 51))
    assert got.anomaly_percentile is not None
    np.testing.assert_allclose(got.anomaly_percentile, [100, 0, 0], atol=1e-3)


def test_a_percentile_of_the_elbo_needs_the_elbo(registry: Registry) -> None:
    model = registry.get("tiny-vae")
    assert finished.reconstruct(model, grey(0)).anomaly_percentile is not None
    assert finished.reconstruct(model, grey(0), samples=0).anomaly_percentile is None


@pytest.mark.parametrize(
    ("calibration", "logit", "log_ratio"),
    [
        ([(0, -0.5), (1, 1.5)], 0.25, 0.0),
        ([(0, -0.5), (1, 1.5)], 1.0, 1.5),
        ([(0, 1.0), (2, 2.0)], -4.0, -1.0),
        ([(-1, -3), (0, 0), (2, 1)], -2.0, -6.0),
        ([(-1, -3), (0, 0), (2, 1)], -0.5, -1.5),
        ([(-1, -3), (0, 0), (2, 1)], 0.0, 0.0),
        ([(-1, -3), (0, 0), (2, 1)], 6.0, 3.0),
        (None, -1.25, -1.25),
        (None, 1e6, 700.0),
        (None, -1e6, -700.0),
    ],
)
def test_a_discriminator_score_by_hand(
    make: Make, calibration: list[tuple[float, float]] | None, logit: float, log_ratio: float
) -> None:
    score = None if calibration is None else {"loss": "hinge", "calibrated_on": "test", "knots": calibration}
    model = make({"discriminate": constant_logit(logit)}, score=score, latent=None)
    got = finished.score(model, grey(1, 2))
    assert isinstance(got, DiscriminatorScore)
    assert got.logit.tolist() == [logit, logit]
    np.testing.assert_allclose(got.probability, [1 / (1 + math.exp(-log_ratio))] * 2, rtol=1e-12)
    np.testing.assert_allclose(got.density_ratio, [math.exp(log_ratio)] * 2, rtol=1e-12)


def test_a_model_without_latents_offers_its_score_alone(make: Make) -> None:
    model = make({"discriminate": constant_logit(0)}, latent=None)
    assert offers.offered(model) == ("score",)
    with pytest.raises(NotFound, match=r"made/1 cannot decode; it offers score"):
        finished.decode(model, np.zeros((1, DIM), np.float32))
