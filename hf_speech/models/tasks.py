"""What a head is trained for: its labels, its loss, and what both have to know of the training rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any

from .heads import HEADS
from .losses import LOSSES, LossFacts, check_options, check_pair
from .registry import InputError, lookup, unknown_name, with_options

DEFAULT_LOSSES = {
    "single_label_classification": "cross_entropy",
    "multi_label_classification": "binary_cross_entropy",
    "regression": "mse",
}


@dataclass(frozen=True)
class Task:
    """One head over the embedding, with its loss.

    Attributes:
        name: what is predicted ("emotion").
        labels: label names in order; for regression one name.
        head: name of a head, see `HEADS`.
        head_config: its options.
        loss: name of a loss, see `LOSSES`.
        loss_config: its options.
        class_weights: one factor a class, in label order; None: all 1.
        class_counts: training rows of each class, in label order, for the losses that want to know; None: not known.
        target_mean: mean of a regression target over the training rows, in its own unit.
        target_std: standard deviation of the same; the loss is taken on (value - mean) / std.
        unit: of a regression target ("years").
        ordered: whether the classes stand in an order, from low to high.
        weight: factor of this task's loss in the sum over all tasks.

    Raises:
        InputError: an unknown name or option, or parts that don't go together.
    """

    name: str
    labels: tuple[str, ...]
    head: str = "linear"
    head_config: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "cross_entropy"
    loss_config: Mapping[str, Any] = field(default_factory=dict)
    class_weights: list[float] | None = None
    class_counts: list[int] | None = None
    target_mean: float = 0.0
    target_std: float = 1.0
    unit: str | None = None
    ordered: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        lookup(HEADS, self.head, "head")
        lookup(LOSSES, self.loss, "loss")
        with_options(HEADS[self.head], self.head_config, f"head {self.head!r}")
        check_options(self.loss, self.loss_config)
        check_pair(self.loss, self.head)
        count = len(self.labels)
        if self.problem_type == "regression" and count != 1:
            raise InputError(f"loss {self.loss!r} predicts one number, but num_labels is {count}")
        if self.problem_type == "single_label_classification" and count < 2:
            raise InputError(f"loss {self.loss!r} needs at least 2 labels, but num_labels is {count}")
        for what, values in (("class_weights", self.class_weights), ("class_counts", self.class_counts)):
            if values is not None and len(values) != count:
                raise InputError(f"{what} has {len(values)} values for {count} labels")
        if self.class_weights is not None and not min(self.class_weights) > 0:
            raise InputError(f"class_weights must be above 0, but are {self.class_weights}")
        if len(set(self.labels)) < count:
            raise InputError(f"task {self.name!r}: a label is named twice in {', '.join(self.labels)}; name each once")
        if not 0 < self.target_std < inf:
            raise InputError(f"target_std must be above 0, but is {self.target_std}")
        if not 0 <= self.weight < inf:
            raise InputError(f"task {self.name!r}: weight is {self.weight}; give a number of 0 or more")

    @property
    def is_ordered(self) -> bool:
        """Whether the classes stand in an order, as it was said or as the head has it."""
        return self.ordered or self.head == "ordinal"

    @property
    def problem_type(self) -> str:
        """As transformers names it: single_label_classification, multi_label_classification or regression."""
        return LOSSES[self.loss].problem_type

    def facts(self, head: Any, step: int | None) -> LossFacts:
        """What the loss is told beside scores and labels."""
        return LossFacts(
            scale=getattr(head, "scale", 1.0),
            class_weights=self.class_weights,
            class_counts=self.class_counts,
            target_mean=self.target_mean,
            target_std=self.target_std,
            bins=getattr(head, "bins", None),
            step=step,
        )


TASK_FIELDS = {f.name for f in fields(Task)} - {"name"}


def make_task(name: str, values: Mapping[str, Any]) -> Task:
    """A task from its table in a config.

    Args:
        name: what is predicted.
        values: fields of `Task`; beside them `num_labels` in place of `labels`, and `problem_type`, which decides on
            the loss where none is named.

    Raises:
        InputError: an unknown field; see `Task`.
    """
    given = {key: value for key, value in values.items() if value is not None}
    for key in given:
        if key not in TASK_FIELDS | {"num_labels", "problem_type"}:
            raise unknown_name(key, TASK_FIELDS | {"num_labels", "problem_type"}, f"field of task {name!r}")
    if not name or "." in name or "/" in name:
        raise InputError(f"a task can't be called {name!r}: give a name without dots and slashes")
    problem_type, count = given.pop("problem_type", None), given.pop("num_labels", None)
    labels = given.pop("labels", None)
    if labels is None:
        labels = [f"LABEL_{i}" for i in range(count)] if count is not None and count > 1 else [name]
    if "loss" not in given:
        guessed = "regression" if len(labels) == 1 else "single_label_classification"
        given["loss"] = lookup(DEFAULT_LOSSES, problem_type or guessed, "problem_type")
    task = Task(name, tuple(str(label) for label in labels), **given)
    if problem_type not in (None, task.problem_type):
        raise InputError(f"loss {task.loss!r} is for {task.problem_type}, but problem_type is {problem_type!r}")
    return task
