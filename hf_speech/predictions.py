"""What a finished run predicted, read from its folder: what the numbers of several runs together are computed of."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .data.multilabel import SEPARATOR
from .errors import InputError
from .metrics.numbers import Measure, classification_measure, multilabel_measure, regression_measure
from .results import Results

FILE_NAME = "predictions.csv"


@dataclass(frozen=True)
class Predictions:
    """The predictions of one task.

    Attributes:
        ids: (n,) names of the utterances.
        speakers: (n,) who speaks; "" where that is not known.
        labels: (n,) labels as predictions.csv has them.
        measure: the numbers of these.
    """

    ids: list[str]
    speakers: list[str]
    labels: list[str]
    measure: Measure


def read_predictions(folder: Path, results: Results) -> dict[str, Predictions]:
    """Task -> what a run predicted on the split that it was measured on last, its test rows if it has any.

    Args:
        folder: of the run.
        results: what its results.json holds.

    Raises:
        InputError: predictions.csv is not there, or not of these results.
    """
    path = folder / FILE_NAME
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); run it again in another folder") from error
    tasks = results.model.get("tasks") or [{"name": "label", **results.model}]
    found = {}
    for task in tasks:
        prefix = f"{task['name']}/" if len(tasks) > 1 else ""
        labelled = [row for row in rows if row.get(f"{prefix}label", "") != ""]
        try:
            measure = _measure(task, prefix, labelled, results.data.get("unit", ""))
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: is not of the results beside it ({error}); run it again") from error
        found[task["name"]] = Predictions(
            [row["id"] for row in labelled],
            [row["speaker_id"] for row in labelled],
            [row[f"{prefix}label"] for row in labelled],
            measure,
        )
    return found


def _measure(task: Mapping[str, Any], prefix: str, rows: list[dict[str, str]], unit: str) -> Measure:
    labels = [row[f"{prefix}label"] for row in rows]
    predicted = [row[f"{prefix}predicted"] for row in rows]
    if task["problem_type"] == "regression":
        return regression_measure(np.array(labels, float), np.array(predicted, float), task.get("unit") or unit)
    names = list(task["labels"])
    if task["problem_type"] == "multi_label_classification":
        has = np.array([[int(name in label.split(SEPARATOR)) for name in names] for label in labels])
        return multilabel_measure(has, np.array([[float(row[f"{prefix}{name}"]) for name in names] for row in rows]))
    number = {name: i for i, name in enumerate(names)}
    return classification_measure(
        np.array([number[label] for label in labels], dtype=np.int64),
        np.array([number[label] for label in predicted], dtype=np.int64),
        len(names),
        ordinal=bool(task.get("ordered")),
    )
