"""Predictions to numbers, each with the interval it is uncertain by.

How to read this folder:

    classification  confusion matrix -> UAR (UA), accuracy (WA), macro-F1
    regression      labels, predictions -> mean absolute error, root mean squared error, Pearson's r
    bootstrap       any of these, resampled by speaker -> 95 % interval
    numbers         the three together: what results.json holds
    metrics         the same for `evaluate.load("<this folder>", "classification")`; slow to load, so not imported here
"""

from .bootstrap import Interval, bootstrap
from .classification import METRICS as CLASSIFICATION_METRICS
from .classification import confusion_matrix
from .numbers import classification_numbers, regression_numbers
from .regression import METRICS as REGRESSION_METRICS

__all__ = [
    "CLASSIFICATION_METRICS",
    "REGRESSION_METRICS",
    "Interval",
    "bootstrap",
    "classification_numbers",
    "confusion_matrix",
    "regression_numbers",
]
