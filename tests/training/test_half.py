"""Weights in half precision: what is rounded, and that no file rounds anything again."""

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from tests.training.recipes import mini
from training.checkpoint import read_tensors
from training.half import LEAST, halved, round_weights
from training.onnx_graph import export_graph, open_session
from training.trained import MODELS, load_trained


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large, self.small = nn.Linear(16, 128), nn.Linear(128, 4)  # 2,048 and 512 weights

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.small(self.large(z).relu())
        return out


def test_large_weights_are_rounded_to_the_nearest_half_and_others_left() -> None:
    before, after = Network(), Network()
    round_weights(after)
    assert torch.equal(after.large.weight, before.large.weight.half().float())
    assert not torch.equal(after.large.weight, before.large.weight)
    assert after.large.weight.dtype == torch.float32
    assert torch.equal(after.large.bias, before.large.bias)
    assert torch.equal(after.small.weight, before.small.weight)
    again = after.large.weight.clone()
    round_weights(after)
    assert torch.equal(after.large.weight, again)


def test_a_tensor_is_halved_only_where_that_is_exact() -> None:
    exact = torch.arange(LEAST).float()
    assert halved(exact).dtype == torch.float16
    assert torch.equal(halved(exact).float(), exact)
    for kept in (exact + 2.0**-20, exact[:-1], exact * 1e5, torch.arange(LEAST)):
        assert halved(kept) is kept


def test_a_bundle_that_was_published_in_full_stays_as_it_is() -> None:
    published = load_trained(MODELS / "mnist-ae" / "2", mini("test")).networks["ae"]
    stored, _ = read_tensors(MODELS / "mnist-ae" / "2" / "checkpoint.safetensors")
    weight = published.state_dict()["decoder.project.weight"]
    assert torch.equal(weight, stored["average.ae.decoder.project.weight"])
    assert halved(weight) is weight  # no float16 numbers


def test_a_graph_of_halves_is_half_as_large_and_gives_the_same_bits() -> None:
    module = Network()
    round_weights(module)
    x = torch.randn(64, 16)
    content = export_graph(module, {"z": x}, ("image",)).onnx
    whole = onnx.load_from_string(content)
    stored = {t.data_type for t in whole.graph.initializer if np.prod(t.dims) >= LEAST}
    assert stored == {onnx.TensorProto.FLOAT16}
    casts = {node.input[0]: node.output[0] for node in whole.graph.node if node.op_type == "Cast"}
    assert len(casts) == 1
    for tensor in whole.graph.initializer:
        if tensor.name in casts:
            full = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(full, casts[tensor.name]))
    kept = [node for node in whole.graph.node if node.op_type != "Cast"]
    del whole.graph.node[:]
    whole.graph.node.extend(kept)
    large = whole.SerializeToString()
    assert len(large) - len(content) > 2 * 2048 - 200
    (of_halves,) = open_session(content).run(None, {"z": x.numpy()})
    (of_floats,) = open_session(large).run(None, {"z": x.numpy()})
    np.testing.assert_array_equal(of_halves, of_floats)
