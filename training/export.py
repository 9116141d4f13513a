"""A trained model as a bundle that the service reads."""

import io
import platform
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch
from numpy.typing import NDArray
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from service.manifest import Anomaly, Dataset, Image, Latent, Likelihood, Operation, Score, write_bundle
from service.manifest import Tensor as TensorSpec
from service.manifest import versions as bundle_versions
from training import class_correction, priors
from training.card import card
from training.config import Config
from training.datasets import Dataset as TrainingData
from training.datasets import load, spread
from training.errors import ExportError
from training.evaluate import elbo_terms, stddev
from training.evaluation import samples
from training.evaluation.copies import neighbours
from training.families import latent_dim
from training.families.ae import AEConfig
from training.families.gan import GANConfig
from training.families.vae import VAEConfig
from training.feature_space import batches
from training.files import writing
from training.metrics.elbo import mse
from training.onnx_graph import OPSET, Graph, export_graph, open_session
from training.pictures import sheet_png
from training.reliability import reliability_png
from training.report import Report
from training.run_dir import Provenance, RunDir, device_name
from training.run_time import run_time
from training.trained import MODELS, Trained, load_trained, published_tensors

GOLDEN_IMAGES = 8
ANOMALY_IMAGES = 10_000
CPU = torch.device("cpu")
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


def export(run: RunDir, data: Path | None, models: Path = MODELS, version: int | None = None) -> Path:
    """Write `models/<name>/<version>/` (default: the next version) from an evaluated run.

    Raises:
        ExportError: the run was not evaluated, a graph is not the network, or the version exists.
        WriteError: the disk is full; nothing is left of the version then.
    """
    if not run.metrics.exists():
        raise ExportError(f"{run.metrics} is missing: run `python -m training evaluate {run.path}` first")
    report = Report.from_json(run.metrics.read_text())
    provenance = Provenance.read(run.provenance)
    train, test = load(provenance.data.name, "train", data), load(provenance.data.name, "test", data)
    if train.digest != provenance.data.sha256:
        raise ExportError(f"{run.path} was trained on other data: give the --data that it was trained on")
    trained = load_trained(run.path, test)
    if report.images_seen != trained.state.images_seen:
        raise ExportError(f"{run.metrics} is of other weights: evaluate {run.path} again")
    operations = trained.operations(train, CPU)
    inputs = _golden_inputs(trained, operations, test)
    graphs = {name: _export_operation(name, module, inputs[name]) for name, module in operations.items()}
    fields = _manifest_fields(trained, report, provenance, graphs, train, operations)
    folder = models / trained.config.name
    fields["version"] = version or (max(bundle_versions(folder), default=0) + 1 if folder.exists() else 1)
    files = {f"{name}.onnx": graph.onnx for name, graph in graphs.items()}
    tensors, metadata = published_tensors(trained)
    times = {name: run_time(graph, _arrays(inputs[name])) for name, graph in graphs.items()}
    differences = {name: graph.difference for name, graph in graphs.items()}
    files |= {
        "checkpoint.safetensors": safetensors_bytes(tensors, metadata),
        "config.json": run.config.read_bytes(),
        "metrics.json": run.metrics.read_bytes(),
        "golden.npz": _golden(graphs, inputs),
        "card.md": card(trained, report, provenance, differences, times, device_name(CPU)).encode(),
        **_pictures(trained, report, operations, inputs, train),
    }
    if trained.prior is not None:
        files[priors.FILE] = (run.path / priors.FILE).read_bytes()
    if trained.correction is not None:
        files[class_correction.FILE] = (run.path / class_correction.FILE).read_bytes()
    with writing(folder / str(fields["version"])):
        try:
            return write_bundle(models, fields, files)
        except FileExistsError as error:
            raise ExportError(str(error)) from error


@torch.no_grad()
def _golden_inputs(
    trained: Trained, operations: Mapping[str, nn.Module], test: TrainingData
) -> dict[str, dict[str, Tensor]]:
    """64 rows of fixed inputs, by their names, for each operation there is."""
    images = torch.from_numpy(spread(test.images, 64)).float() / 255
    dim = latent_dim(trained.config.model)
    z = torch.randn(64, dim, generator=torch.Generator().manual_seed(0))
    generate = {"z": z}
    if trained.classes:
        generate["label"] = torch.arange(len(z)) % trained.classes
    return {
        "generate": generate,
        "encode": {"image": images},
        "discriminate": {"image": images},
        "prior": {"eps": z},
        "log_prior": {"z": operations["prior"](z) if "prior" in operations else z},
    }


def _export_operation(name: str, module: nn.Module, inputs: Mapping[str, Tensor]) -> Graph:
    with torch.no_grad():
        outputs = module(*(example[:1] for example in inputs.values()))
    count = len(outputs) if isinstance(outputs, tuple) else 1
    match name:
        case "generate":
            return export_graph(module, inputs, ("image",))
        case "encode":
            return export_graph(module, inputs, ("mean", "logvar")[:count])
        case "discriminate":
            return export_graph(module, inputs, ("logit",))
        case "prior":
            return export_graph(module, inputs, ("z",))
        case "log_prior":
            return export_graph(module, inputs, ("log_density",))
        case _:
            raise ExportError(f"no ONNX signature is known for operation {name!r}")


def _manifest_fields(
    trained: Trained,
    report: Report,
    provenance: Provenance,
    graphs: Mapping[str, Graph],
    train: TrainingData,
    operations: Mapping[str, nn.Module],
) -> dict[str, object]:
    config = trained.config
    _, channels, height, width = train.images.shape
    dim = latent_dim(config.model)
    prior = "learned" if "log_prior" in graphs else "standard_normal"
    has_prior = isinstance(config.model, VAEConfig | GANConfig)
    return {
        "name": config.name,
        "family": config.family,
        "description": config.description,
        "operations": {name: _operation(name, graph) for name, graph in graphs.items()},
        "image": Image(height=height, width=width, channels=channels),
        "latent": Latent(dim=dim, prior=prior if has_prior else None),
        "likelihood": _likelihood(trained),
        "anomaly": _anomaly(trained, operations, train),
        "score": _score(config, report),
        "class_names": train.class_names if trained.classes else None,
        "dataset": Dataset(
            name=provenance.data.name, licence=provenance.data.licence, source=provenance.data.source
        ),
        "opset": OPSET,
        "exporter": {
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxscript": onnxscript.__version__,
            "onnxruntime": onnxruntime.__version__,
            "python": platform.python_version(),
        },
        "training_config_sha256": config.sha256(),
        "git_commit": provenance.sessions[-1].commit,
        "metrics": report.values(),
    }


def _operation(name: str, graph: Graph) -> Operation:
    session = open_session(graph.onnx)

    def specs(tensors: list[onnxruntime.NodeArg]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name=t.name, dtype=_DTYPES[t.type], shape=tuple(t.shape)) for t in tensors)

    return Operation(
        graph=f"{name}.onnx", inputs=specs(session.get_inputs()), outputs=specs(session.get_outputs())
    )


def _likelihood(trained: Trained) -> Likelihood | None:
    if not isinstance(trained.config.model, VAEConfig):
        return None
    return Likelihood(kind=trained.config.model.likelihood, stddev=stddev(trained))


@torch.no_grad()
def _anomaly(trained: Trained, operations: Mapping[str, nn.Module], train: TrainingData) -> Anomaly | None:
    """Percentiles of the per-image statistic over training images."""
    images, told = torch.from_numpy(spread(train.images, ANOMALY_IMAGES)), trained.told(train)
    labels = None if told is None else spread(told, ANOMALY_IMAGES)
    match trained.config.model:
        case VAEConfig():
            log_likelihood, kl, _ = elbo_terms(trained, operations, images, CPU, labels=labels)
            values, statistic = kl - log_likelihood, "negative_elbo_nats"
        case AEConfig():
            encode, generate = operations["encode"], operations["generate"]
            values = torch.cat([mse(x, generate(encode(x)[0])) for x in batches(images, CPU)])
            statistic = "mse"
        case _:
            return None
    quantiles = np.percentile(values.numpy(), np.arange(101))
    return Anomaly(statistic=statistic, split=f"{len(images):,} training images", quantiles=tuple(quantiles))


def _score(config: Config, report: Report) -> Score | None:
    if not isinstance(config.model, GANConfig) or report.calibration is None:
        return None
    return Score(
        loss=config.model.loss, knots=report.calibration.knots, calibrated_on=report.calibration.fitted_on
    )


def _golden(graphs: Mapping[str, Graph], inputs: Mapping[str, Mapping[str, Tensor]]) -> bytes:
    """`<operation>.<tensor>` -> array: fixed inputs and what onnxruntime makes of them."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, graph in graphs.items():
        feed = {key: array[:GOLDEN_IMAGES] for key, array in _arrays(inputs[name]).items()}
        outputs = open_session(graph.onnx).run(list(graph.outputs), feed)
        arrays |= {f"{name}.{key}": value for key, value in feed.items()}
        arrays |= {f"{name}.{key}": value for key, value in zip(graph.outputs, outputs, strict=True)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.save(entry, array, allow_pickle=False)
    return stream.getvalue()


def _arrays(inputs: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in inputs.items()}


def _pictures(
    trained: Trained,
    report: Report,
    operations: Mapping[str, nn.Module],
    inputs: Mapping[str, Mapping[str, Tensor]],
    train: TrainingData,
) -> dict[str, bytes]:
    """What the card shows, as PNG files by name."""
    files = {}
    if (sheet := _samples(trained.config, operations, inputs)) is not None:
        files["samples.png"] = sheet_png(sheet)
        dim = latent_dim(trained.config.model)
        drawn = samples.sample(trained.served(operations), dim, samples.SAMPLES, samples.SEED, CPU)
        files["neighbours.png"] = sheet_png(neighbours(drawn, torch.from_numpy(train.images)).float() / 255)
    if (reliability := reliability_png(report)) is not None:
        files["reliability.png"] = reliability
    return files


@torch.no_grad()
def _samples(
    config: Config, operations: Mapping[str, nn.Module], inputs: Mapping[str, Mapping[str, Tensor]]
) -> Tensor | None:
    """64 samples; for an AE without a prior, 32 test images each beside its reconstruction."""
    if "generate" not in operations:
        return None
    if isinstance(config.model, AEConfig) and "prior" not in operations:
        images = inputs["encode"]["image"][:32]
        reconstructions = operations["generate"](operations["encode"](images)[0])
        return torch.stack([images, reconstructions], dim=1).flatten(0, 1)
    given = dict(inputs["generate"])
    if "prior" in operations:
        given["z"] = operations["prior"](inputs["prior"]["eps"])
    out: Tensor = operations["generate"](*given.values())
    return out
