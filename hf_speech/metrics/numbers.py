"""All numbers of one evaluation, each with its interval: {name, value, low, high, unit, interval_unit}.

`value` is in `unit`; `low` and `high` are the ends of the 95 % interval in the same unit; `interval_unit` says what was
resampled for it, "speaker" or "utterance" (see bootstrap.py). All numbers of one call share their resamples. The
interval of macro-F1 can lie below its value where classes have only a handful of items: a draw then misses some of a
class's few and has others twice.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import classification, regression
from .bootstrap import bootstrap


def classification_numbers(
    labels: Sequence[int] | NDArray,
    predictions: Sequence[int] | NDArray,
    num_classes: int,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """UAR (UA), accuracy (WA) and macro-F1, as fractions.

    Args:
        labels: (N,) true classes, 0 to num_classes - 1.
        predictions: (N,) predicted classes.
        num_classes: how many there are.
        speakers: (N,) who speaks; None: not known. Where every class is one speaker, the speakers are no sample of
            others but the classes themselves, so utterances are resampled then.
        seed: of the resamples.

    Raises:
        ValueError: no items, lengths differ, or a class does not exist.
    """
    whole = classification.confusion_matrix(labels, predictions, num_classes)
    metrics = classification.METRICS | {"macro_f1": partial(classification.macro_f1, unlabelled=whole.sum(axis=1) == 0)}

    def measure(weights: NDArray) -> list[float]:
        confusion = classification.confusion_matrix(labels, predictions, num_classes, weights)
        return [metric(confusion) for metric in metrics.values()]

    _check_speakers(speakers, len(labels))
    if speakers is not None and len(set(zip(labels, speakers, strict=True))) == len(set(labels)):
        speakers = None
    return _numbers(measure, dict.fromkeys(metrics, "fraction"), len(labels), speakers, seed)


def regression_numbers(
    labels: Sequence[float] | NDArray,
    predictions: Sequence[float] | NDArray,
    unit: str,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Mean absolute error, root mean squared error and Pearson's r.

    Args:
        labels: (N,) true values.
        predictions: (N,) predicted values.
        unit: of both, in words ("years").
        speakers: (N,) who speaks; None: not known.
        seed: of the resamples.

    Raises:
        ValueError: no items, or lengths differ.
    """

    def measure(weights: NDArray) -> list[float]:
        return [metric(labels, predictions, weights) for metric in regression.METRICS.values()]

    _check_speakers(speakers, len(labels))
    units = {"mae": unit, "rmse": unit, "pearson_r": "correlation"}
    return _numbers(measure, units, len(labels), speakers, seed)


def _check_speakers(speakers: Sequence[str] | None, count: int) -> None:
    if speakers is not None and len(speakers) != count:
        raise ValueError(f"{count} items and {len(speakers)} speakers; give one speaker an item")


def _numbers(
    measure: Callable[[NDArray], list[float]],
    units: dict[str, str],
    count: int,
    speakers: Sequence[str] | None,
    seed: int,
) -> list[dict[str, Any]]:
    """`measure` gives one number for each name in `units`, in that order."""
    interval = bootstrap(measure, count if speakers is None else speakers, seed=seed)
    values = measure(np.ones(count, dtype=np.int64))
    return [
        {
            "name": name,
            "value": float(value),
            "low": float(low),
            "high": float(high),
            "unit": unit,
            "interval_unit": interval.unit,
        }
        for (name, unit), value, low, high in zip(units.items(), values, interval.low, interval.high, strict=True)
    ]
