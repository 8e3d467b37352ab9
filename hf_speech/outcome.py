"""What a model said of utterances, whichever runtime asked it: pieces averaged, logits as labels, and in words.

Of numpy alone, so that a model that is served without torch is told of without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

MAX_SECONDS = 30.0  # longer utterances are cut into pieces, which bounds memory
BATCH_SECONDS = 60.0  # padded seconds in a batch
# The same on a CPU, where larger products are no faster and memory costs more; a transformer's in 16 bits are.
CPU_SECONDS = {False: 20.0, True: 40.0}


class Predicted(Protocol):
    """What is to be known of a task, as `models.tasks.Task` has it, to say what was predicted."""

    @property
    def name(self) -> str:
        """What is predicted."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in order; for regression one name."""

    @property
    def head(self) -> str:
        """Name of the head."""

    @property
    def problem_type(self) -> str:
        """As transformers names it."""


@dataclass(frozen=True)
class Inference:
    """What a model says of N utterances.

    Attributes:
        task_logits: task -> (N, C) float32; for regression (N, 1), in the target's own unit. Speeds that were trained
            as speakers of their own are summed: C is the speakers.
        scores: for each task what its loss acts on, (N, S) float32; None where the model gives none (a stock one).
        embeddings: (N, E) float32; None where the model gives none.
    """

    task_logits: dict[str, np.ndarray]
    scores: tuple[np.ndarray, ...] | None
    embeddings: np.ndarray | None

    @property
    def logits(self) -> np.ndarray:
        """The logits of the first task."""
        return next(iter(self.task_logits.values()))


def padded_seconds(asked: float | None, device: Any, longer: bool = False) -> float:
    """Padded seconds in a batch: those that were asked for, else what suits a torch device.

    Args:
        asked: seconds, or None.
        device: on which is computed.
        longer: whether a transformer computes in 16 bits.
    """
    if asked is not None:
        return asked
    return CPU_SECONDS[longer] if device.type == "cpu" else BATCH_SECONDS


def average_of_pieces(values: np.ndarray, owners: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Weighted means of the pieces of each utterance: (P, C), (P,), (P,) -> (count, C)."""
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, owners, values * weights[:, None])
    return (total / np.bincount(owners, weights, minlength=count)[:, None]).astype(np.float32)


def answers(tasks: Sequence[Predicted], files: Sequence[str], outcome: Inference) -> list[dict[str, Any]]:
    """A table a file, in order: `file`, and the fields of `describe`.

    Those of several tasks are of the first one, and `tasks` {name: fields} has all.
    """
    said = []
    for row, file in enumerate(files):
        by_task = {task.name: describe(outcome.task_logits[task.name][row], task) for task in tasks}
        first = by_task[tasks[0].name]
        said.append({"file": file, **first, **({"tasks": by_task} if len(tasks) > 1 else {})})
    return said


def describe(logits: np.ndarray, task: Predicted) -> dict[str, Any]:
    """The fields of one prediction: (C,) logits -> `label`, `score`, `scores`, or `value`.

    Scores are probabilities that sum to 1; those of a multi-label task each stand alone, and `labels` names those
    above one half.
    """
    if task.problem_type == "regression":
        return {"value": float(logits[0])}
    independent = task.problem_type == "multi_label_classification"
    scores = sigmoid(logits) if independent else probabilities(logits[None])[0]
    best = int(predicted_classes(logits[None], task)[0])
    named = {label: float(score) for label, score in zip(task.labels, scores, strict=True)}
    fields = {"label": task.labels[best], "score": float(scores[best]), "scores": named}
    return {**fields, "labels": [name for name, score in named.items() if score > 0.5]} if independent else fields


def in_words(said: Mapping[str, Any]) -> str:
    """A prediction in a line: the label with its score, all labels with theirs, a value; of several tasks each by name.

    >>> in_words({"label": "calm", "score": 0.8125}), in_words({"value": 34.2})
    ('calm  0.812', '34.20')
    >>> in_words({"labels": ["joy", "fear"], "scores": {"joy": 0.9, "fear": 0.75, "anger": 0.1}})
    'joy 0.900, fear 0.750'
    >>> in_words({"tasks": {"mood": {"label": "calm", "score": 0.8125}, "age": {"value": 34.2}}})
    'mood: calm  0.812; age: 34.20'
    """
    if "tasks" in said:
        return "; ".join(f"{name}: {in_words(one)}" for name, one in said["tasks"].items())
    if "value" in said:
        return f"{said['value']:.2f}"
    if "labels" in said:
        return ", ".join(f"{name} {said['scores'][name]:.3f}" for name in said["labels"]) or "none of the labels"
    return f"{said['label']}  {said['score']:.3f}"


def predicted_classes(logits: np.ndarray, task: Predicted) -> np.ndarray:
    """The class that is predicted for each row: (N, C) -> (N,).

    The likeliest one; of ordered classes (head "ordinal") the median of the distribution, the highest class that is
    reached with a probability of one half or more (Cao et al., "Rank consistent ordinal regression", 2020, section 3).
    """
    if task.head == "ordinal":
        return (probabilities(logits).cumsum(axis=-1)[:, :-1] < 0.5).sum(axis=-1)
    return logits.argmax(axis=-1)


def over_speeds(logits: np.ndarray, speakers: int) -> np.ndarray:
    """Logits whose probabilities are those of each speaker at any speed: (N, speeds * speakers) -> (N, speakers)."""
    if logits.shape[1] == speakers:
        return logits
    return np.logaddexp.reduce(logits.reshape(len(logits), -1, speakers), axis=1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability of each label on its own, in float64: (N, C) -> (N, C)."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax in float64: (N, C) -> (N, C)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
