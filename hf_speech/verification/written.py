"""Scores of trials as `hf-speech verify` has written them, or any other program: read again, and put in one order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..data.problems import Problems, read_lines
from ..errors import InputError, one_line
from .formats import LABELS
from .trials import without_extension

SCORES, TRIALS = "scores.txt", "trials.parquet"
COLUMNS = ("label", "left", "right", "score")
SPEAKERS = ("left_speaker", "right_speaker")


@dataclass(frozen=True)
class ScoredTrials:
    """A list with its scores.

    Attributes:
        source: the file that it was read from.
        labels: (T,) 1: the same speaker; 0: two.
        sides: (T, 2) names.
        scores: (T,).
        speakers: (T, 2) who speaks; None: not known of every side.
        llrs: (T,) log-likelihood ratios; None: they are not calibrated.
    """

    source: Path
    labels: NDArray
    sides: NDArray
    scores: NDArray
    speakers: NDArray | None
    llrs: NDArray | None = None

    def ordered(self) -> "ScoredTrials":
        """The trials sorted by their names and labels, with the lesser name on the left: no order of a list matters."""
        place = {name: i for i, name in enumerate(sorted(set(self.sides.ravel().tolist())))}
        places = np.array([place[name] for name in self.sides.ravel().tolist()]).reshape(-1, 2)
        turned = places[:, :1] > places[:, 1:]
        places.sort(axis=1)
        order = np.lexsort((self.labels, places[:, 1], places[:, 0]))
        return replace(
            self,
            labels=self.labels[order],
            sides=np.where(turned, self.sides[:, ::-1], self.sides)[order],
            scores=self.scores[order],
            llrs=None if self.llrs is None else self.llrs[order],
            speakers=None if self.speakers is None else np.where(turned, self.speakers[:, ::-1], self.speakers)[order],
        )


def holds_trials(folder: Path) -> bool:
    """Whether there are scores of trials in a folder."""
    return (folder / TRIALS).is_file() or (folder / SCORES).is_file()


def read_scores(folder: Path) -> ScoredTrials:
    """The trials in a folder: those of trials.parquet, with their speakers; without it, those of scores.txt.

    Raises:
        InputError: the file can't be read, a line of scores.txt is not `label path1 path2 score`, a column of
            trials.parquet holds something else than it should, or a score is not finite.
    """
    found = _read_table(folder / TRIALS) if (folder / TRIALS).is_file() else _read_text(folder / SCORES)
    for name, values in (("score", found.scores), ("llr", found.llrs)):
        wrong = np.flatnonzero([] if values is None else ~np.isfinite(values))
        if len(wrong):
            left, right = map(_shown, found.sides[wrong[0]])
            raise InputError(f"{found.source}: the {name} of {left} and {right} is not finite; score the list again")
    return found


def check_same(one: ScoredTrials, other: ScoredTrials) -> None:
    """Holds two lists in the order of `ordered` against each other.

    Raises:
        InputError: they do not ask the same questions, or do not know the same answers; an example of each.
    """
    if len(one.sides) != len(other.sides) or (one.sides != other.sides).any():
        asked = [[" ".join(sides) for sides in found.sides.tolist()] for found in (one, other)]
        raise different("trials", (one.source, asked[0]), (other.source, asked[1]))
    wrong = np.flatnonzero(one.labels != other.labels)
    if len(wrong):
        left, right = map(_shown, one.sides[wrong[0]])
        raise InputError(
            f"{one.source} and {other.source} have other labels for {len(wrong):,} trials: {left} {right} is "
            f"{one.labels[wrong[0]]} and {other.labels[wrong[0]]}; score the same list with both"
        )


def different(what: str, one: tuple[Path, list[str]], other: tuple[Path, list[str]]) -> InputError:
    """What refuses to compare two files by the names of what is in them: how many the other one lacks, an example."""
    asked = [Counter(names) for _, names in (one, other)]
    lacking = zip((one[0], other[0]), (asked[0] - asked[1], asked[1] - asked[0]), strict=True)
    told = [f"of {source} {found.total():,}, such as {_shown(next(iter(found)))}" for source, found in lacking if found]
    return InputError(f"{what} that are not in both: {'; '.join(told)}; compare runs on the same {what}")


def _shown(text: str) -> str:
    """A text of somebody else's file, for a message: what can't be printed would reach the terminal as it is."""
    return text if text.isprintable() else ascii(text)


def _read_table(path: Path) -> ScoredTrials:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: can't be read ({_shown(one_line(error))}); verify again") from error
    names = Counter(table.column_names)
    wrong = [name for name in (*COLUMNS, "llr", *SPEAKERS) if names[name] > 1 or name in COLUMNS and not names[name]]
    if wrong or not len(table):
        what = f"has {'two columns' if names[wrong[0]] else 'no column'} {wrong[0]}" if wrong else "holds no trial"
        raise InputError(f"{path}: {what}; `hf-speech verify` writes {', '.join(COLUMNS)}")
    calibrated = "llr" in names and not table["llr"].null_count
    known = names.keys() >= set(SPEAKERS) and not any(table[name].null_count for name in SPEAKERS)
    labels = _numbers(path, table, "label")
    strange = np.flatnonzero((labels != 0) & (labels != 1))
    if len(strange):
        raise InputError(f"{path}: the label of trial {strange[0]} is {labels[strange[0]]:g}; give 1 or 0")
    return ScoredTrials(
        path,
        labels.astype(np.int64),
        _texts(path, table, ("left", "right")),
        _numbers(path, table, "score"),
        _texts(path, table, SPEAKERS) if known else None,
        _numbers(path, table, "llr") if calibrated else None,
    )


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray:
    """(T,) float64."""
    column = table[name]
    if not any(is_kind(column.type) for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)):
        raise InputError(f"{path}: the column {name} holds {column.type}, and no numbers; mend it, or verify again")
    _require_whole(path, column, name)
    return np.asarray(column).astype(np.float64)


def _require_whole(path: Path, column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        row = int(np.argmax(np.asarray(column.is_null())))
        raise InputError(f"{path}: trial {row} has no {name}; mend it, or verify again")


def _texts(path: Path, table: pa.Table, columns: Sequence[str]) -> NDArray:
    """(T, columns) texts, each distinct one a single object."""
    parts = []
    for name in columns:
        _require_whole(path, table[name], name)
        try:
            encoded = pc.dictionary_encode(table[name].cast(pa.string()).combine_chunks())
            texts = encoded.dictionary.to_pylist()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            what = f"the column {name} holds {table[name].type}, and no texts"
            raise InputError(f"{path}: {what}; mend it, or verify again") from error
        parts.append(np.array(texts, dtype=object)[np.asarray(encoded.indices)])
    return np.stack(parts, axis=1)


def _read_text(path: Path) -> ScoredTrials:
    problems, labels, sides, scores = Problems(), [], [], []
    for number, line in read_lines(path, problems):
        fields = line.split()
        try:
            label, left, right, score = fields
            labels.append(LABELS[label])
            scores.append(float(score))
        except (KeyError, ValueError):
            raise InputError(
                f"{path}:{number}: {line[:80]!r} is not 'label path1 path2 score'; mend the line"
            ) from None
        sides.append((left, right))
    problems.settle(str(path), option=None)
    if not sides:
        raise InputError(f"{path}: holds no trial; its lines are 'label path1 path2 score'")
    names = {name: without_extension(name) for name in chain.from_iterable(sides)}
    named = np.array([[names[left], names[right]] for left, right in sides], dtype=object)
    return ScoredTrials(path, np.array(labels), named, np.array(scores), None)
