"""What probes said of tested rows, measured: utterance by utterance, recording by recording, by gender."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.schema import item_ids
from ...models.tasks import Task
from ...results import group_of, metric_rows
from ...training.config import RunConfig
from ...training.facts import data_name
from ...training.groups import group_numbers, groups_of
from ...training.tasks import interval_numbers, point_numbers
from .parts import SweepRows

UTTERANCE, RECORDING = "utterance", "recording"


def task_of(config: RunConfig, names: Sequence[str] | None) -> Task:
    """What is predicted, as the numbers want to know it.

    Args:
        config: fields of a run.
        names: of the classes; None: a number is predicted.
    """
    target = config.data.target
    if names is None:
        return Task(target, (target,), loss="mse", unit=config.run.unit)
    ordered = config.head.ordered or config.head.head == "ordinal"
    return Task(target, tuple(names), ordered=ordered, bins=config.data.bins)


def score(task: Task, metric: str, labels: NDArray, predicted: NDArray) -> float:
    """One number of predictions: (n,) labels, (n,) class numbers or values."""
    return point_numbers(task, labels, _logits(task, predicted))[metric]


def _logits(task: Task, predicted: NDArray) -> NDArray:
    """(n,) predictions as a model gives them, (n, C): what is said has all the weight."""
    if task.problem_type == "regression":
        return predicted[:, None]
    # A class below an ordinal median has to be out of the question, not only less likely.
    return np.where(predicted[:, None] == np.arange(len(task.labels)), 0.0, -1e3)


@dataclass(frozen=True)
class Items:
    """What is measured: utterances, or recordings.

    Attributes:
        level: "utterance" or "recording".
        ids: (n,) their names.
        labels: (n,).
        speakers: (n,) who speaks; None: not known.
        genders: (n,) of the speakers; None: there is one, or none is known.
        members: (n,) the places of the rows that each consists of.
    """

    level: str
    ids: list[str]
    labels: NDArray
    speakers: list[str] | None
    genders: list[str | None] | None
    members: list[NDArray]

    def predicted(self, said: NDArray) -> NDArray:
        """(N,) what was said of each row -> (n,) of each item: the median of its rows."""
        if self.level == UTTERANCE:
            return said[np.concatenate(self.members)]
        return np.array([np.median(said[rows]) for rows in self.members])


def items_of(rows: SweepRows, task: Task, tested: NDArray) -> list[Items]:
    """The utterances that are tested; and where a number is predicted, the recordings that they are segments of.

    Args:
        rows: all rows.
        task: what is predicted.
        tested: places of those that are tested.
    """
    table = rows.all.select(tested)
    speakers = rows.speakers
    who = None if speakers is None else [speakers[place] for place in tested]
    genders = groups_of(table).get("gender")
    ids = item_ids(table, rows.rows.root)
    single = [np.array([place]) for place in tested]
    found = [Items(UTTERANCE, ids, rows.labels[tested], who, genders, single)]
    recordings = list(table["recording_id"]) if "recording_id" in table.column_names else [None]
    if task.problem_type != "regression" or any(recording is None for recording in recordings):
        return found
    # A recording of several speakers, as of a meeting, is one of each.
    names = [f"{who[i]}/{name}" if who else str(name) for i, name in enumerate(recordings)]
    of_name: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        of_name.setdefault(name, []).append(i)
    groups = list(of_name.values())
    whole = Items(
        RECORDING,
        list(of_name),
        np.array([np.median(rows.labels[tested[group]]) for group in groups]),
        None if who is None else [who[group[0]] for group in groups],
        None if genders is None else [genders[group[0]] for group in groups],
        [tested[group] for group in groups],
    )
    return [*found, whole]


def guessed(rows: SweepRows, task: Task, items: Items) -> dict[str, float]:
    """What whoever hears nothing scores: metric -> value.

    UAR is 1 over the classes that occur. Accuracy is that of naming the most frequent class of the training rows, the
    absolute error that of their median, the squared one that of their mean, part by part.

    Args:
        rows: all rows.
        task: what is predicted.
        items: that are measured.
    """

    def told(guess: Callable[[NDArray], float]) -> NDArray:
        said = np.full(len(rows.labels), np.nan)
        for part in rows.parts:
            said[part.places[part.tested]] = guess(rows.labels[part.places["train"]])
        return items.predicted(said)

    if task.problem_type == "regression":
        absolute, squared = told(np.median) - items.labels, told(np.mean) - items.labels
        return {"mae": float(np.abs(absolute).mean()), "rmse": float(np.sqrt((squared**2).mean()))}
    most = told(lambda labels: float(np.bincount(labels).argmax()))
    return {"uar": 1 / len(np.unique(items.labels)), "accuracy": float((most == items.labels).mean())}


def measured(
    config: RunConfig, task: Task, items: Items, said: NDArray, split: str, marks: Mapping[str, Any], seed: int
) -> list[dict[str, Any]]:
    """The numbers of a probe with their intervals, of all items and by gender.

    Args:
        config: fields of a run.
        task: what is predicted.
        items: that are measured.
        said: (N,) of every row.
        split: what is tested.
        marks: of the probe: its name, its layer.
        seed: of the bootstrap.

    Returns:
        Rows for results.json, with the marks, `level` and `group` in them.
    """
    logits = _logits(task, items.predicted(said))
    found = [(split, np.arange(len(items.ids)), interval_numbers(
        task, items.labels, logits, items.speakers, config.run.unit or "", seed))]  # fmt: skip
    if items.genders is not None:
        groups = {"gender": items.genders}
        of_groups = group_numbers(task, items.labels, logits, groups, items.speakers, config.run.unit or "", seed)
        found += [(f"{split}, {name}", places, numbers) for name, places, numbers in of_groups]
    rows = []
    for part, places, numbers in found:
        told = metric_rows(numbers, dataset=data_name(config), split=part, ids=[items.ids[i] for i in places])
        rows += [{**marks, "level": items.level, "group": group_of(row)[1] or "all", **row} for row in told]
    return rows
