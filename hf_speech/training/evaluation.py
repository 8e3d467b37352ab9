"""A model measured on rows: numbers with intervals, the confusion, and every prediction kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..files import write_table
from ..inference import MAX_SECONDS, describe, infer
from ..metrics import classification_numbers, confusion_matrix, regression_numbers
from ..plots import FILE_NAMES, plot_confusion, plot_numbers, plot_regression
from ..results import metric_rows
from .arguments import RunConfig
from .facts import data_name
from .rows import RunRows, item_ids


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one split.

    Attributes:
        metrics: rows for results.json, each a number with its interval.
        confusion: {labels, counts}, rows are labels; None for regression.
        predictions: a table an utterance: id, speaker, label, and label and scores, or value, as predicted.
    """

    metrics: list[dict[str, Any]]
    confusion: dict[str, Any] | None
    predictions: list[dict[str, Any]]


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
    """
    logits = infer(
        model, feature_extractor, rows, max_seconds=max_seconds, channel=channel, description=f"evaluating {split}"
    ).logits
    ids = item_ids(rows, root)
    speakers = _speakers(rows)
    labels = np.asarray(rows["labels"])
    if model.config.problem_type == "regression":
        numbers = regression_numbers(labels, logits[:, 0], unit or "", speakers, seed)
        confusion, written = None, [float(value) for value in labels]
    else:
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        numbers = classification_numbers(labels, logits.argmax(-1), len(names), speakers, seed)
        counts = confusion_matrix(labels, logits.argmax(-1), len(names))
        confusion, written = {"labels": names, "counts": counts.tolist()}, [names[i] for i in labels]
    predictions = []
    for i, (item, label) in enumerate(zip(ids, written, strict=True)):
        said = describe(logits[i], model.config)
        predicted = {"predicted": said["value"]} if "value" in said else {"predicted": said["label"], **said["scores"]}
        predictions.append({"id": item, "speaker_id": speakers[i] if speakers else "", "label": label, **predicted})
    return Evaluation(metric_rows(numbers, dataset=dataset, split=split, ids=ids), confusion, predictions)


def evaluate_split(config: RunConfig, rows: RunRows, split: str, model: Any, extractor: Any, seed: int) -> Evaluation:
    """`evaluate_rows` on one split of a run, as its arguments say."""
    return evaluate_rows(
        model,
        extractor,
        rows.splits[split],
        dataset=data_name(config),
        split=split,
        root=config.data.dataset,
        unit=config.run.unit,
        max_seconds=config.data.max_seconds,
        channel=config.data.channel,
        seed=seed,
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
    if evaluation.confusion is not None:
        plot_confusion(evaluation.confusion, folder / FILE_NAMES["confusion"])
    else:
        labels, predicted = zip(*((row["label"], row["predicted"]) for row in evaluation.predictions), strict=True)
        plot_regression(labels, predicted, unit or "", folder / FILE_NAMES["regression"])
