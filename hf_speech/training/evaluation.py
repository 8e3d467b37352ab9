"""A model measured on rows: numbers with intervals, the confusion, and every prediction kept."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..data.frozen import FROZEN
from ..data.multilabel import SEPARATOR
from ..data.schema import item_ids
from ..data.targets import known, labels_of
from ..files import write_table
from ..inference import infer, tasks_of
from ..metrics import confusion_matrix
from ..metrics.verification import Roc
from ..models.tasks import Task
from ..outcome import MAX_SECONDS, Inference, describe, predicted_classes
from ..plots import FILE_NAMES, plot_confusion, plot_name, plot_numbers, plot_regression
from ..results import group_of, metric_rows
from .config import RunConfig
from .facts import data_name
from .groups import Groups, group_numbers, groups_of
from .pictures import draw_map
from .rows import RunRows
from .tasks import interval_numbers, metric_name
from .trials import ValidationTrials

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one split.

    Attributes:
        tasks: what was predicted.
        metrics: rows for results.json, each a number with its interval; those of groups of utterances stand last.
        confusions: task -> {labels, counts}, rows are labels; of tasks with one label an utterance.
        predictions: a table an utterance: id, speaker, label, and label and scores, or value, as predicted; with
            several tasks, each column as `<task>/<column>`.
        embeddings: (N, E) of the same utterances; None: the model gives none.
        curve: error rates of the trials among the utterances; None: there are no trials.
        pace: seconds of audio a second that went through the whole model, files being read; None: not the whole model.
    """

    tasks: tuple[Task, ...]
    metrics: list[dict[str, Any]]
    confusions: dict[str, dict[str, Any]]
    predictions: list[dict[str, Any]]
    embeddings: np.ndarray | None = None
    curve: Roc | None = None
    pace: float | None = None

    @property
    def confusion(self) -> dict[str, Any] | None:
        """That of the first task that has one."""
        return next(iter(self.confusions.values()), None)


@dataclass(frozen=True)
class _Measured:
    """Rows whose numbers are taken: what all tasks share.

    Attributes:
        dataset: name of the data.
        split: name of the split.
        ids: (N,) names of the rows.
        speakers: (N,) who speaks; None: not known.
        groups: column -> (N,) group of each row.
        unit: of a regression target that does not say.
        seed: of the bootstrap.
    """

    dataset: str
    split: str
    ids: list[str]
    speakers: list[str] | None
    groups: Groups
    unit: str
    seed: int

    def numbers(
        self, tasks: tuple[Task, ...], task: Task, labels: np.ndarray, logits: np.ndarray, there: np.ndarray
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The numbers of a task on the rows that have a label of it, and those of the groups among them.

        Args:
            tasks: all there are.
            task: the one that is measured.
            labels: (K,) or (K, C) of those rows.
            logits: (K, C).
            there: (K,) which of the rows they are.
        """
        who = None if self.speakers is None else [self.speakers[i] for i in there]
        own = {column: [groups[i] for i in there] for column, groups in self.groups.items()}
        found = interval_numbers(task, labels, logits, who, self.unit, self.seed)
        whole = self._rows(tasks, task, found, there, self.split)
        of_groups: list[dict[str, Any]] = []
        for name, places, found in group_numbers(task, labels, logits, own, who, self.unit, self.seed):
            of_groups += self._rows(tasks, task, found, there[places], f"{self.split}, {name}")
        return whole, of_groups

    def _rows(
        self, tasks: tuple[Task, ...], task: Task, numbers: list[dict[str, Any]], places: np.ndarray, split: str
    ) -> list[dict[str, Any]]:
        named = [{**number, "name": metric_name(tasks, task, number["name"])} for number in numbers]
        return metric_rows(named, dataset=self.dataset, split=split, ids=[self.ids[i] for i in places])


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
    by_group: bool = True,
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
        by_group: whether groups of speakers are measured too, see `groups.group_numbers`.
    """
    logger.info("evaluating %s: %d utterances", split, len(rows))
    begun = time.perf_counter()
    outcome = infer(
        model, feature_extractor, rows, max_seconds=max_seconds, channel=channel, description=f"evaluating {split}"
    )
    seconds = time.perf_counter() - begun
    ids, speakers = item_ids(rows, root), _speakers(rows)
    tasks = tasks_of(model)
    labels = labels_of(rows, [task.name for task in tasks])
    measured = _Measured(dataset, split, ids, speakers, groups_of(rows) if by_group else {}, unit or "", seed)
    metrics: list[dict[str, Any]] = []
    curve = None
    if trials is not None and outcome.embeddings is not None:
        metrics += trials.rows(outcome.embeddings, speakers, dataset=dataset, split=split, seed=seed)
        curve = trials.curve(outcome.embeddings)
    predictions: list[dict[str, Any]] = [
        {"id": item, "speaker_id": speakers[i] if speakers else ""} for i, item in enumerate(ids)
    ]
    of_tasks, confusions = _measure(measured, tasks, labels, outcome, predictions)
    pace = None if FROZEN in rows.column_names else float(sum(rows["duration"])) / seconds
    return Evaluation(tasks, metrics + of_tasks, confusions, predictions, outcome.embeddings, curve, pace)


def _measure(
    measured: _Measured,
    tasks: tuple[Task, ...],
    labels: Mapping[str, np.ndarray],
    outcome: Inference,
    predictions: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The numbers of all tasks, those of groups last, and the confusions; what is predicted goes into the tables."""
    metrics: list[dict[str, Any]] = []
    of_groups: list[dict[str, Any]] = []
    confusions: dict[str, dict[str, Any]] = {}
    for task in tasks:
        there = np.flatnonzero(known(labels[task.name]))
        true, logits = labels[task.name][there], outcome.task_logits[task.name]
        for row, said in zip(predictions, _told(task, labels[task.name], logits), strict=True):
            row.update({metric_name(tasks, task, name): value for name, value in said.items()})
        if not len(there):
            logger.warning("%s: no row has a value of %s, which is not measured there", measured.split, task.name)
            continue
        whole, more = measured.numbers(tasks, task, true, logits[there], there)
        metrics += whole
        of_groups += more
        if task.problem_type == "single_label_classification":
            counts = confusion_matrix(true, predicted_classes(logits[there], task), len(task.labels))
            confusions[task.name] = {"labels": list(task.labels), "counts": counts.tolist()}
    return metrics + of_groups, confusions


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
    """`evaluate_rows` on one split of a run, as its arguments say; its trials are those of the validation rows.

    Groups of speakers are told of on what is held out, and on validation rows only where there is nothing else.
    """
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
        by_group=split == "test" or "test" not in rows.splits,
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
    numbers = [number for number in evaluation.metrics if not group_of(number)[1]]
    if any(number["value"] is not None for number in numbers):  # a diverged model has none
        plot_numbers(numbers, folder / FILE_NAMES["numbers"])
    draw_map(evaluation, folder / FILE_NAMES["map"])
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
