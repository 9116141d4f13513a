"""A torch module as one ONNX graph that onnxruntime computes row by row, and the proof that it does."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.errors import ExportError
from training.half import halved

OPSET = 18
BATCHES = (1, 2, 7, 16, 64)
TOLERANCE = 1e-4

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Graph:
    """`onnx` is the file's content; `difference` the largest absolute one from torch over `BATCHES`."""

    onnx: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float


class PointwiseLinear(nn.Module):
    """A linear layer as a 1 x 1 convolution.

    onnxruntime multiplies a matrix of one row with another kernel than one of many rows, so the last bits of a
    matrix product depend on the batch; a convolution is computed image by image.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
        self.conv.weight = nn.Parameter(linear.weight.detach()[:, :, None, None].clone())
        if linear.bias is not None:
            self.conv.bias = nn.Parameter(linear.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x[:, :, None, None])
        return out.flatten(1)


def lean(module: nn.Module) -> nn.Module:
    """A copy of `module` for inference: weight norms baked in, batch norms folded, linear layers as convolutions."""
    module = copy.deepcopy(module).cpu().eval()
    for part in module.modules():
        if parametrize.is_parametrized(part):
            # Removing edits the class, which the copy shares with the original: give it one of its own.
            shared = type(part)
            own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
            part.__class__ = type(shared.__name__, shared.__bases__, own)
            parametrize.remove_parametrizations(part, "weight")
    _fold_batch_norms(module)
    _replace_linears(module)
    return module


def export_graph(module: nn.Module, inputs: Mapping[str, Tensor], output_names: tuple[str, ...]) -> Graph:
    """Export `module` (one tensor or a tuple out) with a symbolic batch axis "N".

    `inputs` holds 64 rows or more of each input, in the order in which `module` takes them: parity with torch is
    checked on them in batches of `BATCHES`, and so is that a row's bits do not depend on its batch.

    Raises:
        ExportError: outputs differ from torch by more than 1e-4, or between batches at all.
    """
    small = lean(module)
    content = _to_onnx(small, inputs, output_names)
    session = open_session(content)
    with torch.no_grad():
        expected = _arrays(module.cpu().eval()(*inputs.values()))
    feed = {name: example.numpy() for name, example in inputs.items()}
    whole = session.run(list(output_names), feed)
    rows = len(whole[0])
    difference = 0.0
    for batch in BATCHES:
        for start in range(0, rows - batch + 1, batch):
            part = slice(start, start + batch)
            got = session.run(list(output_names), {name: array[part] for name, array in feed.items()})
            for name, g, e, w in zip(output_names, got, expected, whole, strict=True):
                difference = max(difference, float(np.abs(g - e[part]).max()))
                if not np.array_equal(g, w[part]):
                    raise ExportError(
                        f"{name}: rows {start}..{start + batch - 1} alone differ from the same rows in a batch "
                        f"of {rows} by {np.abs(g - w[part]).max():.3g}; they must be equal bit for bit"
                    )
    if difference > TOLERANCE:
        raise ExportError(
            f"{tuple(inputs)} -> {output_names}: onnxruntime differs from torch by {difference:.3g}"
        )
    return Graph(content, tuple(inputs), output_names, difference)


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """A session as the service opens it: one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], output_names: tuple[str, ...]) -> bytes:
    rows = torch.export.Dim("N", min=1, max=1 << 20)
    program = torch.onnx.export(
        module,
        tuple(example[:2] for example in inputs.values()),
        input_names=list(inputs),
        output_names=list(output_names),
        opset_version=OPSET,
        dynamic_shapes=tuple({0: rows} for _ in inputs),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ExportError("torch.onnx.export returned no program")
    model = program.model_proto
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    # Exporter's notes on where each node came from: paths of this machine.
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    _halve_initializers(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _halve_initializers(model: onnx.ModelProto) -> None:
    """Store the weights that are float16 numbers so, each with a Cast to float32 behind it.

    Those that batch norms were folded into are not. onnxruntime computes the casts once, when it opens the graph.
    """
    casts = []
    for tensor in model.graph.initializer:
        half = halved(torch.from_numpy(np.array(numpy_helper.to_array(tensor))))
        if half.dtype == torch.float16:
            name, stored = tensor.name, f"{tensor.name}.half"
            tensor.CopyFrom(numpy_helper.from_array(half.numpy(), stored))
            casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _arrays(outputs: Tensor | tuple[Tensor, ...]) -> list[Array]:
    return [t.numpy() for t in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm that follows a convolution in a `Sequential` into it."""
    for part in module.modules():
        if not isinstance(part, nn.Sequential):
            continue
        names = list(part._modules)
        for first, second in pairwise(names):
            conv, norm = part[int(first)], part[int(second)]
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                part[int(first)] = fuse_conv_bn_eval(
                    conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d)
                )
                part[int(second)] = nn.Identity()


def _replace_linears(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PointwiseLinear(child))
        else:
            _replace_linears(child)
