"""Targets with several classes a row: a list of names, or a text "anger;fear" -> a row of ones and zeros."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from datasets import Dataset

from ..errors import InputError, list_some
from .schema import Splits, add_columns, as_text, audio_paths, class_names_of, require_column

SEPARATOR = ";"


def encode_multi_label(
    splits: Mapping[str, Dataset], target: str, *, labels: Sequence[str] | None = None
) -> tuple[Splits, list[str], int]:
    """Rows with a column `labels` of (C,) ones and zeros (float32); rows where the target is empty are left out.

    A cell is a list of names, or a text with names between semicolons. An empty list, or a lone ";", says that the row
    has none of the classes; an empty cell, or an empty text, that it is not known which. The classes stand in the order
    of `labels`, else in the data set's own order, else sorted.

    Args:
        splits: split name -> rows, "train" among them.
        target: the column to be predicted.
        labels: the classes in the order wanted; None takes those of the training rows.

    Returns:
        The splits; the class names; and how many rows were left out.

    Raises:
        InputError: no split "train", no such column, a split without a labelled row, a name that is not among the
            classes, a class that no training row has or that is named twice, fewer than two classes.
    """
    if "train" not in splits:
        raise InputError(f"there is no split 'train' to learn {target!r} from; splits: {', '.join(splits)}")
    declared = class_names_of(splits)
    labelled, names_of = {}, {}
    for split, rows in splits.items():
        labelled[split], names_of[split] = _with_names(split, rows, target)
    names = _class_order(names_of["train"], target, labels, declared.get(target))
    unlabelled = sum(len(rows) - len(labelled[split]) for split, rows in splits.items())
    encoded = {split: _encoded(split, rows, names_of[split], target, names) for split, rows in labelled.items()}
    return Splits(encoded, declared), names, unlabelled


def multi_label_rows(split: str, rows: Dataset, target: str, names: Sequence[str]) -> Dataset:
    """The rows of one split where the target is not empty, with `labels` for classes that are given.

    Raises:
        InputError: no such column, it is empty everywhere, or a name is not among the classes.
    """
    kept, names_of = _with_names(split, rows, target)
    return _encoded(split, kept, names_of, target, list(names))


def label_names(cell: object) -> list[str] | None:
    """The names in a cell; None where it is empty, so that it is not known which there are.

    >>> label_names("anger; fear;"), label_names(["anger", "fear"]), label_names(";"), label_names("")
    (['anger', 'fear'], ['anger', 'fear'], [], None)
    """
    if isinstance(cell, str | bytes) or not isinstance(cell, Sequence):
        text = as_text(cell)
        if text is None:
            return None
        cell = text.split(SEPARATOR)
    return [name for name in map(as_text, cell) if name is not None]


def _with_names(split: str, rows: Dataset, target: str) -> tuple[Dataset, list[list[str]]]:
    """The rows whose target is known, and the names of each."""
    require_column(rows, target, f"target in {split}")
    cells = [label_names(cell) for cell in rows[target]]
    keep = [i for i, names in enumerate(cells) if names is not None]
    if not keep:
        raise InputError(f"{split}: not one of the {len(rows)} rows has a value in {target!r}; fill the column in")
    kept = rows if len(keep) == len(rows) else rows.select(keep)
    return kept, [names for names in cells if names is not None]


def _class_order(
    train: list[list[str]], target: str, labels: Sequence[str] | None, declared: list[str] | None
) -> list[str]:
    present = {name for names in train for name in names}
    if labels is None:
        order = [name for name in declared if name in present] if declared else sorted(present)
    else:
        order = [str(as_text(label)) for label in labels]
        twice = [name for i, name in enumerate(order) if name in order[:i]]
        if twice:
            raise InputError(f"labels: {twice[0]!r} is named twice; name each class once")
        missing = [name for name in order if name not in present]
        if missing:
            there = list_some(sorted(present))
            raise InputError(f"labels: no training row has {target} {list_some(missing)}; training rows have: {there}")
    if len(order) < 2:
        there = list_some(order) or "none"
        raise InputError(f"{target!r} has fewer than two classes ({there}) in the training rows; give two or more")
    return order


def _encoded(split: str, rows: Dataset, names_of: list[list[str]], target: str, names: list[str]) -> Dataset:
    known = set(names)
    for i, said in enumerate(names_of):
        unknown = [name for name in said if name not in known]
        if unknown:
            path = audio_paths(rows.select([i]))[0] if "audio" in rows.column_names else None
            where = f"{split}, row {i}" + (f" ({path})" if path else "")
            raise InputError(f"{where}: {target} {unknown[0]!r} is not a class to learn; classes: {list_some(names)}")
    vectors = [[float(name in said) for name in names] for said in map(set, names_of)]
    return add_columns(rows, {"labels": pa.array(vectors, type=pa.list_(pa.float32()))})
