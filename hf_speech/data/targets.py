"""Targets: the column to be predicted -> class numbers, or numbers; class weights and target statistics."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, IterableDataset

from ..errors import InputError, list_some
from .schema import Splits, add_columns, as_text, audio_paths, class_names_of, column_texts, file_name, require_column

UNKNOWN = -100  # the class of an utterance whose class is not known, as losses have it


def encode_target(
    splits: Mapping[str, Dataset],
    target: str,
    *,
    labels: Sequence[str] | None = None,
    regression: bool = False,
) -> tuple[Splits, list[str] | None, int]:
    """Rows with a column `labels` made from the column `target`; rows where that is empty are left out.

    The classes stand in the order of `labels`, else in the data set's own order (ClassLabel), else sorted.

    Args:
        splits: split name -> rows, "train" among them.
        target: the column to be predicted.
        labels: the classes in the order wanted; None takes those of the training rows.
        regression: True makes `labels` a float32 column of the numbers themselves.

    Returns:
        The splits; the class names (None for a regression), `labels` being their indices (int64); and how many rows
        were left out.

    Raises:
        InputError: no such column, no labelled row in a split, a value that is no number (regression), a value that is
            not among the classes, a class without a training row, fewer than two classes.
    """
    if "train" not in splits:
        raise InputError(f"there is no split 'train' to learn {target!r} from; splits: {', '.join(splits)}")
    labelled = {split: rows_with_target(split, rows, target) for split, rows in splits.items()}
    unlabelled = sum(len(rows) - len(labelled[split]) for split, rows in splits.items())
    declared = class_names_of(splits)
    names = None if regression else _class_order(labelled["train"], target, labels, declared.get(target))
    encoded = {split: label_rows(split, rows, target, names) for split, rows in labelled.items()}
    return Splits(encoded, declared), names, unlabelled


def rows_with_target(split: str, rows: Dataset, target: str) -> Dataset:
    """The rows where the target is not empty.

    Raises:
        InputError: no such column, or it is empty everywhere.
    """
    require_column(rows, target, f"target in {split}")
    keep = [i for i, cell in enumerate(column_texts(rows, target)) if cell is not None]
    if not keep:
        mend = "fill the column in, hold other rows out, or take only rows that have one (--only COLUMN=VALUE)"
        raise InputError(f"{split}: not one of the {len(rows)} rows has a value in {target!r}; {mend}")
    return rows if len(keep) == len(rows) else rows.select(keep)


def label_rows(split: str, rows: Dataset, target: str, names: Sequence[str] | None) -> Dataset:
    """Rows with `labels`: indices into the class names, or the numbers themselves where there are none (regression).

    Raises:
        InputError: a value that is none of the names, or no number; it names the row.
    """
    return _numbers(split, rows, target) if names is None else _class_numbers(split, rows, target, names)


def encode_stream(
    splits: Mapping[str, IterableDataset],
    target: str,
    *,
    labels: Sequence[str] | None = None,
    regression: bool = False,
) -> tuple[Callable[[IterableDataset], IterableDataset], list[str] | None]:
    """As `encode_target`, for streams: what is in them is not known, so the classes are the declared ones.

    Returns:
        A function that gives a stream the column `labels` and leaves out rows without a target; and the class names.

    Raises:
        InputError: neither `labels` nor the data set says what the classes are. While the stream is read: a value that
            is no number, or no class.
    """
    names = None if regression else list(labels or class_names_of(splits).get(target) or [])
    if names is not None and len(names) < 2:
        raise InputError(f"streamed rows don't say which classes of {target!r} there are: give --labels a,b,...")
    numbers = {name: i for i, name in enumerate(names or [])}

    for split, rows in splits.items():
        require_column(rows, target, f"target in {split}")

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        text = str(as_text(row[target]))
        label = _number(text) if names is None else numbers.get(text)
        if label is None:
            kind = "a number" if names is None else f"one of {', '.join(names)}"
            raise InputError(f"{file_name(row['audio'])}: {target} {text!r} is not {kind}; mend it or empty the cell")
        return {"labels": label}

    def has_target(row: dict[str, Any]) -> bool:
        return as_text(row[target]) is not None

    return lambda rows: rows.filter(has_target).map(encode), names


def _class_order(train: Dataset, target: str, labels: Sequence[str] | None, declared: list[str] | None) -> list[str]:
    present = set(column_texts(train, target))
    if labels is not None:
        names = [str(as_text(label)) for label in labels]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"labels: {twice[0]!r} is named twice; name each class once")
        missing = [name for name in names if name not in present]
        if missing:
            there = list_some(sorted(filter(None, present)))
            raise InputError(f"labels: no training row has {target} {list_some(missing)}; training rows have: {there}")
    elif declared is not None:
        names = [name for name in declared if name in present]
    else:
        values = {value for value in train[target] if as_text(value) is not None}
        ordered = sorted(values) if all(isinstance(v, int | float) for v in values) else sorted(values, key=str)
        names = list(dict.fromkeys(str(as_text(value)) for value in ordered))
    if len(names) < 2:
        raise InputError(f"{target!r} has one class ({names[0]}) in the training rows; a classifier needs two or more")
    return names


def _class_numbers(split: str, rows: Dataset, target: str, names: Sequence[str]) -> Dataset:
    numbers = {name: i for i, name in enumerate(names)}
    cells = column_texts(rows, target)
    unknown = [i for i, cell in enumerate(cells) if cell not in numbers]
    if unknown:
        where = f"{split}, {_row(rows, unknown[0])}: {target} {cells[unknown[0]]!r} is not a class to learn"
        mend = f"hold other rows out, such as --{split} none, or name it in --labels"
        if all(_number(name) is not None for name in names):
            mend += "; for a number give --loss mse or l1"
        raise InputError(f"{where} ({len(unknown)} such rows); classes: {list_some(names)}; {mend}")
    return add_columns(rows, {"labels": pa.array([numbers[str(cell)] for cell in cells], type=pa.int64())})


def _numbers(split: str, rows: Dataset, target: str) -> Dataset:
    values = []
    for i, cell in enumerate(column_texts(rows, target)):
        value = _number(str(cell))
        if value is None:
            raise InputError(f"{split}, {_row(rows, i)}: {target} must be a number, not {cell!r}; mend or empty it")
        values.append(value)
    return add_columns(rows, {"labels": pa.array(values, type=pa.float32())})


def _number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _row(rows: Dataset, index: int) -> str:
    path = audio_paths(rows.select([index]))[0] if "audio" in rows.column_names else None
    return f"row {index} ({path})" if path else f"row {index}"


def labels_of(rows: Dataset, tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """The column `labels` as arrays: task -> (N,) classes or numbers, or (N, C) for several labels.

    Of several tasks it holds a table a row; what is not known is -100 (classes) or NaN (numbers).
    """
    values = rows["labels"][:]
    if len(tasks) == 1:
        return {tasks[0]: np.asarray(values)}
    return {task: np.asarray([row[task] for row in values]) for task in tasks}


def known(labels: np.ndarray) -> np.ndarray:
    """Which rows have a label, neither -100 nor NaN, at least one of several: (N,) or (N, C) -> (N,) bool."""
    entries = ~np.isnan(labels) & (labels != UNKNOWN)
    return entries if labels.ndim == 1 else entries.any(axis=1)


def class_counts(labels: Iterable[int], num_classes: int) -> list[int]:
    """How many rows each class has, in label order.

    >>> class_counts([0, 0, 2], 3)
    [2, 0, 1]
    """
    counts = Counter(labels)
    return [counts[c] for c in range(num_classes)]


def class_weights(labels: Iterable[int], num_classes: int) -> list[float]:
    """Weights that give every class the same say in the loss: N / (C * n_c).

    King and Zeng, "Logistic regression in rare events data", Political Analysis 2001 (weighting); as scikit-learn's
    "balanced". The mean weight of a training row is 1.

    Args:
        labels: class numbers of the training rows.
        num_classes: C.

    Raises:
        InputError: a class has no row.

    >>> class_weights([0, 0, 0, 1], 2)
    [0.6666666666666666, 2.0]
    """
    counts = class_counts(labels, num_classes)
    missing = [c for c, count in enumerate(counts) if not count]
    if missing:
        raise InputError(f"class weights: classes {list_some(missing)} have no training row; leave them out")
    return [sum(counts) / (num_classes * count) for count in counts]


def target_statistics(values: Iterable[float]) -> tuple[float, float]:
    """Mean and population standard deviation of the training targets, to standardise a regression.

    Raises:
        InputError: no values, or all the same: there is nothing to predict.

    >>> target_statistics([20.0, 30.0, 40.0, 50.0])
    (35.0, 11.180339887498949)
    """
    numbers = [float(value) for value in values]
    if not numbers:
        raise InputError("no training targets; fill the target column in")
    mean = math.fsum(numbers) / len(numbers)
    deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))
    if deviation == 0:
        raise InputError(f"all {len(numbers)} training targets are {mean:g}; a regression needs different ones")
    return mean, deviation
