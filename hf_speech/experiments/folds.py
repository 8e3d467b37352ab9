"""Which folds a cross-validation has: values of a column held out in turn, label files, or a data set in parts.

speaker_id            each speaker is tested once, by a model of all others
session_id/5          five folds of sessions, of about equally many rows
one.json,two.json     label files of ft-ser, {"Train": {...}, "Val": {...}, "Test": {...}}, a fold each
within recording_id   a model of its own for each meeting, tested on other rows of that meeting
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data.schema import Splits, class_names_of, column_texts, require_column
from ..data.splits import only_rows
from ..data.targets import known, labels_of
from ..errors import InputError, list_some
from ..training.arguments import target_rules
from ..training.config import RunConfig
from ..training.rows import RunRows, found, labelled_rows, load_used
from .members import folder_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """One fold.

    Attributes:
        name: fit for the name of a folder.
        fields: of the run that stand in the place of the experiment's.
    """

    name: str
    fields: dict[str, Any]

    @property
    def tested(self) -> str:
        """What is tested, in words: the values that are held out, a part of the data, or a file."""
        return next(str(self.fields[name]) for name in ("test", "only", "dataset") if name in self.fields)


@dataclass(frozen=True)
class Folds:
    """The folds of a cross-validation.

    Attributes:
        folds: those that are run.
        rule: what they are by, in words.
        skipped: part of the data that has no fold -> why.
        fingerprint: of the rows and labels of all, by split.
        shares_labels: whether all have the same classes, so that their confusions can be added up.
    """

    folds: list[Fold]
    rule: str
    fingerprint: str
    skipped: dict[str, str] = field(default_factory=dict)
    shares_labels: bool = True


def folds_of(config: RunConfig, folds: str | None, within: str | None) -> Folds:
    """The folds that are asked for, each of them looked at: every class is in its training rows.

    Args:
        config: of the runs.
        folds: a column, a column and a number of folds, or label files; see the module's docstring.
        within: a column whose values get a model each.

    Raises:
        InputError: neither or both are given, no such column, a fold without test rows or with a class that it can't
            learn, or no value with rows enough.
    """
    if (folds is None) == (within is None):
        raise InputError("give --folds, such as --folds speaker_id, or --within, such as --within recording_id")
    if config.data.streaming:
        raise InputError("folds need rows that are there, and streaming ones are not: leave streaming out")
    if config.split.test not in (None, "none") and folds is not None:
        logger.info("test: %s is not used, since each fold is tested in turn", config.split.test)
    if folds is not None and folds.strip().lower().endswith(".json"):
        return _of_files(config, [Path(name.strip()) for name in folds.split(",")])
    data = found(config.data)
    loaded = load_used(data, config.split.only)
    if within is not None:
        return _within(config, loaded, within)
    column, slash, count = str(folds).partition("/")
    if slash and not (count.isdigit() and int(count) > 1):
        raise InputError(f"--folds {folds}: write a column and a number of folds from 2 on, such as speaker_id/5")
    if "," in column or column.strip() in target_rules(config):
        what = "several columns" if "," in column else "what is predicted: a fold would lack a class"
        raise InputError(f"--folds {folds}: is {what}; give one column that does not decide, such as speaker_id")
    return _by_column(config, loaded, column.strip(), int(count) if slash else None)


def _by_column(config: RunConfig, loaded: Splits, column: str, count: int | None) -> Folds:
    """Values of a column held out in turn, one by one or in groups; those without a row to test have no fold."""
    every = _cells(loaded, column, f"--folds {column}")
    values = Counter(_cells(_with_target(loaded, list(target_rules(config))), column, f"--folds {column}"))
    if absent := sorted(set(every) - set(values)):
        logger.info(
            "no row of %s %s has a value of the target, so there is no fold of it", column, list_some(absent, 5)
        )
    if len(values) < max(2, count or 2):
        raise InputError(f"--folds: {column} has {len(values)} values, too few for {max(2, count or 2)} folds")
    groups = [[value] for value in sorted(values)] if count is None else _even(values, count)
    made = []
    for i, group in enumerate(groups, start=1):
        name = group[0] if count is None else f"fold{i}"
        made.append(Fold(folder_name(name), {"test": f"{column}={','.join(group)}"}))
    _check_names(made)
    parts = [_rows(config, loaded, fold) for fold in made]
    for fold, rows in zip(made, parts, strict=True):
        for target, names in rows.targets.items():
            absent = _absent(rows, "train", target, names)
            if absent:
                raise InputError(
                    f"fold {fold.name}: no training row is {list_some(absent, 5)} ({target}); leave such a class out "
                    "(labels), or choose other folds"
                )
            if not known(labels_of(rows.splits["test"], list(rows.targets))[target]).any():
                raise InputError(f"fold {fold.name}: no test row has a {target}; leave that task out, or the rows")
    if "test" in loaded:
        logger.info("the data set's own test rows are not used: folds are made of split 'train'")
    rule = f"{column}, one left out" if count is None else f"{column}, {count} groups"
    return Folds(made, rule, _fingerprint(parts))


def _within(config: RunConfig, loaded: Splits, column: str) -> Folds:
    """A model for each value of a column; values with too little are named."""
    made, parts, skipped = [], [], {}
    for value in sorted(set(_cells(loaded, column, f"--within {column}"))):
        if "," in value:
            raise InputError(f"--within {column}: the value {value!r} has a comma; name it without")
        fold = Fold(folder_name(value), {"only": f"{column}={value}"})
        found = _enough(config, loaded, fold)
        if isinstance(found, str):
            skipped[value] = found
        else:
            made.append(fold)
            parts.append(found)
    if not made:
        told = [f"{value}: {reason}" for value, reason in skipped.items()]
        raise InputError(f"--within {column}: no value has enough to learn from and to test on: {list_some(told)}")
    _check_names(made)
    return Folds(made, f"within {column}", _fingerprint(parts), skipped, shares_labels=False)


def _enough(config: RunConfig, loaded: Splits, fold: Fold) -> RunRows | str:
    """The rows of a part of the data; or why it can't be learnt from and tested on."""
    part = only_rows(loaded, fold.fields["only"])
    if "train" not in part:
        return "none of its rows is for training"
    target = next(iter(target_rules(config)))
    require_column(part["train"], target, "target of the folds")
    classes = Counter(cell for rows in part.values() for cell in column_texts(rows, target) if cell is not None)
    if len(classes) < 2:
        return f"has one {target}" if classes else f"has no {target}"
    try:
        rows = _rows(config, loaded, fold)
    except InputError as error:
        return str(error).removeprefix(f"fold {fold.name}: ")
    if "test" not in rows.splits:
        if config.split.test in (None, "none") and "test" not in loaded:
            raise InputError("--within needs test rows: give --test, such as --test 0.2")
        return "has no test rows"
    for split in ("train", "test"):
        absent = _absent(rows, split, target, rows.names)
        if absent:
            what = f"{len(absent)} of {len(classes)} values of {target} have no row in {split}"
            return f"{what} ({list_some(absent, 3)})"
    return rows


def _of_files(config: RunConfig, files: Sequence[Path]) -> Folds:
    """A fold for each label file; what it calls train, validation and test is that."""
    made = [Fold(folder_name(file.stem), {"dataset": str(file), "reader": "labels-json"}) for file in files]
    _check_names(made)
    parts = []
    for file, fold in zip(files, made, strict=True):
        if not file.is_file():
            raise InputError(f"--folds: there is no file {file}")
        data = replace(config.data, **fold.fields)
        rows = _rows(config, load_used(data, config.split.only), fold)
        if "test" not in rows.splits:
            raise InputError(f"{file}: has no Test rows; a fold needs some")
        for target, names in rows.targets.items():
            absent = _absent(rows, "train", target, names)
            if absent:
                raise InputError(f"{file}: no training row is {list_some(absent, 5)}; leave such a class out (labels)")
        parts.append(rows)
    same = all(rows.targets == parts[0].targets for rows in parts)
    return Folds(made, "label files", _fingerprint(parts), shares_labels=same)


def _fingerprint(parts: Sequence[RunRows]) -> str:
    """Of the rows and labels of all folds, their splits kept apart."""
    told = [rows.fingerprint([split]) for rows in parts for split in ("train", "validation", "test")]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:16]


def _rows(config: RunConfig, loaded: Splits, fold: Fold) -> RunRows:
    """The rows of a fold, split and labelled."""
    data = {name: value for name, value in fold.fields.items() if hasattr(config.data, name)}
    split = {name: value for name, value in fold.fields.items() if hasattr(config.split, name)}
    part = only_rows(loaded, split["only"]) if "only" in split else loaded
    try:
        rows = labelled_rows(
            found(replace(config.data, **data)), replace(config.split, **split), target_rules(config), part
        )
    except InputError as error:
        raise InputError(f"fold {fold.name}: {error}") from error
    return rows


def _absent(rows: RunRows, split: str, target: str, names: Sequence[str] | None) -> list[str]:
    """Classes of which a split has no row; none where numbers are predicted."""
    if names is None:
        return []
    labels = labels_of(rows.splits[split], list(rows.targets))[target]
    there = labels[known(labels)]
    met = set((there == 1).any(axis=0).nonzero()[0] if there.ndim > 1 else there.tolist())
    return [name for i, name in enumerate(names) if i not in met]


def _cells(loaded: Mapping[str, Any], column: str, purpose: str) -> list[str]:
    """The values of the rows that folds are made of: those of "train", for the other splits are held out already."""
    if "train" not in loaded:
        raise InputError(f"{purpose}: there is no split 'train'; splits: {', '.join(loaded)}")
    require_column(loaded["train"], column, purpose)
    cells = [cell for cell in column_texts(loaded["train"], column) if cell is not None]
    awkward = next((cell for cell in cells if "," in cell or "=" in cell), None)
    if awkward is not None:
        raise InputError(f"{purpose}: the value {awkward!r} has a comma or =, which rules are written with; rename it")
    return cells


def _with_target(loaded: Splits, targets: Sequence[str]) -> Splits:
    """The same, of the training rows only those in which some target is not empty.

    Raises:
        InputError: no such column, or it is empty everywhere.
    """
    rows = loaded["train"]
    for target in targets:
        require_column(rows, target, "target")
    known_in = [[cell is not None for cell in column_texts(rows, target)] for target in targets]
    keep = [i for i, of_row in enumerate(zip(*known_in, strict=True)) if any(of_row)]
    if not keep:
        raise InputError(f"target: not one of the {len(rows)} rows has a value in {', '.join(targets)}; name another")
    return loaded if len(keep) == len(rows) else Splits({**loaded, "train": rows.select(keep)}, class_names_of(loaded))


def _even(values: Mapping[str, int], count: int) -> list[list[str]]:
    """Values in groups of about equally many rows: the largest first, each to the smallest group so far."""
    groups: list[list[str]] = [[] for _ in range(count)]
    sizes = [0] * count
    for value in sorted(values, key=lambda value: (-values[value], value)):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(value)
        sizes[smallest] += values[value]
    return [sorted(group) for group in groups]


def _check_names(folds: Sequence[Fold]) -> None:
    names = Counter(fold.name for fold in folds)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise InputError(f"--folds: two folds would be called {twice[0]}; rename one")
