import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from training.errors import ExportError
from training.networks import Coupling, Discriminator, ServedDiscriminator
from training.onnx_graph import export_graph, lean, open_session


class BatchMean(nn.Module):
    """Mixes the rows of a batch, as no served graph may."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5)
    )
    module(torch.rand(64, 1, 8, 8))  # batch statistics that differ from 0 and 1
    return module.eval()


def test_the_lean_network_is_the_network_without_batch_norm_and_linear_layers() -> None:
    module, x = network(), torch.rand(3, 1, 8, 8)
    small = lean(module)
    kinds = {type(part) for part in small.modules()}
    assert nn.BatchNorm2d not in kinds
    assert nn.Linear not in kinds
    torch.testing.assert_close(small(x), module(x))
    assert nn.Linear in {type(part) for part in module.modules()}, "the original is left as it is"


def test_an_exported_graph_has_a_symbolic_batch_and_torchs_outputs() -> None:
    module, x = network(), torch.rand(64, 1, 8, 8)
    graph = export_graph(module, {"image": x}, ("mean",))
    assert graph.difference < 1e-5
    model = onnx.load_from_string(graph.onnx)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert "MatMul" not in {node.op_type for node in model.graph.node}
    (out,) = open_session(graph.onnx).run(None, {"image": x[:3].numpy()})
    np.testing.assert_allclose(out, module(x[:3]).detach().numpy(), atol=1e-5)
    assert b"/site-packages/" not in graph.onnx


def test_a_graph_whose_rows_depend_on_each_other_is_refused() -> None:
    with pytest.raises(ExportError, match="must be equal bit for bit"):
        export_graph(BatchMean(), {"z": torch.randn(64, 4)}, ("image",))


@pytest.mark.parametrize("coupling", ["none", "minibatch-discrimination", "minibatch-stddev"])
def test_every_discriminator_is_exported_row_by_row_and_left_as_it_was(coupling: Coupling) -> None:
    torch.manual_seed(0)
    network = Discriminator((1, 8, 8), (4, 4, 8), 16, coupling, kernels=8, kernel_dim=4, normalise=True)
    served = ServedDiscriminator(network, torch.rand(15, 1, 8, 8))
    images = torch.rand(64, 1, 8, 8)
    before = served(images)
    assert export_graph(served, {"image": images}, ("logit",)).difference < 1e-4
    torch.testing.assert_close(served(images), before)
