"""Regression metrics of (N,) labels and predictions, with optional (N,) weights (how many times each item counts)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mae(labels: ArrayLike, predictions: ArrayLike, weights: NDArray | None = None) -> float:
    """Mean absolute error, in the labels' unit.

    >>> mae([20.0, 30.0], [22.0, 29.0])
    1.5
    """
    y, x = _paired(labels, predictions)
    return float(np.average(np.abs(x - y), weights=weights))


def rmse(labels: ArrayLike, predictions: ArrayLike, weights: NDArray | None = None) -> float:
    """Root of the mean squared error, in the labels' unit.

    >>> rmse([20.0, 30.0], [23.0, 26.0])
    3.5355339059327378
    """
    y, x = _paired(labels, predictions)
    return float(np.sqrt(np.average((x - y) ** 2, weights=weights)))


def pearson_r(labels: ArrayLike, predictions: ArrayLike, weights: NDArray | None = None) -> float:
    """Pearson's correlation, -1 to 1; NaN where labels or predictions are all the same.

    >>> pearson_r([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.5
    """
    y, x = _paired(labels, predictions)
    counts = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    y, x, counts = y[counts > 0], x[counts > 0], counts[counts > 0]
    # Asked of the values, as the rounded mean of equal values can differ from them and leave a deviation above 0.
    if np.ptp(y) == 0 or np.ptp(x) == 0:
        return float("nan")
    y = y - np.average(y, weights=counts)
    x = x - np.average(x, weights=counts)
    return float((counts * x * y).sum() / np.sqrt((counts * x**2).sum() * (counts * y**2).sum()))


def ccc(labels: ArrayLike, predictions: ArrayLike, weights: NDArray | None = None) -> float:
    """Concordance correlation, -1 to 1: Pearson's, made less by every difference in mean and in scale.

    2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2), moments divided by N. Lin, "A concordance correlation coefficient to
    evaluate reproducibility", 1989. It is 0 where either is constant, NaN where all are one and the same value.

    >>> ccc([-1.0, 1.0], [1.0, 3.0])
    0.3333333333333333
    """
    y, x = _paired(labels, predictions)
    counts = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    y, x, counts = y[counts > 0], x[counts > 0], counts[counts > 0]
    if np.ptp(np.append(y, x)) == 0:
        return float("nan")
    mean_y, mean_x = np.average(y, weights=counts), np.average(x, weights=counts)
    covariance, *variances = (
        np.average(product, weights=counts)
        for product in ((y - mean_y) * (x - mean_x), (y - mean_y) ** 2, (x - mean_x) ** 2)
    )
    return float(2 * covariance / (sum(variances) + (mean_x - mean_y) ** 2))


def _paired(labels: ArrayLike, predictions: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both as (N,) float64; ValueError where they are not one row each, of one length, above 0."""
    y, x = np.asarray(labels, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if y.ndim != 1 or y.shape != x.shape or not y.size:
        raise ValueError(f"labels have shape {y.shape} and predictions {x.shape}; both must be (N,), N at least 1")
    return y, x


# Name -> function of labels, predictions and weights.
METRICS: dict[str, Callable[[ArrayLike, ArrayLike, NDArray | None], float]] = {
    "mae": mae,
    "rmse": rmse,
    "pearson_r": pearson_r,
    "ccc": ccc,
}
# Errors and costs of all files here, and the loss that training reports beside them: the best is the smallest.
LOWER_IS_BETTER = frozenset({"mae", "rmse", "loss", "ordinal_mse", "class_mae", "eer", "min_dcf", "min_dcf_0.05"})
LOWER_IS_BETTER |= {"act_dcf", "act_dcf_0.05", "cllr", "min_cllr"}
