"""Means, spreads and intervals over folds and runs, by hand and against resamples of our own."""

import numpy as np
import pytest

from hf_speech.experiments.fold_numbers import FoldPart, fold_numbers, spreads
from hf_speech.metrics.numbers import Measure, classification_measure


def test_the_spreads_of_ft_ser_by_hand() -> None:
    """Two runs of three folds; population deviations: of (0, 3, 6) sqrt(6), of (2, 2, 2) 0."""
    found = spreads(np.array([[0.0, 3.0, 6.0], [2.0, 2.0, 2.0]]))
    assert found == pytest.approx(
        {
            "mean": 2.5,
            "fold_std": (6**0.5 + 0) / 2,
            "fold_median": (3 + 2) / 2,
            "run_std": 0.5,  # of the means 3 and 2
            "run_median": 2.5,
        }
    )


def shares(right: np.ndarray) -> Measure:
    """The share of the items that are right: a measure whose resamples are known."""
    return Measure({"share": "fraction"}, len(right), lambda weights: [float((weights * right).sum() / weights.sum())])


def test_every_fold_counts_the_same_whatever_its_size() -> None:
    """Nine of nine right and none of one: the mean of the folds is a half, not nine tenths."""
    parts = [[FoldPart(shares(np.ones(9)), np.arange(9)), FoldPart(shares(np.zeros(1)), np.array([9]))]]
    (row,) = fold_numbers(parts, 10)
    assert row["value"] == 0.5 and row["fold_std"] == 0.5 and row["run_std"] == 0.0
    assert row["interval_unit"] == "utterance"


def test_the_interval_is_that_of_drawing_folds_where_a_fold_is_a_speaker() -> None:
    """Forty speakers, a fold each, right or wrong as a whole: the mean is binomial."""
    right = np.repeat(np.arange(40) % 4 != 0, 5).astype(float)  # three quarters
    speakers = [f"s{i // 5:02}" for i in range(200)]
    parts = [[FoldPart(shares(right[5 * f : 5 * f + 5]), np.arange(5 * f, 5 * f + 5)) for f in range(40)]]
    (row,) = fold_numbers(parts, speakers, seed=1)
    deviation = (0.75 * 0.25 / 40) ** 0.5
    assert row["value"] == pytest.approx(0.75) and row["interval_unit"] == "speaker"
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * deviation, rel=0.12)


def test_runs_of_one_fold_share_their_resamples() -> None:
    """A second run with the same predictions adds nothing, so it changes no interval."""
    labels, predictions = np.arange(30) % 3, (np.arange(30) * 7 % 5) % 3
    part = FoldPart(classification_measure(labels, predictions, 3), np.arange(30))
    once, twice = fold_numbers([[part]], 30), fold_numbers([[part], [part]], 30)
    assert [{**row, "run_std": 0, "run_median": 0} for row in once] == [
        {**row, "run_std": 0, "run_median": 0} for row in twice
    ]


def test_a_run_that_lacks_a_fold_is_refused() -> None:
    part = FoldPart(shares(np.ones(2)), np.arange(2))
    with pytest.raises(ValueError, match="give every run all folds"):
        fold_numbers([[part, part], [part]], 2)
