"""Confusion matrix and its numbers: by hand, against scikit-learn, and with weights."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from hf_speech.metrics.classification import METRICS, accuracy, confusion_matrix, macro_f1, uar


def test_numbers_by_hand() -> None:
    confusion = confusion_matrix([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2], 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert accuracy(confusion) == pytest.approx(4 / 6)
    assert uar(confusion) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert macro_f1(confusion) == pytest.approx((4 / 6 + 2 / 4 + 2 / 2) / 3)


@pytest.mark.parametrize(("items", "classes", "used"), [(400, 4, 4), (60, 7, 3), (30, 12, 12)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_agrees_with_scikit_learn(items: int, classes: int, used: int, weighted: bool) -> None:
    """Also where some classes never occur, and some only in the predictions."""
    rng = np.random.default_rng(items)
    labels, predictions = rng.integers(0, used, items), rng.integers(0, classes - 1, items)
    weights = rng.integers(0, 4, items) if weighted else None
    confusion = confusion_matrix(labels, predictions, classes, weights)
    kept = np.arange(items) if weights is None else np.repeat(np.arange(items), weights)
    y, x = labels[kept], predictions[kept]
    np.testing.assert_array_equal(confusion, sklearn_metrics.confusion_matrix(y, x, labels=range(classes)))
    assert accuracy(confusion) == pytest.approx(sklearn_metrics.accuracy_score(y, x))
    assert uar(confusion) == pytest.approx(sklearn_metrics.balanced_accuracy_score(y, x))
    assert macro_f1(confusion) == pytest.approx(sklearn_metrics.f1_score(y, x, average="macro"))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_1_when_all_is_right_and_0_when_nothing_is(metric: Callable[[np.ndarray], float]) -> None:
    assert metric(np.diag([3, 1, 0, 5])) == 1
    assert metric(np.array([[0, 3], [2, 0]])) == 0
    assert np.isnan(metric(np.zeros((3, 3))))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_the_same_under_other_class_numbers(metric: Callable[[np.ndarray], float]) -> None:
    rng = np.random.default_rng(0)
    confusion, order = rng.integers(0, 9, (5, 5)), rng.permutation(5)
    assert metric(confusion[np.ix_(order, order)]) == pytest.approx(metric(confusion))


def test_a_class_missed_by_a_draw_is_no_mistake_of_macro_f1() -> None:
    confusion = np.array([[8, 2], [0, 0]])
    assert macro_f1(confusion) == pytest.approx((16 / 18 + 0) / 2)
    assert macro_f1(confusion, unlabelled=np.array([False, True])) == macro_f1(confusion)
    assert macro_f1(confusion, unlabelled=np.array([False, False])) == pytest.approx(16 / 18)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 3], [0, 1], "label 3 of item 1 is not a class; valid: 0 to 2"),
        ([0, 1], [-1, 1], "prediction -1 of item 0 is not a class; valid: 0 to 2"),
        ([0, 1], [0], "2 labels and 1 predictions"),
        ([0.5, 1], [0, 1], "labels must be one row of whole numbers"),
        ([0, 1], [[0, 1]], "predictions must be one row of whole numbers"),
    ],
)
def test_wrong_input_is_named(labels: list, predictions: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 3)
