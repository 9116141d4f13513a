"""Evaluation and export of real, if small, models."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image

from service.manifest import read_bundle
from tests.training.processes import no_file_longer_than
from tests.training.recipes import MINI, mini, small
from training import card as card_module
from training import class_correction
from training.__main__ import main
from training.checkpoint import read_tensors
from training.class_correction import ClassCorrection
from training.config import Config
from training.errors import CheckpointError, EvaluationError
from training.evaluate import evaluate_folder
from training.half import LEAST
from training.loop import train
from training.reliability import KINDS, reliability_png
from training.report import Report
from training.run_dir import RunDir, Session, device_name
from training.trained import load_trained, resolve

CPU = torch.device("cpu")
FAMILIES = ("ae", "vae", "gan", "classifier")


def finished(config: Config, folder: Path) -> RunDir:
    run = RunDir(folder)
    run.create(config)
    run.begin_session(mini(), CPU, 1)
    train(config, mini(), run, Fabric(accelerator="cpu", devices=1), minutes=None, resume=False)
    return run


@pytest.fixture(scope="module", autouse=True)
def _few_samples() -> Iterator[None]:
    """The protocols' names with fewer numbers behind them: seconds instead of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.samples.SAMPLES", 1000)
        patch.setattr("training.evaluation.likelihood.IW_DRAWS", 50)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """A run of each family, evaluated."""
    root = tmp_path_factory.mktemp("runs")
    found = {family: finished(small(family), root / family) for family in FAMILIES}
    # As a run has that was evaluated before; see test_class_correction for the fit.
    by_hand = ClassCorrection(torch.ones(10, 16).cumsum(0), torch.zeros(10), torch.linspace(-1, 1, 10))
    class_correction.write(found["gan"].path, by_hand, images_seen=256)
    for family, run in found.items():
        classifier = [] if family == "classifier" else ["--classifier", str(found["classifier"].path)]
        assert main(["evaluate", str(run.path), "--data", str(MINI), "--device", "cpu", *classifier]) == 0
    return found


def report(run: RunDir) -> Report:
    return Report.from_json(run.metrics.read_text())


SAMPLES = {
    "fd10k",
    "kid10k",
    "precision",
    "recall",
    "density",
    "coverage",
    "laplacian_variance",
    "high_frequency_power",
}
FITTED = {f"{name}_fitted_prior" for name in SAMPLES}
COPIES = {"nearest_train10k", "nearest_train10k_test", "copies10k"}
FLOORS = {"fd10k_train", "kid10k_train", "is10k_test"}
BOUNDS = {
    "elbo_nats",
    "log_likelihood_nats",
    "kl_nats",
    "active_units",
    "mutual_information_nats",
    "marginal_kl_nats",
    "iw50_nats",
    "iw50_nats_standard_error",
    "iw50_bits_per_dim",
    "iw50_gap_nats",
    "iw50_gap_nats_standard_error",
    "iw50_all_nats",
}
SCORE = {
    f"score_{name}"
    for name in (
        "auroc",
        "ece_raw",
        "ece_temperature",
        "ece_platt",
        "ece",
        "ece_floor",
    )
} | {"kept_fraction", "fd10k_kept"}


def test_each_family_is_measured_by_what_it_does(runs: dict[str, RunDir]) -> None:
    names = {
        family: {name for name in report(run).values() if not name.startswith("class_fraction_")}
        for family, run in runs.items()
    }
    sampled = SAMPLES | FLOORS | COPIES | {"is10k", "modes10k", "class_reverse_kl_nats"}
    assert names["ae"] == {"mse", "psnr_db"} | sampled | FITTED
    assert names["vae"] == {"mse", "psnr_db", "ppl10k"} | BOUNDS | sampled | FITTED
    assert names["gan"] == {"ppl10k"} | sampled | SCORE
    assert names["classifier"] == {"accuracy"}


def test_values_agree_with_each_other(runs: dict[str, RunDir]) -> None:
    gan = report(runs["gan"]).values()
    assert sum(value for name, value in gan.items() if name[15:].isdigit()) == pytest.approx(1)
    assert gan["fd10k"] > gan["fd10k_train"] > 0
    assert gan["kid10k"] > gan["kid10k_train"]
    assert 1 <= gan["is10k"] <= 10
    assert gan["modes10k"] == sum(value > 0 for name, value in gan.items() if name[15:].isdigit())
    assert gan["class_reverse_kl_nats"] >= 0
    vae = report(runs["vae"]).values()
    assert vae["elbo_nats"] == pytest.approx(vae["log_likelihood_nats"] - vae["kl_nats"], abs=1e-6)
    parts = vae["mutual_information_nats"] + vae["marginal_kl_nats"]
    assert parts == pytest.approx(vae["kl_nats"], rel=1e-6)
    assert -0.01 < vae["mutual_information_nats"] <= math.log(200) + 1e-6
    assert vae["iw50_gap_nats"] > 0
    assert vae["iw50_all_nats"] == pytest.approx(vae["elbo_nats"] + vae["iw50_gap_nats"])
    assert vae["iw50_bits_per_dim"] == pytest.approx(-vae["iw50_nats"] / (784 * math.log(2)))


def test_an_autoencoder_is_sampled_from_its_fitted_prior_and_from_none(runs: dict[str, RunDir]) -> None:
    found = report(runs["ae"])
    protocols = {result.name: result.protocol for result in found.results}
    assert "an autoencoder has no prior" in protocols["fd10k"]
    assert "generate(prior(eps))" in protocols["fd10k_fitted_prior"]
    values = found.values()
    assert values["fd10k_fitted_prior"] != values["fd10k"]


def test_the_curves_are_those_of_the_calibration_errors(runs: dict[str, RunDir]) -> None:
    found = report(runs["gan"])
    assert found.calibration is not None
    for kind, (_, name, _) in KINDS.items():
        curve = found.calibration.curves[kind]
        gaps = np.abs(np.subtract(curve.probability, curve.frequency))
        assert gaps @ curve.count / np.sum(curve.count) == pytest.approx(found.values()[name], abs=1e-6)
    assert report(runs["vae"]).calibration is None


def test_the_reliability_plot_is_made_of_the_report(runs: dict[str, RunDir]) -> None:
    found = report(runs["gan"])
    assert found.calibration is not None
    png = reliability_png(found)
    assert png is not None
    assert Image.open(io.BytesIO(png)).size[0] > 400
    assert reliability_png(found) == png
    raw = found.calibration.curves["raw"]
    moved = replace(raw, frequency=tuple(1 - value for value in raw.frequency))
    calibration = replace(found.calibration, curves={**found.calibration.curves, "raw": moved})
    assert reliability_png(replace(found, calibration=calibration)) != png
    assert reliability_png(report(runs["vae"])) is None


def test_a_report_is_read_as_it_was_written(runs: dict[str, RunDir]) -> None:
    for run in runs.values():
        assert Report.from_json(report(run).to_json()) == report(run)
    written = json.loads(report(runs["gan"]).to_json())
    before = {key: value for key, value in written.items() if key != "calibration"}
    assert Report.from_json(json.dumps(before)).calibration is None, "as version 1 of a bundle has it"
    for foreign in (
        {**written, "calibration": {"curves": {}}},
        {**written, "calibration": {**written["calibration"], "curves": {"raw": [1]}}},
        {**written, "calibration": [1]},
        {**written, "more": 1},
        [written],
    ):
        with pytest.raises(EvaluationError, match=r"metrics.json is not understood"):
            Report.from_json(json.dumps(foreign))


def test_a_metric_that_the_record_never_had_is_no_difference(runs: dict[str, RunDir]) -> None:
    now = report(runs["gan"])
    older = replace(now, results=tuple(r for r in now.results if r.name != "kid10k"))
    assert now.differences(older) == []
    assert older.differences(now)[0].startswith("kid10k: nan here")


def test_results_name_the_classifier_by_digest_and_their_protocol(runs: dict[str, RunDir]) -> None:
    found = report(runs["gan"])
    assert found.classifier == "small-classifier"
    assert len(found.classifier_sha256 or "") == 64
    assert all(result.protocol and result.n and result.seconds >= 0 for result in found.results)
    assert report(runs["classifier"]).classifier is None


def test_evaluating_again_gives_the_same_numbers(runs: dict[str, RunDir]) -> None:
    again = evaluate_folder(runs["gan"].path, MINI, CPU, runs["classifier"].path)
    assert again.values() == pytest.approx(report(runs["gan"]).values(), rel=1e-6)


def test_sample_metrics_without_a_classifier_say_how_to_get_one(
    runs: dict[str, RunDir],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(runs["vae"].path), "--data", str(MINI), "--device", "cpu"]) == 2
    assert "train and export it first, or give --classifier FOLDER" in capsys.readouterr().err


def test_an_unknown_model_lists_where_it_was_looked_for() -> None:
    with pytest.raises(CheckpointError, match=r"no trained model 'nothing'.*models/nothing.*runs/nothing"):
        resolve("nothing")


@pytest.fixture(scope="module")
def bundles(runs: dict[str, RunDir], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    models = tmp_path_factory.mktemp("models")
    for run in runs.values():
        assert main(["export", str(run.path), "--data", str(MINI), "--models", str(models)]) == 0
    return {family: models / f"small-{family}" / "1" for family in runs}


def test_a_bundle_holds_what_its_family_offers(bundles: dict[str, Path]) -> None:
    manifests = {family: read_bundle(folder) for family, folder in bundles.items()}
    assert {family: set(manifest.operations) for family, manifest in manifests.items()} == {
        "ae": {"encode", "generate", "prior"},
        "vae": {"encode", "generate", "prior"},
        "gan": {"generate", "discriminate"},
        "classifier": {"encode"},
    }
    latents = {family: manifest.latent for family, manifest in manifests.items()}
    assert {family: latent and latent.prior for family, latent in latents.items()} == {
        "ae": None,
        "vae": "standard_normal",
        "gan": "standard_normal",
        "classifier": None,
    }
    assert [len(m.operations["encode"].outputs) for f, m in manifests.items() if f != "gan"] == [1, 2, 1]
    assert manifests["gan"].score is not None
    assert manifests["vae"].anomaly is not None
    assert manifests["vae"].likelihood is not None
    assert manifests["ae"].anomaly is not None
    assert manifests["ae"].anomaly.statistic == "mse"


def test_a_bundles_weights_are_the_averages_that_were_evaluated(
    bundles: dict[str, Path], runs: dict[str, RunDir]
) -> None:
    test = mini("test")
    for family, folder in bundles.items():
        published, trained = load_trained(folder, test), load_trained(runs[family].path, test)
        for name, network in trained.networks.items():
            for key, tensor in network.state_dict().items():
                assert torch.equal(published.networks[name].state_dict()[key], tensor), (family, name, key)
        stored, _ = read_tensors(folder / "checkpoint.safetensors")
        large = [
            tensor for key, tensor in stored.items() if key.endswith("weight") and tensor.numel() >= LEAST
        ]
        assert large
        assert all(tensor.dtype == torch.float16 for tensor in large), family


def test_the_served_graphs_are_the_evaluated_networks(bundles: dict[str, Path]) -> None:
    trained = load_trained(bundles["gan"], mini("test"))
    discriminate = trained.operations(mini(), CPU)["discriminate"]
    images = torch.from_numpy(mini("test").images[:20]).float() / 255
    session = onnxruntime.InferenceSession(str(bundles["gan"] / "discriminate.onnx"))
    (served,) = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(served, discriminate(images).numpy(), atol=1e-4)
        plain = replace(trained, correction=None).operations(mini(), CPU)["discriminate"](images).numpy()
    assert 0.01 < np.abs(served - plain).max() <= 1, "the correction is within its offsets"
    alone = np.concatenate([session.run(None, {"image": images[i : i + 1].numpy()})[0] for i in range(20)])
    np.testing.assert_array_equal(served, alone)


def test_golden_outputs_are_those_of_the_graphs(bundles: dict[str, Path]) -> None:
    with np.load(bundles["vae"] / "golden.npz") as golden:
        assert set(golden.files) == {
            "generate.z",
            "generate.image",
            "encode.image",
            "encode.mean",
            "encode.logvar",
            "prior.eps",
            "prior.z",
        }
        session = onnxruntime.InferenceSession(str(bundles["vae"] / "generate.onnx"))
        (image,) = session.run(None, {"z": golden["generate.z"]})
        np.testing.assert_allclose(image, golden["generate.image"], atol=1e-6)


def test_the_card_tells_data_hardware_metrics_and_how_to_make_it_again(
    bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(bundles["gan"])]) == 0
    card = capsys.readouterr().out
    value = json.loads((bundles["gan"] / "manifest.json").read_text())["metrics"]["fd10k"]
    for text in (
        "# small-gan",
        "Licence of the data: unknown",
        "images seen | 256",
        f"core hours at ${card_module.CORE_HOUR_USD:.2f}",
        f"{value:.5g}",
        "Its recipe is not in this repository",
        "![reliability](reliability.png)",
        "as `small-classifier` sees them",
        "![samples and their nearest training images](neighbours.png)",
        "those eight of all 1,000",
        f"| on one core of {device_name(CPU)} | one alone, ms |",
        "| `discriminate` |",
    ):
        assert text in card


def test_the_cost_is_of_all_devices_or_of_all_cores() -> None:
    session = Session("a device", devices=2, threads=8, torch="", python="", commit="", gpu=True)
    assert card_module.cost([session, session], 1_800) == "$3.00: 1.00 GPU hours at $3.00"
    assert card_module.cost([replace(session, gpu=False)], 1_800) == "$0.40: 8.00 core hours at $0.05"
    for other in (replace(session, gpu=False), replace(session, devices=1), replace(session, gpu=None)):
        assert card_module.cost([session, other], 1_800).startswith("unknown")
    assert card_module.cost([replace(session, gpu=None)], 1_800).startswith("unknown")


def test_a_second_export_is_the_next_version_and_never_overwrites(
    bundles: dict[str, Path], runs: dict[str, RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    models = bundles["ae"].parents[1]
    arguments = ["export", str(runs["ae"].path), "--data", str(MINI), "--models", str(models)]
    assert main([*arguments, "--version", "1"]) == 2
    assert "a published version never changes" in capsys.readouterr().err
    assert main(arguments) == 0
    assert read_bundle(models / "small-ae" / "2").version == 2


def test_an_export_for_which_there_is_no_room_leaves_nothing(
    runs: dict[str, RunDir], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    arguments = ["export", str(runs["ae"].path), "--data", str(MINI), "--models", str(models)]
    with no_file_longer_than(4_000):
        assert main(arguments) == 2
    assert (
        f"error: {models}/small-ae/1: cannot be written (File too large); free space"
        in capsys.readouterr().err
    )
    assert not list((models / "small-ae").iterdir())


def test_export_asks_for_an_evaluation_first(
    runs: dict[str, RunDir], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "checkpoint.safetensors", "provenance.json"):
        (tmp_path / name).write_bytes((runs["ae"].path / name).read_bytes())
    assert main(["export", str(tmp_path), "--data", str(MINI)]) == 2
    assert "run `python -m training evaluate" in capsys.readouterr().err


def test_export_refuses_metrics_of_other_weights(
    runs: dict[str, RunDir], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in runs["ae"].path.glob("*.*"):
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    (tmp_path / "metrics.json").write_text(json.dumps({**metrics, "images_seen": 128}))
    assert main(["export", str(tmp_path), "--data", str(MINI), "--models", str(tmp_path)]) == 2
    assert "is of other weights: evaluate" in capsys.readouterr().err


def test_a_bundle_that_does_not_reproduce_its_record_fails(
    bundles: dict[str, Path], runs: dict[str, RunDir], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = ["--classifier", str(runs["classifier"].path)]
    arguments = ["--data", str(MINI), "--device", "cpu", *classifier]
    assert main(["evaluate", str(bundles["ae"]), *arguments]) == 0
    for path in bundles["ae"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    recorded = report(runs["ae"])
    changed = [replace(r, value=r.value * 1.5) if r.name == "psnr_db" else r for r in recorded.results]
    (tmp_path / "metrics.json").write_text(replace(recorded, results=tuple(changed)).to_json())
    assert main(["evaluate", str(tmp_path), *arguments]) == 2
    assert "does not reproduce its record: psnr_db: " in capsys.readouterr().err


def test_a_bundle_tells_the_data_it_was_trained_on(bundles: dict[str, Path]) -> None:
    dataset = read_bundle(bundles["vae"]).dataset
    assert (dataset.name, dataset.licence) == ("mnist", "unknown"), "the first images alone are not MNIST"
    assert dataset.source == "local files: mnist-mini"
