"""The numbers of a task, by its kind: which there are, without intervals while training, with them in an evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..inference import predicted_classes, sigmoid
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

# What decides which checkpoint is best, where nobody says.
PRIMARY_METRIC = {
    "single_label_classification": "uar",
    "multi_label_classification": "macro_f1",
    "regression": "mae",
}


def metrics_of(task: Task) -> dict[str, Any]:
    """The metrics of a task: name -> function."""
    if task.problem_type == "regression":
        return dict(regression.METRICS)
    if task.problem_type == "multi_label_classification":
        return dict(multilabel.METRICS)
    return {**classification.METRICS, **(ordinal.METRICS if task.is_ordered else {})}


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
    """What a number is called: `<task>/<name>` where there are several tasks."""
    return f"{task.name}/{name}" if len(tasks) > 1 else name
