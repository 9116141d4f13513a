import pytest
import torch

from training.errors import ConfigError
from training.networks import Classifier, Decoder, Discriminator, Encoder


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 32, 40)])
def test_shapes_go_from_image_to_latent_and_back(shape: tuple[int, int, int]) -> None:
    images = torch.rand(3, *shape)
    mean, logvar = Encoder(shape, (4, 4, 8), latent_dim=5, heads=2)(images)
    assert mean.shape == logvar.shape == (3, 5)
    assert Decoder(shape, (8, 4), latent_dim=5)(mean).shape == images.shape
    logits, features = Classifier(shape, (4, 4), features=6, classes=7)(images)
    assert (logits.shape, features.shape) == ((3, 7), (3, 6))
    assert features.min() >= 0


def test_a_size_that_cannot_be_doubled_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="30 x 28: height and width must be multiples of 4"):
        Decoder((1, 30, 28), (8, 4), latent_dim=5)


def test_spectral_norm_bounds_every_layer() -> None:
    network = Discriminator((1, 28, 28), (4, 4, 8), 16, "none", kernels=1, kernel_dim=1, normalise=True)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Linear):
                part.get_parameter("parametrizations.weight.original").mul_(50)
    for _ in range(30):
        network(torch.rand(2, 1, 28, 28))
    norms = [
        float(torch.linalg.matrix_norm(part.weight.detach(), 2))
        for part in network.eval().modules()
        if isinstance(part, torch.nn.Linear)
    ]
    assert norms == pytest.approx([1.0] * len(norms), rel=0.02)
    assert len(norms) == 2
