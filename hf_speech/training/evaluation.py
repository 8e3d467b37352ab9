"""A model measured on rows: numbers with intervals, the confusion, and every prediction kept."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..data.multilabel import SEPARATOR
from ..data.schema import item_ids
from ..data.targets import known, labels_of
from ..files import write_table
from ..inference import MAX_SECONDS, describe, infer, predicted_classes, tasks_of
from ..metrics import confusion_matrix
from ..models.tasks import Task
from ..plots import FILE_NAMES, plot_confusion, plot_name, plot_numbers, plot_regression
from ..results import metric_rows
from .config import RunConfig
from .facts import data_name
from .rows import RunRows
from .tasks import interval_numbers, metric_name
from .trials import ValidationTrials

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one split.

    Attributes:
        tasks: what was predicted.
        metrics: rows for results.json, each a number with its interval.
        confusions: task -> {labels, counts}, rows are labels; of tasks with one label an utterance.
        predictions: a table an utterance: id, speaker, label, and label and scores, or value, as predicted; with
            several tasks, each column as `<task>/<column>`.
    """

    tasks: tuple[Task, ...]
    metrics: list[dict[str, Any]]
    confusions: dict[str, dict[str, Any]]
    predictions: list[dict[str, Any]]

    @property
    def confusion(self) -> dict[str, Any] | None:
        """That of the first task that has one."""
        return next(iter(self.confusions.values()), None)


def evaluate_rows(
    model: Any,
    feature_extractor: Any,
    rows: Dataset,
    *,
    dataset: str,
    split: str,
    root: str | None = None,
    unit: str | None = None,
    max_seconds: float = MAX_SECONDS,
    channel: int | str = "mean",
    seed: int = 0,
    trials: ValidationTrials | None = None,
) -> Evaluation:
    """Predicts rows and measures the predictions against their `labels`.

    Args:
        model: an audio classifier.
        feature_extractor: the model's.
        rows: N rows with `labels`, and `speaker_id` if speakers are known: intervals are then resampled by speaker.
        dataset: name of the data, for the numbers.
        split: name of the split.
        root: the data set's folder or table, so that ids are relative to it.
        unit: of a regression target.
        max_seconds: see `inference.infer`.
        channel: of multi-channel files.
        seed: of the bootstrap.
        trials: among the rows; their numbers stand first.
    """
    logger.info("evaluating %s: %d utterances", split, len(rows))
    outcome = infer(
        model, feature_extractor, rows, max_seconds=max_seconds, channel=channel, description=f"evaluating {split}"
    )
    ids, speakers = item_ids(rows, root), _speakers(rows)
    tasks = tasks_of(model)
    labels = labels_of(rows, [task.name for task in tasks])
    metrics: list[dict[str, Any]] = []
    if trials is not None and outcome.embeddings is not None:
        metrics += trials.rows(outcome.embeddings, speakers, dataset=dataset, split=split, seed=seed)
    confusions: dict[str, dict[str, Any]] = {}
    predictions: list[dict[str, Any]] = [
        {"id": item, "speaker_id": speakers[i] if speakers else ""} for i, item in enumerate(ids)
    ]
    for task in tasks:
        there = np.flatnonzero(known(labels[task.name]))
        true, logits = labels[task.name][there], outcome.task_logits[task.name]
        for row, said in zip(predictions, _told(task, labels[task.name], logits), strict=True):
            row.update({metric_name(tasks, task, name): value for name, value in said.items()})
        if not len(there):
            logger.warning("%s: no row has a value of %s, which is not measured there", split, task.name)
            continue
        who = None if speakers is None else [speakers[i] for i in there]
        numbers = interval_numbers(task, true, logits[there], who, unit or "", seed)
        for number in numbers:
            number["name"] = metric_name(tasks, task, number["name"])
        metrics += metric_rows(numbers, dataset=dataset, split=split, ids=[ids[i] for i in there])
        if task.problem_type == "single_label_classification":
            counts = confusion_matrix(true, predicted_classes(logits[there], task), len(task.labels))
            confusions[task.name] = {"labels": list(task.labels), "counts": counts.tolist()}
    return Evaluation(tasks, metrics, confusions, predictions)


def _told(task: Task, labels: np.ndarray, logits: np.ndarray) -> Iterator[dict[str, Any]]:
    """The columns of predictions.csv for one task, a table a row; an empty label is not known."""
    for label, there, row in zip(labels, known(labels), logits, strict=True):
        said = describe(row, task)
        if "value" in said:
            yield {"label": float(label) if there else "", "predicted": said["value"]}
        elif "labels" in said:
            has = [name for name, one in zip(task.labels, label, strict=True) if one == 1]
            yield {"label": SEPARATOR.join(has), "predicted": SEPARATOR.join(said["labels"]), **said["scores"]}
        else:
            yield {"label": task.labels[label] if there else "", "predicted": said["label"], **said["scores"]}


def evaluate_split(
    config: RunConfig,
    rows: RunRows,
    split: str,
    model: Any,
    extractor: Any,
    seed: int,
    trials: ValidationTrials | None = None,
) -> Evaluation:
    """`evaluate_rows` on one split of a run, as its arguments say; its trials are those of the validation rows."""
    return evaluate_rows(
        model,
        extractor,
        rows.splits[split],
        dataset=data_name(config),
        split=split,
        root=rows.root,
        unit=config.run.unit,
        max_seconds=config.batches.max_seconds,
        channel=config.data.channel,
        seed=seed,
        trials=trials if split == "validation" else None,
    )


def _speakers(rows: Dataset) -> list[str] | None:
    """Who speaks in each row; None where that is not known of every row."""
    if "speaker_id" not in rows.column_names:
        return None
    speakers = [speaker for speaker in rows["speaker_id"]]
    return None if any(speaker is None for speaker in speakers) else [str(speaker) for speaker in speakers]


def write_evaluation(evaluation: Evaluation, folder: Path, unit: str | None = None) -> None:
    """Writes predictions.csv and the plots into a folder."""
    write_table(evaluation.predictions, folder / "predictions.csv")
    if any(number["value"] is not None for number in evaluation.metrics):  # a diverged model has none
        plot_numbers(evaluation.metrics, folder / FILE_NAMES["numbers"])
    for task in evaluation.tasks:
        ending = f"-{task.name}" if len(evaluation.tasks) > 1 else ""
        if task.name in evaluation.confusions:
            plot_confusion(evaluation.confusions[task.name], folder / plot_name("confusion", ending))
        elif task.problem_type == "regression":
            columns = [metric_name(evaluation.tasks, task, name) for name in ("label", "predicted")]
            pairs = [[row[column] for column in columns] for row in evaluation.predictions if row[columns[0]] != ""]
            if pairs:
                true, predicted = zip(*pairs, strict=True)
                plot_regression(true, predicted, task.unit or unit or "", folder / plot_name("regression", ending))
