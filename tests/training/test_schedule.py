import pytest
import torch

from tests.training.recipes import small
from training.config import OptimizerConfig
from training.schedule import learning_rate, micro_batches


def test_learning_rate_warms_up_and_falls_on_a_cosine() -> None:
    config = OptimizerConfig(lr=1.0, warmup_images=100, decay="cosine")
    assert [learning_rate(config, seen, 1100) for seen in (0, 50, 100, 600, 1100)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )


def test_a_constant_learning_rate_stays() -> None:
    config = OptimizerConfig(lr=0.2)
    assert learning_rate(config, 0, 10) == learning_rate(config, 9, 10) == 0.2


def indices(step: int, rank: int = 0, ranks: int = 1, accumulate: int = 1) -> list[int]:
    config = small("ae", batch_size=8, accumulate=accumulate)
    images = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1)
    batches = micro_batches(images, torch.arange(20), config, step, rank, ranks)
    assert len(batches) == accumulate
    for batch in batches:
        assert batch.labels is not None
        torch.testing.assert_close(batch.images.flatten() * 255, batch.labels.float())
    return [int(i) for batch in batches if batch.labels is not None for i in batch.labels]


def test_an_epoch_shows_each_image_once_at_most_and_the_next_in_another_order() -> None:
    first, second = indices(0) + indices(1), indices(2) + indices(3)
    assert len(set(first)) == len(set(second)) == 16
    assert first != second


def test_a_step_is_a_function_of_its_number() -> None:
    assert indices(1) == indices(1) != indices(0)


def test_ranks_and_micro_batches_share_a_batch_without_overlap() -> None:
    whole = indices(0)
    assert sorted(indices(0, 0, 2) + indices(0, 1, 2)) == sorted(whole)
    assert indices(0, accumulate=4) == whole
