"""Tiny but real bundles: a few convolutions with fixed random weights, built with `onnx.helper`, no torch.

| model      | images      | graphs                        | prior           |
| ---------- | ----------- | ----------------------------- | --------------- |
| tiny-vae   | 8x8 grey    | generate, encode (+ logvar)   | standard_normal |
| tiny-ae    | 8x8 grey    | generate, encode              | none            |
| tiny-gan   | 8x8 grey    | generate, discriminate        | standard_normal |
| tiny-cgan  | 8x8 grey    | generate (label)              | standard_normal |
| tiny-rgb   | 8x12 colour | generate, encode (+ logvar)   | standard_normal |
| tiny-prior | 8x8 grey    | generate, encode, prior       | none            |
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from service import manifest

OPSET = 17
DIM = 4
CLASS_NAMES = ("circle", "square", "cross")
GOLDEN_ROWS = 5

Array = NDArray[Any]


class Net:
    """Builds one ONNX graph node by node; `self.last` names the newest tensor."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = ""
        self._random = np.random.RandomState(seed)

    def constant(self, value: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def random(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant((scale * self._random.standard_normal(shape)).astype(np.float32))

    def add(self, op: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        self.last = to or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [self.last], **attributes))
        return self.last

    def model(self, inputs: Sequence[manifest.Tensor], outputs: Sequence[manifest.Tensor]) -> ModelProto:
        opsets = [helper.make_opsetid("", OPSET)]
        graph = helper.make_graph(
            self.nodes, "tiny", [_value(t) for t in inputs], [_value(t) for t in outputs], self.weights
        )
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets)
        )


def generate(
    image: manifest.Image, *, seed: int, classes: int = 0, dim: int = DIM
) -> tuple[ModelProto, manifest.Operation]:
    """z -> two transposed convolutions -> sigmoid; a label adds its row of a table to z."""
    net = Net(seed)
    z = "z"
    if classes:
        z = net.add("Add", z, net.add("Gather", net.random(classes, dim, scale=1.0), "label"))
    net.add("Reshape", z, net.constant(np.array([-1, dim, 1, 1], np.int64)))
    net.add("ConvTranspose", net.last, net.random(dim, 8, image.height // 2, image.width // 2))
    net.add("Relu", net.last)
    net.add("ConvTranspose", net.last, net.random(8, image.channels, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
    net.add("Sigmoid", net.last, to="image")
    inputs = [_vector("z", dim)]
    if classes:
        inputs.append(manifest.Tensor(name="label", dtype="int64", shape=("N",)))
    return _finish(net, "generate", inputs, [_image(image)])


def encode(
    image: manifest.Image, *, seed: int, logvar: bool, dim: int = DIM
) -> tuple[ModelProto, manifest.Operation]:
    """image -> convolution -> one convolution as large as the image for each output."""
    net = Net(seed)
    hidden = _half(net, image)
    outputs = [_vector("mean", dim)] + ([_vector("logvar", dim)] if logvar else [])
    for output in outputs:
        net.add("Conv", hidden, net.random(dim, 8, image.height // 2, image.width // 2, scale=0.1))
        net.add("Reshape", net.last, net.constant(np.array([-1, dim], np.int64)), to=output.name)
    return _finish(net, "encode", [_image(image)], outputs)


def discriminate(image: manifest.Image, *, seed: int) -> tuple[ModelProto, manifest.Operation]:
    net = Net(seed)
    net.add("Conv", _half(net, image), net.random(1, 8, image.height // 2, image.width // 2, scale=0.2))
    net.add("Reshape", net.last, net.constant(np.array([-1], np.int64)), to="logit")
    logit = manifest.Tensor(name="logit", dtype="float32", shape=("N",))
    return _finish(net, "discriminate", [_image(image)], [logit])


def prior(*, seed: int, dim: int = DIM) -> tuple[ModelProto, manifest.Operation]:
    """eps -> a 1x1 convolution (a linear map) + 1."""
    net = Net(seed)
    net.add("Reshape", "eps", net.constant(np.array([-1, dim, 1, 1], np.int64)))
    net.add("Conv", net.last, net.random(dim, dim, 1, 1), net.constant(np.ones(dim, np.float32)))
    net.add("Reshape", net.last, net.constant(np.array([-1, dim], np.int64)), to="z")
    return _finish(net, "prior", [_vector("eps", dim)], [_vector("z", dim)])


def golden(graphs: Mapping[str, tuple[ModelProto, manifest.Operation]], classes: int = 0) -> dict[str, Array]:
    """Fixed inputs and what onnxruntime made of them, named `<operation>.<tensor>`."""
    random = np.random.RandomState(99)
    arrays: dict[str, Array] = {}
    for name, (model, operation) in graphs.items():
        feed: dict[str, Array] = {}
        for tensor in operation.inputs:
            shape = (GOLDEN_ROWS, *(int(size) for size in tensor.shape[1:]))
            if tensor.name == "label":
                feed["label"] = random.randint(0, classes, shape).astype(np.int64)
            elif tensor.name == "image":
                feed["image"] = random.uniform(size=shape).astype(np.float32)
            else:
                feed[tensor.name] = random.standard_normal(shape).astype(np.float32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs = session.run([t.name for t in operation.outputs], feed)
        arrays |= {f"{name}.{key}": value for key, value in feed.items()}
        arrays |= {f"{name}.{t.name}": value for t, value in zip(operation.outputs, outputs, strict=True)}
    return arrays


def write(
    root: Path,
    name: str,
    graphs: Mapping[str, tuple[ModelProto, manifest.Operation]],
    *,
    image: manifest.Image,
    version: int = 1,
    golden_arrays: Mapping[str, Array] | None = None,
    **fields: object,
) -> Path:
    """Write a bundle of these graphs; `fields` replace those of the manifest."""
    classes = len(CLASS_NAMES)
    stream = io.BytesIO()
    arrays: Mapping[str, Any] = golden(graphs, classes) if golden_arrays is None else golden_arrays
    np.savez(stream, **arrays)
    files = {operation.graph: model.SerializeToString() for model, operation in graphs.values()}
    plain: dict[str, object] = {
        "name": name,
        "version": version,
        "family": "test",
        "description": f"{name}, random weights",
        "operations": {key: operation for key, (_, operation) in graphs.items()},
        "image": image,
        "latent": {"dim": DIM, "prior": "standard_normal"},
        "dataset": {"name": "none", "licence": "CC0-1.0", "source": "random weights"},
        "opset": OPSET,
        "exporter": {"onnx": "test"},
        "training_config_sha256": "0" * 64,
        "git_commit": "0" * 40,
        "metrics": {"test_mse": 0.25},
    }
    return manifest.write_bundle(root, {**plain, **fields}, {**files, "golden.npz": stream.getvalue()})


GREY = manifest.Image(height=8, width=8, channels=1)
RGB = manifest.Image(height=8, width=12, channels=3)


def write_vae(root: Path, *, version: int = 1, seed: int = 10) -> Path:
    graphs = {"generate": generate(GREY, seed=seed), "encode": encode(GREY, seed=seed + 1, logvar=True)}
    anomaly = {
        "statistic": "negative_elbo_nats",
        "split": "test",
        "quantiles": [40.0 + i for i in range(101)],
    }
    return write(
        root,
        "tiny-vae",
        graphs,
        image=GREY,
        version=version,
        likelihood={"kind": "bernoulli"},
        anomaly=anomaly,
    )


def write_ae(root: Path) -> Path:
    graphs = {"generate": generate(GREY, seed=20), "encode": encode(GREY, seed=21, logvar=False)}
    anomaly = {"statistic": "mse", "split": "test", "quantiles": [i / 200 for i in range(101)]}
    return write(root, "tiny-ae", graphs, image=GREY, latent={"dim": DIM, "prior": None}, anomaly=anomaly)


def write_gan(root: Path, *, version: int = 1, seed: int = 30) -> Path:
    graphs = {"generate": generate(GREY, seed=seed), "discriminate": discriminate(GREY, seed=seed + 1)}
    score = {"loss": "hinge", "knots": [[0.0, -0.5], [1.0, 1.5]], "calibrated_on": "test"}
    return write(root, "tiny-gan", graphs, image=GREY, version=version, score=score)


def write_cgan(root: Path) -> Path:
    graphs = {"generate": generate(GREY, seed=40, classes=len(CLASS_NAMES))}
    return write(root, "tiny-cgan", graphs, image=GREY, class_names=CLASS_NAMES)


def write_rgb(root: Path) -> Path:
    graphs = {"generate": generate(RGB, seed=50), "encode": encode(RGB, seed=51, logvar=True)}
    return write(root, "tiny-rgb", graphs, image=RGB, likelihood={"kind": "gaussian", "stddev": 0.1})


def write_prior(root: Path) -> Path:
    graphs = {
        "generate": generate(GREY, seed=60),
        "encode": encode(GREY, seed=61, logvar=False),
        "prior": prior(seed=62),
    }
    return write(root, "tiny-prior", graphs, image=GREY, latent={"dim": DIM, "prior": None})


def write_all(root: Path) -> None:
    """All models of the table above; tiny-gan in versions 1 and 2, which differ."""
    write_vae(root)
    write_ae(root)
    write_gan(root)
    write_gan(root, version=2, seed=35)
    write_cgan(root)
    write_rgb(root)
    write_prior(root)


def _half(net: Net, image: manifest.Image) -> str:
    net.add("Conv", "image", net.random(8, image.channels, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
    return net.add("Relu", net.last)


def _finish(
    net: Net, name: str, inputs: Sequence[manifest.Tensor], outputs: Sequence[manifest.Tensor]
) -> tuple[ModelProto, manifest.Operation]:
    operation = manifest.Operation(graph=f"{name}.onnx", inputs=tuple(inputs), outputs=tuple(outputs))
    return net.model(inputs, outputs), operation


def _vector(name: str, dim: int) -> manifest.Tensor:
    return manifest.Tensor(name=name, dtype="float32", shape=("N", dim))


def _image(image: manifest.Image) -> manifest.Tensor:
    return manifest.Tensor(
        name="image", dtype="float32", shape=("N", image.channels, image.height, image.width)
    )


def _value(tensor: manifest.Tensor) -> Any:
    kind = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}[tensor.dtype]
    return helper.make_tensor_value_info(tensor.name, kind, list(tensor.shape))
