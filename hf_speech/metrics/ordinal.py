"""Metrics of classes that stand in an order (decades of age): how far off, not only whether.

All are functions of the confusion matrix (classification.py) and count distances in classes: class 3 taken for class 1
is 2 off.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def off_by_one_accuracy(confusion: NDArray) -> float:
    """Share of the items whose prediction is right or an adjacent class. Shape: confusion (C, C)."""
    return _mean(confusion, _distances(confusion) <= 1)


def ordinal_mse(confusion: NDArray) -> float:
    """Mean squared distance between label and prediction, in classes squared. Shape: confusion (C, C)."""
    return _mean(confusion, _distances(confusion) ** 2)


def class_mae(confusion: NDArray) -> float:
    """Mean distance between label and prediction, in classes. Shape: confusion (C, C).

    It is also the summed squared difference of their cumulative codes (class k as k ones, then zeros), since these
    differ in as many places: the number that ordinal regression is trained on.
    """
    return _mean(confusion, _distances(confusion))


def _distances(confusion: NDArray) -> NDArray:
    classes = np.arange(len(confusion))
    return np.abs(classes[:, None] - classes)


def _mean(confusion: NDArray, values: NDArray) -> float:
    """The mean of one value for each cell over the items; NaN where there are none."""
    total = confusion.sum()
    return float((confusion * values).sum() / total) if total > 0 else float("nan")


# Name -> function of the confusion matrix; NaN where there is nothing to measure.
METRICS: dict[str, Callable[[NDArray], float]] = {
    "off_by_one_accuracy": off_by_one_accuracy,
    "ordinal_mse": ordinal_mse,
    "class_mae": class_mae,
}
UNITS = {"off_by_one_accuracy": "fraction", "ordinal_mse": "classes squared", "class_mae": "classes"}
