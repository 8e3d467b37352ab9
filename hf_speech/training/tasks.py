"""The numbers of a task, by its kind: which there are, without intervals while training, with them in an evaluation."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics import (
    classification,
    classification_numbers,
    confusion_matrix,
    multilabel,
    multilabel_numbers,
    ordinal,
    regression,
    regression_numbers,
)
from ..models.tasks import Task
from ..outcome import predicted_classes, sigmoid
from .trials import NUMBERS

# What decides which checkpoint is best, where nobody says.
PRIMARY_METRIC = {
    "single_label_classification": "uar",
    "multi_label_classification": "macro_f1",
    "regression": "mae",
}


def metrics_of(task: Task) -> dict[str, Any]:
    """The metrics of a task: name -> function."""
    return _metrics(task.problem_type, task.is_ordered)


def _metrics(kind: str, ordered: bool) -> dict[str, Any]:
    if kind == "regression":
        return dict(regression.METRICS)
    if kind == "multi_label_classification":
        return dict(multilabel.METRICS)
    return {**classification.METRICS, **(ordinal.METRICS if ordered else {})}


def deciding(kinds: Mapping[str, str], ordered: Collection[str], trials: bool) -> tuple[str, set[str]]:
    """What decides which weights are best where nobody says, and all numbers that a validation may give.

    Args:
        kinds: task -> problem type; the first task decides.
        ordered: tasks whose classes have an order.
        trials: whether there is a list of trials among the validation rows.

    >>> deciding({"age": "regression", "emotion": "single_label_classification"}, (), trials=False)[0]
    'age/mae'
    """
    several = len(kinds) > 1
    numbers = {"loss"} | {
        named(task, name, several) for task, kind in kinds.items() for name in _metrics(kind, task in ordered)
    }
    first, kind = next(iter(kinds.items()))
    return ("eer", numbers | set(NUMBERS)) if trials else (named(first, PRIMARY_METRIC[kind], several), numbers)


def point_numbers(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The numbers of one task: (N,) or (N, C) labels and (N, C) logits -> name -> value."""
    metrics = metrics_of(task)
    if task.problem_type == "regression":
        return {name: float(metric(labels, logits[:, 0], None)) for name, metric in metrics.items()}
    if task.problem_type == "multi_label_classification":
        return {name: float(metric(labels, sigmoid(logits), None)) for name, metric in metrics.items()}
    confusion = confusion_matrix(labels, predicted_classes(logits, task), logits.shape[1])
    return {name: float(metric(confusion)) for name, metric in metrics.items()}


def interval_numbers(
    task: Task, labels: np.ndarray, logits: np.ndarray, speakers: Sequence[str] | None, unit: str, seed: int
) -> list[dict[str, Any]]:
    """The same, each with its interval; see `metrics.numbers`.

    Args:
        task: what was predicted.
        labels: (N,) or (N, C).
        logits: (N, C).
        speakers: (N,) who speaks; None: not known.
        unit: of a regression target, where the task does not say.
        seed: of the bootstrap.
    """
    if task.problem_type == "regression":
        return regression_numbers(labels, logits[:, 0], task.unit or unit, speakers, seed)
    if task.problem_type == "multi_label_classification":
        return multilabel_numbers(labels, sigmoid(logits), speakers=speakers, seed=seed)
    predicted = predicted_classes(logits, task)
    return classification_numbers(labels, predicted, len(task.labels), speakers, seed, ordinal=task.is_ordered)


def metric_name(tasks: Sequence[Task], task: Task, name: str) -> str:
    """What a number is called, see `named`."""
    return named(task.name, name, len(tasks) > 1)


def named(task: str, name: str, several: bool) -> str:
    """What a number is called: `<task>/<name>` where there are several tasks."""
    return f"{task}/{name}" if several else name
