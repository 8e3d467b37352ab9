"""Distances between classes: by hand, against the items themselves, and what must not change them."""

from collections.abc import Callable

import numpy as np
import pytest

from hf_speech.metrics import classification_numbers
from hf_speech.metrics.classification import accuracy, confusion_matrix
from hf_speech.metrics.ordinal import METRICS, UNITS, class_mae, off_by_one_accuracy, ordinal_mse


def test_numbers_by_hand() -> None:
    """Distances 0, 1, 2, 1, 3, 0."""
    confusion = confusion_matrix([0, 1, 2, 3, 0, 3], [0, 2, 0, 2, 3, 3], 4)
    assert off_by_one_accuracy(confusion) == 4 / 6
    assert ordinal_mse(confusion) == (1 + 4 + 1 + 9) / 6
    assert class_mae(confusion) == (1 + 2 + 1 + 3) / 6


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_the_items_themselves(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 6, (2, 300))
    weights = rng.integers(0, 4, 300) if weighted else None
    confusion = confusion_matrix(labels, predictions, 6, weights)
    kept = np.repeat(np.arange(300), weights) if weighted else np.arange(300)
    off = np.abs(labels[kept] - predictions[kept])
    assert off_by_one_accuracy(confusion) == pytest.approx(np.mean(off < 2))
    assert ordinal_mse(confusion) == pytest.approx(np.mean(off**2))
    codes = np.tril(np.ones((6, 6)))  # class k as k + 1 ones, then zeros
    squared = ((codes[labels[kept]] - codes[predictions[kept]]) ** 2).sum(axis=1)
    assert class_mae(confusion) == pytest.approx(squared.mean())


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_the_same_when_the_order_is_turned_round(metric: Callable[[np.ndarray], float]) -> None:
    confusion = np.random.default_rng(1).integers(0, 9, (5, 5))
    assert metric(confusion[::-1, ::-1]) == pytest.approx(metric(confusion))
    assert metric(confusion.T) == pytest.approx(metric(confusion))
    assert metric(confusion[[1, 0, 2, 3, 4]]) != pytest.approx(metric(confusion))
    assert np.isnan(metric(np.zeros((3, 3))))


def test_two_classes_are_always_adjacent_and_their_distances_are_the_errors() -> None:
    confusion = np.array([[5, 2], [1, 7]])
    assert off_by_one_accuracy(confusion) == 1
    assert ordinal_mse(confusion) == class_mae(confusion) == pytest.approx(1 - accuracy(confusion))


def test_numbers_follow_those_of_the_classes_and_leave_them_as_they_are() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, 400)
    predictions = np.clip(labels + rng.integers(-2, 3, 400), 0, 4)
    speakers = [f"s{i % 20}" for i in range(400)]
    plain = classification_numbers(labels, predictions, 5, speakers)
    ordinal = classification_numbers(labels, predictions, 5, speakers, ordinal=True)
    assert ordinal[:3] == plain
    assert {number["name"]: number["unit"] for number in ordinal[3:]} == UNITS
    assert ordinal[5]["value"] == pytest.approx(np.abs(labels - predictions).mean())
    assert all(number["low"] < number["value"] < number["high"] for number in ordinal)
