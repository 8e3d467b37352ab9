"""Metrics of items that may have several classes at once, or none.

Labels are (N, C), 1 where an item has a class; scores (N, C) are probabilities, each on its own. An item is taken to
have every class whose score is at least the threshold; average precision looks at all thresholds.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .classification import mean_f1
from .ranking import Ranking

THRESHOLD = 0.5


def macro_f1(
    labels: ArrayLike,
    scores: ArrayLike,
    weights: NDArray | None = None,
    threshold: float = THRESHOLD,
    unlabelled: NDArray | None = None,
) -> float:
    """Mean F1 over the classes that some item has or is taken to have.

    Args:
        labels: (N, C), 0 or 1.
        scores: (N, C).
        weights: (N,) how many times each item counts; None: once.
        threshold: the lowest score that says yes.
        unlabelled: (C,) as for `classification.macro_f1`, of which this is the counterpart.

    >>> macro_f1([[1, 0], [1, 1], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.1, 0.7]])
    0.8333333333333333
    """
    return mean_f1(*_counts(labels, scores, weights, threshold), unlabelled)


def micro_f1(
    labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None, threshold: float = THRESHOLD
) -> float:
    """F1 of all yes-or-no decisions together, whatever their class; NaN where nothing is there nor predicted.

    >>> micro_f1([[1, 0], [1, 1], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.1, 0.7]])
    0.8571428571428571
    """
    hits, labelled, predicted = (counts.sum() for counts in _counts(labels, scores, weights, threshold))
    return float(2 * hits / (labelled + predicted)) if labelled + predicted > 0 else float("nan")


def exact_match(
    labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None, threshold: float = THRESHOLD
) -> float:
    """Share of the items with every class right (subset accuracy).

    >>> exact_match([[1, 0], [1, 1], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.1, 0.7]])
    0.6666666666666666
    """
    has, said = _paired(labels, scores)
    return float(np.average((has == (said >= threshold)).all(axis=1), weights=weights))


def mean_average_precision(labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None) -> float:
    """Mean over the classes that occur of their average precision; see `average_precision`.

    >>> mean_average_precision([[1, 0], [1, 1], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    0.9166666666666666
    """
    return mean_average(rank_classes(labels, scores), weights)


def rank_classes(labels: ArrayLike, scores: ArrayLike) -> list[Ranking]:
    """The items ranked for each of the C classes; what `mean_average` measures, resample after resample."""
    has, said = _paired(labels, scores)
    return [Ranking.of(has[:, c], said[:, c]) for c in range(has.shape[1])]


def mean_average(rankings: list[Ranking], weights: NDArray | None = None) -> float:
    """The mean of `average_precision` over the classes that some item has; NaN where none has one."""
    values = np.array([average_precision(ranking, weights) for ranking in rankings])
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def average_precision(ranking: Ranking, weights: NDArray | None = None) -> float:
    """Precision averaged over the recall: the sum over falling thresholds of (gain in recall) * precision.

    Manning, Raghavan & Schuetze, "Introduction to Information Retrieval", 2008, section 8.4, without interpolation;
    items of one score are taken together, so their order does not matter. NaN without hits.
    """
    hits, others = (counts[-1] - counts[:-1] for counts in ranking.below(weights))  # at or above each score
    if hits[0] == 0:
        return float("nan")
    taken = hits + others
    gained = hits - np.append(hits[1:], 0)
    precision = np.divide(hits, taken, out=np.zeros(len(taken)), where=taken > 0)
    return float((gained * precision).sum() / hits[0])


def _counts(
    labels: ArrayLike, scores: ArrayLike, weights: NDArray | None, threshold: float
) -> tuple[NDArray, NDArray, NDArray]:
    """(C,) each: how many items have a class and are said to, how many have it, how many are said to have it."""
    has, said = _paired(labels, scores)
    yes = said >= threshold
    counts = np.ones(len(has), dtype=np.int64) if weights is None else weights
    return counts @ (has & yes), counts @ has, counts @ yes


def _paired(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """(N, C) bool and (N, C) float; ValueError where they are not of one such shape, or a label is not 0 or 1."""
    has, said = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if has.ndim != 2 or has.shape != said.shape or not has.size:
        raise ValueError(f"labels have shape {has.shape} and scores {said.shape}; both must be (N, C), N at least 1")
    wrong = np.argwhere((has != 0) & (has != 1))
    if len(wrong):
        item, column = wrong[0]
        raise ValueError(f"label {has[item, column]} of item {item}, class {column} is neither 0 nor 1")
    return has.astype(bool), said


# Name -> function of labels, scores and weights; all are shares from 0 to 1, NaN where there is nothing to measure.
METRICS: dict[str, Callable[[ArrayLike, ArrayLike, NDArray | None], float]] = {
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "mean_average_precision": mean_average_precision,
    "exact_match": exact_match,
}
