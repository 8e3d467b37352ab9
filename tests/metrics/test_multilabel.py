"""Several classes an item: by hand, against scikit-learn, and with weights."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from hf_speech.metrics import multilabel_numbers
from hf_speech.metrics.multilabel import METRICS, exact_match, macro_f1, mean_average_precision, micro_f1

LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
SCORES = np.array([[0.9, 0.6, 0.1], [0.3, 0.8, 0.2], [0.4, 0.7, 0.3], [0.1, 0.2, 0.4]])


def random_items(count: int, classes: int, seed: int) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, classes)) < 0.3).astype(int)
    return labels, np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)  # rounded: many scores tie


def test_numbers_by_hand() -> None:
    """Class 0: 1 hit of 2, nothing else said. Class 1: 2 hits of 2, one said too many. Class 2: missed."""
    assert macro_f1(LABELS, SCORES) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert micro_f1(LABELS, SCORES) == pytest.approx(2 * 3 / (5 + 4))
    assert exact_match(LABELS, SCORES) == 1 / 4
    # Class 0 by score: 0.9 yes, 0.4 no, 0.3 yes: (1 + 2/3) / 2; the others are ranked without fault.
    assert mean_average_precision(LABELS, SCORES) == pytest.approx((5 / 6 + 1 + 1) / 3)


def test_the_threshold_itself_says_yes() -> None:
    assert exact_match([[1, 0]], [[0.5, 0.49]]) == 1
    assert micro_f1([[1, 0]], [[0.3, 0.2]], threshold=0.3) == 1
    assert macro_f1(LABELS, SCORES, threshold=0.35) == pytest.approx((2 / 4 + 4 / 5 + 1) / 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scikit_learn(weighted: bool) -> None:
    labels, scores = random_items(200, 5, 0)
    weights = np.random.default_rng(1).integers(0, 4, 200) if weighted else None
    kept = np.repeat(np.arange(200), weights) if weighted else np.arange(200)
    y, x = labels[kept], scores[kept]
    said = x >= 0.5
    assert macro_f1(labels, scores, weights) == pytest.approx(sklearn_metrics.f1_score(y, said, average="macro"))
    assert micro_f1(labels, scores, weights) == pytest.approx(sklearn_metrics.f1_score(y, said, average="micro"))
    assert exact_match(labels, scores, weights) == pytest.approx(sklearn_metrics.accuracy_score(y, said))
    wanted = sklearn_metrics.average_precision_score(y, x, average="macro")
    assert mean_average_precision(labels, scores, weights) == pytest.approx(wanted)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_has_its_ends_and_does_not_see_order(metric) -> None:
    assert metric(LABELS, LABELS * 1.0) == 1
    labels, scores = random_items(60, 4, 2)
    rows, columns = np.random.default_rng(3).permutation(60), [2, 0, 3, 1]
    assert metric(labels[rows][:, columns], scores[rows][:, columns]) == pytest.approx(metric(labels, scores))
    assert metric(labels, scores, np.full(60, 3)) == pytest.approx(metric(labels, scores))


def test_classes_that_no_item_has() -> None:
    """They have no average precision; F1 counts them where they are predicted, and not where a draw missed them."""
    labels, scores = np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.8], [0.8, 0.1]])
    assert mean_average_precision(labels, scores) == 1
    assert macro_f1(labels, scores) == 1 / 2
    assert macro_f1(labels, scores, unlabelled=np.array([False, False])) == 1
    nothing = np.zeros((2, 2))
    assert np.isnan([macro_f1(nothing, nothing), micro_f1(nothing, nothing)]).all()
    assert np.isnan(mean_average_precision(nothing, nothing)) and exact_match(nothing, nothing) == 1


def test_numbers_are_whole_and_hold_their_values() -> None:
    labels, scores = random_items(300, 4, 4)
    speakers = [f"s{i % 15}" for i in range(300)]
    numbers = multilabel_numbers(labels, scores, speakers=speakers)
    assert [number["name"] for number in numbers] == list(METRICS)
    assert {(number["unit"], number["interval_unit"]) for number in numbers} == {("fraction", "speaker")}
    assert [number["value"] for number in numbers] == [metric(labels, scores, None) for metric in METRICS.values()]
    assert all(number["low"] < number["value"] < number["high"] for number in numbers)
    assert numbers == multilabel_numbers(labels.tolist(), scores.tolist(), speakers=speakers)
    assert multilabel_numbers(labels, scores, 0.4)[1]["value"] == micro_f1(labels, scores, threshold=0.4)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 0], [0.1, 0.2], r"labels have shape \(2,\) .* must be \(N, C\)"),
        ([[1, 0]], [[0.1]], r"scores \(1, 1\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "N at least 1"),
        ([[1, 0], [0, 2]], [[0.1, 0.2], [0.3, 0.4]], "label 2 of item 1, class 1 is neither 0 nor 1"),
    ],
)
def test_wrong_input_is_named(metric, labels, scores, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)
