"""Models that are conditional on the class: trained, measured, exported, and sampled as the service does it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from service import operations
from service.registry import load_model
from service.steps import finish
from tests.training.recipes import MINI, mini, small
from training.__main__ import main
from training.checkpoint import read_tensors, write_tensors
from training.datasets import spread
from training.errors import ConfigError
from training.evaluate import elbo_terms
from training.evaluation.likelihood import IW_IMAGES, importance_weighted
from training.families import build, latent_dim
from training.families.vae import VAEConfig, VAENetwork
from training.loop import train
from training.networks import Discriminator, ServedDiscriminator, classes_in_turn
from training.report import Report
from training.run_dir import RunDir
from training.trained import load_trained

CPU = torch.device("cpu")


FAMILIES = ("gan", "vae")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """Trained and evaluated."""
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for name, config in {
        "classifier": small("classifier"),
        "gan": small("gan", {"conditional": True, "latent_scale": 0.5}),
        "vae": small("vae", {"conditional": True}),
    }.items():
        found[name] = RunDir(root / name)
        found[name].create(config)
        found[name].begin_session(mini(), CPU, 1)
        train(config, mini(), found[name], Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    # A second of training hardly teaches what a class looks like: it is made to matter.
    tensors, metadata = read_tensors(found["vae"].checkpoint)
    tensors["average.vae.decoder.by_class.weight"] *= 30
    write_tensors(found["vae"].checkpoint, tensors, metadata)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.samples.SAMPLES", 1000)
        patch.setattr("training.evaluation.likelihood.IW_DRAWS", 50)
        for name, run in found.items():
            more = ["--classifier", str(found["classifier"].path)] if name in FAMILIES else []
            assert main(["evaluate", str(run.path), "--data", str(MINI), "--device", "cpu", *more]) == 0
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_generator_draws_what_it_is_told(family: str, runs: dict[str, RunDir]) -> None:
    trained = load_trained(runs[family].path, mini("test"))
    generate = trained.operations(mini(), CPU)["generate"]
    dim = latent_dim(trained.config.model)
    z = torch.randn(1, dim, generator=torch.Generator().manual_seed(0)).expand(10, -1)
    with torch.no_grad():
        drawn = generate(z, torch.arange(10))
        in_turn = trained.of_latents(generate)(z)
    assert torch.equal(drawn, in_turn)
    assert all(not torch.equal(drawn[0], drawn[i]) for i in range(1, 10))


def test_a_score_is_that_of_all_classes_together() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator((1, 12, 12), (4, 4, 8), 16, "none", 1, 1, normalise=False, classes=3).eval()
    images = torch.rand(5, 1, 12, 12)
    with torch.no_grad():
        of_each = torch.stack([discriminator(images, torch.full((5,), c)) for c in range(3)], 1)
        served = ServedDiscriminator(discriminator, images)(images)
    assert not torch.allclose(of_each[:, 0], of_each[:, 1])
    torch.testing.assert_close(served, of_each.exp().mean(1).log())


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_measured_how_many_samples_are_what_they_were_to_be(
    family: str, runs: dict[str, RunDir]
) -> None:
    report = Report.from_json(runs[family].metrics.read_text())
    results = {result.name: result for result in report.results}
    names = ["label_agreement10k", *(["label_agreement10k_fitted_prior"] if family == "vae" else [])]
    assert [name for name in results if name.startswith("label_agreement")] == names
    for name in names:
        assert 0 <= results[name].value <= 1
        assert results[name].n == 1000
        assert "in turn" in results[name].protocol


def test_the_bounds_of_a_vae_are_of_images_given_their_class(runs: dict[str, RunDir]) -> None:
    test = mini("test")
    trained = load_trained(runs["vae"].path, test)
    operations, images = trained.operations(mini(), CPU), torch.from_numpy(test.images)
    assert test.labels is not None
    given, kl, _ = elbo_terms(trained, operations, images, CPU, labels=test.labels)
    other, same_kl, _ = elbo_terms(trained, operations, images, CPU, labels=(test.labels + 1) % 10)
    assert torch.equal(kl, same_kl)
    assert not torch.allclose(given, other)
    results = {r.name: r for r in Report.from_json(runs["vae"].metrics.read_text()).results}
    assert results["elbo_nats"].value == pytest.approx(float((given - kl).mean()))
    assert "given its class" in results["elbo_nats"].protocol
    assert "log p(x|y)" in results["iw50_nats"].protocol


def test_the_importance_weighted_bound_is_of_the_same_classes(
    runs: dict[str, RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less its gap it is the ELBO of its own draws: near that of others, and not near that of other classes."""
    monkeypatch.setattr("training.evaluation.likelihood.IW_DRAWS", 50)
    test = mini("test")
    trained = load_trained(runs["vae"].path, test)
    operations, labels = trained.operations(mini(), CPU), test.labels
    assert labels is not None
    found = {r.name: r.value for r in importance_weighted(trained, operations, test, 0.0, CPU)}
    images, of = torch.from_numpy(spread(test.images, IW_IMAGES)), spread(labels, IW_IMAGES)

    def elbo_nats(classes: np.ndarray) -> float:
        likelihood, kl, _ = elbo_terms(trained, operations, images, CPU, labels=classes)
        return float((likelihood - kl).mean())

    right, wrong = elbo_nats(of), elbo_nats((of + 1) % 10)
    own = found["iw50_nats"] - found["iw50_gap_nats"]
    assert abs(right - wrong) > 2
    assert own == pytest.approx(right, abs=0.5)


def test_each_of_several_draws_is_decoded_as_its_image_is_labelled() -> None:
    torch.manual_seed(0)
    model = small("vae", {"conditional": True, "importance_samples": 3}).model
    assert isinstance(model, VAEConfig)
    network = VAENetwork(model, (1, 28, 28), 10).eval()
    labels = torch.tensor([3, 1, 4, 1])
    with torch.no_grad():
        drawn = network(torch.rand(4, 1, 28, 28), labels)
        for k, z in enumerate(drawn.z):
            torch.testing.assert_close(drawn.logits[4 * k : 4 * k + 4], network.decoder(z, labels))


def test_a_served_vae_scores_images_of_a_class(runs: dict[str, RunDir], tmp_path: Path) -> None:
    command = ["export", str(runs["vae"].path), "--data", str(MINI), "--models", str(tmp_path)]
    assert main(command) == 0
    model, test = load_model(tmp_path / "small-vae" / "1", threads=1), mini("test")
    assert test.labels is not None
    images, labels = test.images[:20], test.labels[:20]
    trained = load_trained(runs["vae"].path, test)
    likelihood, kl, _ = elbo_terms(
        trained, trained.operations(mini(), CPU), torch.from_numpy(images), CPU, labels=labels
    )
    served = finish(operations.score(model, images.transpose(0, 2, 3, 1), labels.tolist()))
    assert isinstance(served, operations.ElboScore)
    right = float((likelihood - kl).mean())
    assert served.elbo_nats.mean() == pytest.approx(right, abs=0.5)
    others = finish(operations.score(model, images.transpose(0, 2, 3, 1), ((labels + 1) % 10).tolist()))
    assert isinstance(others, operations.ElboScore)
    assert abs(others.elbo_nats.mean() - right) > 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundle_of_it_is_served_by_label(family: str, runs: dict[str, RunDir], tmp_path: Path) -> None:
    command = ["export", str(runs[family].path), "--data", str(MINI), "--models", str(tmp_path)]
    assert main(command) == 0
    folder = tmp_path / f"small-{family}" / "1"
    model = load_model(folder, threads=1)  # checks its golden outputs, too
    assert len(model.manifest.class_names or ()) == 10
    labels = [3, 3, 7]
    images = finish(operations.sample(model, range(3), None, labels)).images
    assert images.shape == (3, 28, 28, 1)
    alone = finish(operations.sample(model, range(2, 3), None, [7])).images
    np.testing.assert_array_equal(alone[0], images[2])
    other = finish(operations.sample(model, range(2, 3), None, [3])).images
    assert not np.array_equal(other[0], images[2])


def test_images_are_drawn_of_scaled_latents(runs: dict[str, RunDir], tmp_path: Path) -> None:
    """By what is measured, and by what is served."""
    trained = load_trained(runs["gan"].path, mini("test"))
    generate, generator = trained.operations(mini(), CPU)["generate"], trained.networks["generator"]
    z, labels = torch.randn(10, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10)
    with torch.no_grad():
        drawn, scaled, plain = generate(z, labels), generator(0.5 * z, labels), generator(z, labels)
    assert torch.equal(drawn, scaled)
    assert not torch.equal(drawn, plain)
    assert main(["export", str(runs["gan"].path), "--data", str(MINI), "--models", str(tmp_path)]) == 0
    folder = tmp_path / "small-gan" / "1"
    assert "Latents are multiplied by 0.5 in the graph" in (folder / "card.md").read_text()
    (served,) = (
        load_model(folder, threads=1).graph("generate").compute({"z": z.numpy(), "label": labels.numpy()})
    )
    np.testing.assert_allclose(served, drawn, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_latents_that_are_all_one_are_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="latent_scale"):
        small("gan", {"latent_scale": scale})


def test_classes_are_drawn_in_turn() -> None:
    labels = classes_in_turn(250, 10)
    assert labels[:12].tolist() == [*range(10), 1, 2]
    assert labels.bincount().tolist() == [25] * 10
    for half in (labels[::2], labels[1::2]):  # samples are halved so
        assert set(half.bincount().tolist()) == {12, 13}


@pytest.mark.parametrize("family", FAMILIES)
def test_without_classes_it_is_refused(family: str) -> None:
    config = small(family, {"conditional": True}).model
    with pytest.raises(ConfigError, match="two classes or more"):
        build(config, (1, 8, 8), classes=0)
    with pytest.raises(ConfigError, match="1,000 classes; at most 50"):
        build(config, (1, 8, 8), classes=1000)
