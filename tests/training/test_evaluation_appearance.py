import pytest
import torch

from training.evaluation.appearance import sharpness


def test_the_data_are_as_sharp_as_the_data_and_blurred_images_are_not() -> None:
    images = torch.randint(256, (8, 3, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
    same = sharpness(images, images, "images", seed=0)
    assert [(r.name, r.value, r.n) for r in same] == [
        ("laplacian_variance", 1, 8),
        ("high_frequency_power", 1, 8),
    ]
    # Half the contrast is a quarter of the power; half of the images.
    paler = sharpness(images[:4] // 2, images[:4], "images", seed=0, suffix="_fitted_prior")
    assert [r.value for r in paler] == pytest.approx([0.25, 0.25], rel=0.02)
    assert [r.name for r in paler] == ["laplacian_variance_fitted_prior", "high_frequency_power_fitted_prior"]
    blurred = torch.nn.functional.avg_pool2d(images.float(), 3, stride=1, padding=1).byte()
    assert all(r.value < 0.2 for r in sharpness(blurred, images, "images", seed=0))
