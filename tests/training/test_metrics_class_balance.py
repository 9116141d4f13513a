import math

import numpy as np
import pytest

from training.metrics.class_balance import class_balance


def test_fractions_entropy_and_divergence_by_hand() -> None:
    balance = class_balance(np.array([0, 0, 1, 3]), n_classes=4)
    assert balance.fractions.tolist() == [0.5, 0.25, 0, 0.25]
    assert (balance.smallest, balance.largest) == (0, 0.5)
    assert balance.entropy_nats == pytest.approx(1.5 * math.log(2), rel=1e-12)
    # Against 1/4 each: log 4 - entropy.
    assert balance.kl_nats == pytest.approx(0.5 * math.log(2), rel=1e-12)


def test_divergence_runs_from_the_samples_to_the_reference() -> None:
    labels = np.array([0, 0, 0, 1])
    counts = np.array([5.0, 15.0])
    # 3/4 log(3/4 : 1/4) + 1/4 log(1/4 : 3/4); the other direction would give the same ...
    assert class_balance(labels, 2, counts).kl_nats == pytest.approx(0.5 * math.log(3), rel=1e-12)
    # ... so a missing class tells them apart: finite this way round, infinite the other.
    assert class_balance(np.zeros(4, int), 2, counts).kl_nats == pytest.approx(math.log(4), rel=1e-12)
    assert class_balance(labels, 2, np.array([1.0, 0.0])).kl_nats == math.inf


def test_balanced_samples_are_the_extreme() -> None:
    balance = class_balance(np.arange(30) % 10, 10)
    assert balance.entropy_nats == pytest.approx(math.log(10), rel=1e-12)
    assert balance.kl_nats == pytest.approx(0, abs=1e-12)
    assert balance.smallest == balance.largest == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("labels", "reference", "message"),
    [
        (np.array([], int), None, r"labels: expected shape \(N,\) with N >= 1, got \(0,\)"),
        (np.zeros((2, 2), int), None, r"labels: expected shape .*got \(2, 2\)"),
        (np.array([0, 2]), None, r"labels: expected integers in \[0, 2\), got 0 to 2"),
        (np.array([-1, 1]), None, r"got -1 to 1"),
        (np.array([0.0, 1.0]), None, r"labels: expected integers"),
        (np.array([0, 1]), np.ones(3), r"reference: expected shape \(2,\), got \(3,\)"),
    ],
)
def test_wrong_input_is_named(labels: np.ndarray, reference: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_balance(labels, 2, reference)
