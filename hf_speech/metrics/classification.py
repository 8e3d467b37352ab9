"""Classification metrics: one pass over the items to a confusion matrix, every number from there.

The field has two names for each: UAR (unweighted average recall) is UA, accuracy is WA (weighted accuracy); Schuller,
Steidl & Batliner, "The INTERSPEECH 2009 Emotion Challenge", 2009.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int, weights: ArrayLike | None = None
) -> NDArray:
    """How often each class was taken for each.

    Args:
        labels: (N,) true classes, whole numbers from 0.
        predictions: (N,) predicted classes.
        num_classes: C.
        weights: (N,) how many times each item counts (the bootstrap's draws); None: once.

    Returns:
        (C, C) rows are labels, columns predictions; whole numbers unless the weights are not.

    Raises:
        ValueError: lengths differ, or a class is not one of 0 to C - 1.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2)
    array([[1, 1],
           [0, 1]])
    """
    rows, columns = _classes(labels, num_classes, "label"), _classes(predictions, num_classes, "prediction")
    if rows.shape != columns.shape:
        raise ValueError(f"{rows.size} labels and {columns.size} predictions; give one prediction a label")
    cells = np.bincount(rows * num_classes + columns, weights, minlength=num_classes**2)
    whole = weights is None or np.issubdtype(np.asarray(weights).dtype, np.integer)
    return cells.reshape(num_classes, num_classes).astype(np.int64 if whole else np.float64)


def accuracy(confusion: NDArray) -> float:
    """Share of the items that are right (WA). Shape: confusion (C, C)."""
    return float(_share(np.trace(confusion), confusion.sum()))


def uar(confusion: NDArray) -> float:
    """Mean recall over the classes that occur in the labels (UA). Shape: confusion (C, C)."""
    counts = confusion.sum(axis=1)
    return _mean_where(_share(np.diagonal(confusion), counts), counts > 0)


def macro_f1(confusion: NDArray, unlabelled: NDArray | None = None) -> float:
    """Mean F1 over the classes that occur in labels or predictions.

    F1 = 2 hits / (labels + predictions) of the class: the harmonic mean of precision and recall, 0 where both are 0.

    Args:
        confusion: (C, C).
        unlabelled: (C,) True at the classes that count, with F1 0, though they occur in predictions only; None: all.
            A resample names those that had no label before it either: a class missed by the draw is no mistake.
    """
    return mean_f1(np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0), unlabelled)


def mean_f1(hits: NDArray, labelled: NDArray, predicted: NDArray, unlabelled: NDArray | None = None) -> float:
    """`macro_f1` from (C,) counts of each class: right, in the labels, in the predictions."""
    occurs = (labelled > 0) | ((predicted > 0) & (True if unlabelled is None else unlabelled))
    return _mean_where(_share(2 * hits, labelled + predicted), occurs)


def _classes(values: ArrayLike, num_classes: int, what: str) -> NDArray:
    array = np.asarray(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ValueError(f"{what}s must be one row of whole numbers, not {array.dtype} of shape {array.shape}")
    wrong = np.flatnonzero((array < 0) | (array >= num_classes))
    if wrong.size:
        raise ValueError(f"{what} {array[wrong[0]]} of item {wrong[0]} is not a class; valid: 0 to {num_classes - 1}")
    return array.astype(np.int64)


def _share(part: NDArray, whole: NDArray) -> NDArray:
    """Part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def _mean_where(values: NDArray, occurs: NDArray) -> float:
    return float(values[occurs].mean()) if occurs.any() else float("nan")


# Name -> function of the confusion matrix; all are shares from 0 to 1, NaN where there is nothing to measure.
METRICS: dict[str, Callable[[NDArray], float]] = {"uar": uar, "accuracy": accuracy, "macro_f1": macro_f1}
