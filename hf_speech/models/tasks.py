"""What a head is trained for: its labels, its loss, and what both have to know of the training rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .heads import HEADS
from .losses import LOSSES, LossFacts, check_options, check_pair
from .registry import InputError, is_number, lookup, unknown_name, with_options

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
        bins: the rule that made the classes of numbers, such as "decades"; they are in their order then.
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
    bins: str | None = None
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
        _check_each("class_weights", self.class_weights, count, "above 0", lambda value: value > 0)
        _check_each("class_counts", self.class_counts, count, "0 or more", lambda value: value >= 0)
        if len(set(self.labels)) < count:
            raise InputError(f"task {self.name!r}: a label is named twice in {', '.join(self.labels)}; name each once")
        if self.bins is not None and not isinstance(self.bins, str):
            raise InputError(f"bins is {self.bins!r}; give the rule as text, such as decades, or 20,40,60")
        if not is_number(self.target_mean):
            raise InputError(f"target_mean must be a finite number, but is {self.target_mean!r}")
        if not (is_number(self.target_std) and self.target_std > 0):
            raise InputError(f"target_std must be above 0, but is {self.target_std!r}; give a finite number")
        if not (is_number(self.weight) and self.weight >= 0):
            raise InputError(f"task {self.name!r}: weight is {self.weight!r}; give a number of 0 or more")

    @property
    def is_ordered(self) -> bool:
        """Whether the classes stand in an order: as it was said, as bins of numbers do, or as the head has it."""
        return self.ordered or self.bins is not None or self.head == "ordinal"

    @property
    def problem_type(self) -> str:
        """As transformers names it: single_label_classification, multi_label_classification or regression."""
        return LOSSES[self.loss].problem_type

    def facts(self, head: Any, step: int | None, total: int | None = None) -> LossFacts:
        """What the loss is told beside scores and labels."""
        return LossFacts(
            scale=getattr(head, "scale", 1.0),
            class_weights=self.class_weights,
            class_counts=self.class_counts,
            target_mean=self.target_mean,
            target_std=self.target_std,
            bins=getattr(head, "bins", None),
            step=step,
            total=total,
        )


def _check_each(what: str, values: Any, count: int, valid: str, fits: Callable[[float], bool]) -> None:
    """Raises InputError unless the values, one a label, are finite numbers that fit; None is none."""
    if values is None:
        return
    if not isinstance(values, list | tuple):
        raise InputError(f"{what} is {values!r}; give a list, one number a label")
    if len(values) != count:
        raise InputError(f"{what} has {len(values)} values for {count} labels")
    if not all(is_number(value) and fits(value) for value in values):
        raise InputError(f"{what} must be {valid}, but are {values}; give a finite number a label")


TASK_FIELDS = {f.name for f in fields(Task)} - {"name"}


def make_task(name: str, values: Mapping[str, Any]) -> Task:
    """A task from its table in a config.

    Args:
        name: what is predicted.
        values: fields of `Task`; beside them `num_labels` in place of `labels`, and `problem_type`, which decides on
            the loss where none is named.

    Raises:
        InputError: an unknown field, labels that are no list or not `num_labels`; see `Task`.
    """
    given = {key: value for key, value in values.items() if value is not None}
    for key in given:
        if key not in TASK_FIELDS | {"num_labels", "problem_type"}:
            raise unknown_name(key, TASK_FIELDS | {"num_labels", "problem_type"}, f"field of task {name!r}")
    if not isinstance(name, str) or not name or "." in name or "/" in name:
        raise InputError(f"a task can't be called {name!r}: give a name without dots and slashes")
    problem_type = given.pop("problem_type", None)
    labels = _labels(name, given.pop("labels", None), given.pop("num_labels", None))
    if "loss" not in given:
        guessed = "regression" if len(labels) == 1 else "single_label_classification"
        given["loss"] = lookup(DEFAULT_LOSSES, problem_type or guessed, "problem_type")
    task = Task(name, tuple(str(label) for label in labels), **given)
    if problem_type not in (None, task.problem_type):
        raise InputError(f"loss {task.loss!r} is for {task.problem_type}, but problem_type is {problem_type!r}")
    return task


def _labels(name: str, labels: Any, count: Any) -> list[Any]:
    """The labels of a task: as given, or made of their number; without either, its name."""
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise InputError(f"task {name!r}: num_labels is {count!r}; give a whole number of 1 or more")
    if labels is None:
        return [f"LABEL_{i}" for i in range(count)] if count is not None and count > 1 else [name]
    if not isinstance(labels, list | tuple):
        raise InputError(f"task {name!r}: labels is {labels!r}; give a list of names")
    if count not in (None, len(labels)):
        raise InputError(f"task {name!r}: num_labels is {count}, but there are {len(labels)} labels: leave it out")
    return list(labels)
