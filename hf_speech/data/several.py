"""Columns to be predicted -> the column `labels`: one by its rule, or several as a table a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ..errors import InputError
from .bins import bin_names, to_bins
from .multilabel import encode_multi_label
from .schema import Splits, add_columns, class_names_of, column_texts, require_column
from .targets import UNKNOWN, encode_target, known, label_rows, rows_with_target

_ROW = "_row"  # where a row stood before rows without a target were left out


@dataclass(frozen=True)
class TargetRule:
    """How one column becomes labels.

    Attributes:
        labels: the classes in the order wanted; None: those of the training rows.
        kind: problem type, as transformers names it.
        bins: rule that makes classes of numbers, see `bins.RULES`; None: the column holds classes, or numbers.
    """

    labels: Sequence[str] | None = None
    kind: str = "single_label_classification"
    bins: str | None = None

    @property
    def regression(self) -> bool:
        """Whether the column holds numbers that are predicted as such."""
        return self.kind == "regression"


def encode_targets(
    splits: Mapping[str, Dataset], targets: Mapping[str, TargetRule]
) -> tuple[Splits, dict[str, list[str] | None], int]:
    """Rows with a column `labels`: that of one target, or of several a table, column -> class number, or number.

    Of several, a row counts as long as one of its columns is not empty; what is empty is -100 (classes) or NaN
    (numbers). A split may then lack a column's values altogether, but for the training rows.

    Args:
        splits: split name -> rows, "train" among them.
        targets: column to be predicted -> how.

    Returns:
        The splits; the class names of each target (None for a regression); and how many rows were left out.

    Raises:
        InputError: as `encode_target`, `encode_multi_label` and `to_bins`; several labels a row beside other targets.
    """
    for column, rule in targets.items():
        if rule.bins:
            declared = {name: names for name, names in class_names_of(splits).items() if name != column}
            splits = Splits(
                {name: binned_rows(name, rows, column, rule.bins) for name, rows in splits.items()}, declared
            )
    if len(targets) == 1:
        ((column, rule),) = targets.items()
        encoded, names, unlabelled = _encode_one(splits, column, rule)
        return encoded, {column: names}, unlabelled
    if any(rule.kind == "multi_label_classification" for rule in targets.values()):
        raise InputError("a target with several labels a row can't stand beside others yet: train it alone")
    if "train" not in splits:
        raise InputError(f"there is no split 'train' to learn from; splits: {', '.join(splits)}")
    named: dict[str, list[str] | None] = {}
    for column, rule in targets.items():
        train = Splits({"train": splits["train"]}, class_names_of(splits))
        _, named[column], _ = _encode_one(train, column, rule)
    labelled = {split: label_table(split, rows, named) for split, rows in splits.items()}
    left_out = sum(len(rows) - len(labelled[split]) for split, rows in splits.items())
    return Splits(labelled, class_names_of(splits)), named, left_out


def _encode_one(splits: Mapping[str, Dataset], column: str, rule: TargetRule) -> tuple[Splits, list[str] | None, int]:
    if rule.kind == "multi_label_classification":
        return encode_multi_label(splits, column, labels=rule.labels)
    labels = rule.labels
    if rule.bins and labels is None and "train" in splits:
        present = set(column_texts(splits["train"], column))
        labels = [name for name in bin_names(rule.bins) if name in present]  # in their order, from low to high
    return encode_target(splits, column, labels=labels, regression=rule.regression)


def binned_rows(split: str, rows: Dataset, column: str, rule: str) -> Dataset:
    """The rows with the numbers of a column made into the names of their bins; empty where a number lies in none.

    Args:
        split: its name, for messages.
        rows: the rows.
        column: of numbers.
        rule: see `bins.bin_names`.

    Raises:
        InputError: no such column, or a value that is no number.
    """
    require_column(rows, column, f"target in {split}")
    return add_columns(rows, {column: pa.array(to_bins(rows[column][:], rule), type=pa.string())})


def label_table(split: str, rows: Dataset, targets: Mapping[str, Sequence[str] | None]) -> Dataset:
    """The rows of one split that have a value of some target, with the table in `labels`; see `encode_targets`.

    Args:
        split: its name, for messages.
        rows: the rows.
        targets: column -> its class names in order; None: numbers.

    Raises:
        InputError: not one row has a value of any target, or a value is no class and no number.
    """
    numbered = add_columns(rows, {_ROW: pa.array(range(len(rows)), type=pa.int64())})
    labels: dict[str, np.ndarray] = {}
    for column, names in targets.items():
        values = np.full(len(rows), np.nan, np.float32) if names is None else np.full(len(rows), UNKNOWN)
        if column in rows.column_names and any(cell is not None for cell in column_texts(rows, column)):
            encoded = label_rows(split, rows_with_target(split, numbered, column), column, names)
            values[np.asarray(encoded[_ROW][:])] = encoded["labels"][:]
        labels[column] = values
    keep = np.flatnonzero(np.any([known(values) for values in labels.values()], axis=0))
    if not len(keep):
        raise InputError(f"{split}: not one of the {len(rows)} rows has a value in {', '.join(targets)}; fill one in")
    kept = rows if len(keep) == len(rows) else rows.select(keep)
    columns = {name: pa.array(values[keep]) for name, values in labels.items()}
    return add_columns(kept, {"labels": pa.StructArray.from_arrays(list(columns.values()), names=list(columns))})
