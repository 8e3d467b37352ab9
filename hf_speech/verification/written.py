"""Scores of trials as `hf-speech verify` has written them, or any other program: read again, and put in one order."""

from collections import Counter
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


@dataclass(frozen=True)
class ScoredTrials:
    """A list with its scores.

    Attributes:
        source: the file that it was read from.
        labels: (T,) 1: the same speaker; 0: two.
        sides: (T, 2) names.
        scores: (T,) log-likelihood ratios where they are calibrated.
        speakers: (T, 2) who speaks; None: not known of every side.
        calibrated: whether the scores are log-likelihood ratios.
    """

    source: Path
    labels: NDArray
    sides: NDArray
    scores: NDArray
    speakers: NDArray | None
    calibrated: bool

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
            speakers=None if self.speakers is None else np.where(turned, self.speakers[:, ::-1], self.speakers)[order],
        )


def holds_trials(folder: Path) -> bool:
    """Whether there are scores of trials in a folder."""
    return (folder / TRIALS).is_file() or (folder / SCORES).is_file()


def read_scores(folder: Path) -> ScoredTrials:
    """The trials in a folder: those of trials.parquet, with their speakers; without it, those of scores.txt.

    Raises:
        InputError: the file can't be read, a line of scores.txt is not `label path1 path2 score`, or a score is not
            finite.
    """
    found = _read_table(folder / TRIALS) if (folder / TRIALS).is_file() else _read_text(folder / SCORES)
    wrong = np.flatnonzero(~np.isfinite(found.scores))
    if len(wrong):
        left, right = found.sides[wrong[0]]
        raise InputError(f"{found.source}: the score of {left} and {right} is not finite; score the list again")
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
        left, right = one.sides[wrong[0]]
        raise InputError(
            f"{one.source} and {other.source} have other labels for {len(wrong):,} trials: {left} {right} is "
            f"{one.labels[wrong[0]]} and {other.labels[wrong[0]]}; score the same list with both"
        )


def different(what: str, one: tuple[Path, list[str]], other: tuple[Path, list[str]]) -> InputError:
    """What refuses to compare two files by the names of what is in them: how many the other one lacks, an example."""
    asked = [Counter(names) for _, names in (one, other)]
    lacking = zip((one[0], other[0]), (asked[0] - asked[1], asked[1] - asked[0]), strict=True)
    told = [f"of {source} {found.total():,}, such as {next(iter(found))}" for source, found in lacking if found]
    return InputError(f"{what} that are not in both: {'; '.join(told)}; compare runs on the same {what}")


def _read_table(path: Path) -> ScoredTrials:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: can't be read ({one_line(error)}); verify again") from error
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking or not len(table):
        what = f"has no column {lacking[0]}" if lacking else "holds no trial"
        raise InputError(f"{path}: {what}; `hf-speech verify` writes {', '.join(COLUMNS)}")
    calibrated = "llr" in table.column_names and not table["llr"].null_count
    speakers = ["left_speaker", "right_speaker"]
    known = set(speakers) <= set(table.column_names) and not any(table[name].null_count for name in speakers)
    return ScoredTrials(
        path,
        np.asarray(table["label"]).astype(np.int64),
        _texts(table, ["left", "right"]),
        np.asarray(table["llr" if calibrated else "score"], dtype=np.float64),
        _texts(table, speakers) if known else None,
        calibrated,
    )


def _texts(table: pa.Table, columns: list[str]) -> NDArray:
    """(T, columns) texts, each distinct one a single object."""
    parts = []
    for name in columns:
        encoded = pc.dictionary_encode(table[name].cast(pa.string()).combine_chunks())
        parts.append(np.array(encoded.dictionary.to_pylist(), dtype=object)[np.asarray(encoded.indices)])
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
    return ScoredTrials(path, np.array(labels), named, np.array(scores), None, calibrated=False)
