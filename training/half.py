"""Weights in half precision: a published checkpoint is half as large, and what is measured is what is published.

A run's weights are rounded to float16 when it is measured and exported. From then on a file that holds them in float16
loses nothing, and all arithmetic is of float32 as before.
"""

import torch
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
