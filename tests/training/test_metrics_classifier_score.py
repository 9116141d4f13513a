import numpy as np
import pytest
from scipy.stats import entropy

from training.metrics.classifier_score import classifier_score


def test_sure_and_even_is_the_number_of_classes() -> None:
    assert classifier_score(np.eye(10)) == pytest.approx(10, rel=1e-12)
    assert classifier_score(np.tile(np.eye(10), (7, 1))) == pytest.approx(10, rel=1e-12)


def test_one_class_or_no_idea_is_1() -> None:
    assert classifier_score(np.tile(np.eye(10)[3], (20, 1))) == pytest.approx(1, rel=1e-12)
    assert classifier_score(np.full((20, 10), 0.1)) == pytest.approx(1, rel=1e-12)


def test_a_collapse_to_three_classes_is_3() -> None:
    assert classifier_score(np.eye(10)[[0, 4, 9] * 5]) == pytest.approx(3, rel=1e-12)


def test_doubt_by_hand() -> None:
    # Rows (0.9, 0.1) and (0.1, 0.9): log 2 - H(0.9, 0.1).
    p = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert classifier_score(p) == pytest.approx(2 * np.exp(-entropy([0.9, 0.1])), rel=1e-6)


@pytest.mark.parametrize("p", [np.ones(3), np.zeros((0, 3)), np.ones((2, 3)), np.array([[1.5, -0.5]])])
def test_what_is_no_distribution_is_refused(p: np.ndarray) -> None:
    with pytest.raises(ValueError, match="probabilities: expected"):
        classifier_score(p)
