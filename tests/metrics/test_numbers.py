"""The numbers of an evaluation with their intervals."""

import numpy as np
import pytest

from hf_speech.metrics import classification_numbers, regression_numbers

FIELDS = ["name", "value", "low", "high", "unit", "interval_unit"]


def test_classification_numbers_are_whole_and_hold_their_values() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    predictions = np.where(rng.random(600) < 0.6, labels, rng.integers(0, 4, 600))
    speakers = [f"s{i % 15}" for i in range(600)]
    numbers = classification_numbers(labels, predictions, 4, speakers)
    assert [list(number) for number in numbers] == [FIELDS] * 3
    assert [number["name"] for number in numbers] == ["uar", "accuracy", "macro_f1"]
    assert {(number["unit"], number["interval_unit"]) for number in numbers} == {("fraction", "speaker")}
    assert numbers[1]["value"] == np.mean(labels == predictions)
    assert all(number["low"] < number["value"] < number["high"] for number in numbers)
    assert all(type(number[key]) is float for number in numbers for key in ("value", "low", "high"))
    assert numbers == classification_numbers(labels.tolist(), predictions.tolist(), 4, speakers)
    assert numbers != classification_numbers(labels, predictions, 4, speakers, seed=1)


def test_where_the_speakers_are_the_classes_utterances_are_resampled() -> None:
    """Else each draw would miss a third of the classes, and macro-F1 with them."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(20), 30)
    predictions = np.where(rng.random(600) < 0.7, labels, rng.integers(0, 20, 600))
    numbers = classification_numbers(labels, predictions, 20, [f"speaker {label}" for label in labels])
    assert {number["interval_unit"] for number in numbers} == {"utterance"}
    assert all(number["low"] < number["value"] < number["high"] for number in numbers)


def test_a_class_that_is_only_predicted_costs_macro_f1_in_the_interval_too() -> None:
    labels, predictions = [0] * 50 + [1] * 50, [0] * 50 + [1] * 40 + [2] * 10
    uar, _, macro_f1 = classification_numbers(labels, predictions, 3)
    assert macro_f1["value"] == pytest.approx((1 + 80 / 90 + 0) / 3)
    assert macro_f1["high"] < 2 / 3 < uar["low"]


def test_regression_numbers_carry_the_targets_unit() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(40, 10, 300)
    x = y + rng.normal(0, 5, 300)
    numbers = regression_numbers(y, x, "years", [f"s{i % 30}" for i in range(300)])
    assert [list(number) for number in numbers] == [FIELDS] * 4
    assert [(number["name"], number["unit"]) for number in numbers] == [
        ("mae", "years"),
        ("rmse", "years"),
        ("pearson_r", "correlation"),
        ("ccc", "correlation"),
    ]
    assert numbers[0]["value"] == pytest.approx(np.abs(x - y).mean())
    assert all(number["low"] < number["value"] < number["high"] for number in numbers)


def test_a_correlation_that_is_not_defined_is_nan_and_the_errors_stand() -> None:
    mae, _, r, _ = regression_numbers([30.0] * 12, list(range(24, 36)), "years")
    assert np.isnan([r["value"], r["low"], r["high"]]).all()
    assert mae["value"] == 3


@pytest.mark.parametrize(
    "numbers",
    [lambda s: classification_numbers([0, 1], [0, 1], 2, s), lambda s: regression_numbers([0, 1], [0, 1], "", s)],
)
def test_speakers_of_another_length_are_refused(numbers) -> None:
    with pytest.raises(ValueError, match="2 items and 3 speakers"):
        numbers(["a", "b", "c"])


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="no utterances to measure"):
        classification_numbers([], [], 3)
    with pytest.raises(ValueError, match="N at least 1|no utterances"):
        regression_numbers([], [], "years")
