"""Weights in half precision: a published bundle is half as large, and what is measured of it is what is published.

A run's weights are rounded to float16 when it is measured and exported. From then on a file that holds them in float16
loses nothing, and all arithmetic is of float32 as before.
"""

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

LEAST = 1024
"""Numbers of a weight that is rounded; smaller ones, such as biases and the statistics of norms, take no room."""


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round the matrices and kernels of `network` to the nearest float16, in place; their type stays as it is."""
    for parameter in network.parameters():
        if parameter.ndim > 1 and parameter.numel() >= LEAST:
            parameter.copy_(parameter.half())


def halved(tensor: Tensor) -> Tensor:
    """As float16, where that is exact and the tensor is not small; else itself."""
    if tensor.dtype != torch.float32 or tensor.numel() < LEAST:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def halve_initializers(model: onnx.ModelProto) -> None:
    """Store the graph's weights as `halved` does, each with a Cast to float32 behind it.

    onnxruntime computes the casts once, when it opens the graph.
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
