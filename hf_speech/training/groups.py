"""Groups of utterances by what the data say of their speakers: for whom does a model do worse?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from ..data.audit import texts
from ..data.bins import bin_names, to_bins
from ..data.schema import GENDERS
from ..errors import InputError
from ..models.tasks import Task
from .tasks import interval_numbers

COLUMNS = ("gender", "age", "language")  # of the schema, what is true of a speaker
AGES = "-inf,20,40,60,inf"  # fixed, so that results on different data compare
FEWEST = 10  # utterances of a group that has numbers; of fewer each one would change them much
MOST = 12  # a column with more values has no groups: nobody reads so many numbers

Groups = Mapping[str, Sequence[str | None]]


def groups_of(rows: Dataset) -> dict[str, list[str | None]]:
    """Column -> (N,) which group each row belongs to, None where that is not known; without columns of one value."""
    found = {}
    for column in COLUMNS:
        cells = texts(rows, column)
        groups = [] if cells is None else _grouped(column, cells.to_pylist())
        if 1 < len({group for group in groups if group is not None}) <= MOST:
            found[column] = groups
    return found


def _grouped(column: str, cells: list[str | None]) -> list[str | None]:
    if column == "gender":
        return [None if cell is None else GENDERS.get(cell.lower(), cell) for cell in cells]
    if column == "age":
        try:
            return to_bins(cells, AGES)
        except InputError:  # names of age groups, where others have years
            return cells
    return cells


def group_counts(rows: Dataset) -> dict[str, dict[str, int]]:
    """Column -> {group: rows}, as results.json has them of a split; also of a column with one value only."""
    counts = {}
    for column in COLUMNS:
        cells = texts(rows, column)
        known = Counter(group for group in _grouped(column, [] if cells is None else cells.to_pylist()) if group)
        if 0 < len(known) <= MOST:
            counts[column] = {group: known[group] for group in _in_order(column, known)}
    return counts


def _in_order(column: str, groups: Mapping[str, Any]) -> list[str]:
    """Ages rise, all else is sorted."""
    names = bin_names(AGES)
    return [name for name in names if name in groups] if column == "age" and set(groups) <= {*names} else sorted(groups)


def group_numbers(
    task: Task,
    labels: np.ndarray,
    logits: np.ndarray,
    groups: Groups,
    speakers: Sequence[str] | None,
    unit: str,
    seed: int,
) -> Iterator[tuple[str, np.ndarray, list[dict[str, Any]]]]:
    """The numbers of a task on each group that is large enough, where a column has at least two such groups.

    What is predicted makes no groups of its own.

    Args:
        task: what was predicted.
        labels: (N,) or (N, C).
        logits: (N, C).
        groups: column -> (N,), see `groups_of`.
        speakers: (N,) who speaks; None: not known.
        unit: see `interval_numbers`.
        seed: of the bootstrap.

    Yields:
        Name of the group ("gender female"), (n,) places of its utterances, its numbers with intervals.
    """
    for column, of_rows in groups.items():
        found = Counter(group for group in of_rows if group is not None)
        large = [group for group in _in_order(column, found) if found[group] >= FEWEST]
        if column == task.name or len(large) < 2:
            continue
        for group in large:
            places = np.flatnonzero([one == group for one in of_rows])
            who = None if speakers is None else [speakers[i] for i in places.tolist()]
            yield f"{column} {group}", places, interval_numbers(task, labels[places], logits[places], who, unit, seed)
