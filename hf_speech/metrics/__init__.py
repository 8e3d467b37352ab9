"""Predictions to numbers, each with the interval it is uncertain by.

How to read this folder:

    classification  confusion matrix -> UAR (UA), accuracy (WA), macro-F1
    ordinal         confusion matrix of classes in an order -> off-by-one accuracy, squared and absolute distance
    multilabel      labels, scores of several classes an item -> macro-F1, micro-F1, average precision, exact match
    regression      labels, predictions -> mean absolute error, root mean squared error, Pearson's r, concordance
    verification    labels, scores of trials -> the curve of error rates, EER, minDCF, actDCF, Cllr
    ranking         items in the order of their scores, ties taken together: what the curves are counted on
    bootstrap       any of these, resampled by speaker -> 95 % interval
    numbers         the three together: what results.json holds
    metrics         the same for `evaluate.load("<this folder>", "classification")`; slow to load, so not imported here
"""

from .bootstrap import Interval, bootstrap, bootstrap_trials
from .classification import METRICS as CLASSIFICATION_METRICS
from .classification import confusion_matrix
from .multilabel import METRICS as MULTILABEL_METRICS
from .numbers import classification_numbers, multilabel_numbers, regression_numbers, verification_numbers
from .ordinal import METRICS as ORDINAL_METRICS
from .regression import METRICS as REGRESSION_METRICS
from .verification import Roc, act_dcf, cllr, eer, min_cllr, min_dcf, roc

__all__ = [
    "CLASSIFICATION_METRICS",
    "MULTILABEL_METRICS",
    "ORDINAL_METRICS",
    "REGRESSION_METRICS",
    "Interval",
    "Roc",
    "act_dcf",
    "bootstrap",
    "bootstrap_trials",
    "classification_numbers",
    "cllr",
    "confusion_matrix",
    "eer",
    "min_cllr",
    "min_dcf",
    "multilabel_numbers",
    "regression_numbers",
    "roc",
    "verification_numbers",
]
