"""A run that is to tell speakers apart is validated by trials among its validation rows: equal error rate, minDCF."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..data.problems import Problems
from ..data.schema import column_texts, item_ids
from ..errors import InputError, one_line
from ..metrics import verification_numbers
from ..metrics.verification import Roc, eer, min_dcf, roc
from ..results import metric_rows
from ..verification.backend import Backend
from ..verification.trials import check_trials, read_trials, without_extension

NUMBERS = ("eer", "min_dcf")


@dataclass(frozen=True)
class ValidationTrials:
    """Trials among the rows of a split.

    Attributes:
        labels: (N,) 1: one speaker; 0: two.
        left: (N,) row numbers.
        right: (N,) row numbers.
        ids: names of the rows.
    """

    labels: np.ndarray
    left: np.ndarray
    right: np.ndarray
    ids: list[str]

    def numbers(self, embeddings: np.ndarray) -> dict[str, float]:
        """EER and minDCF (at a prior of 0.01) by the cosine of embeddings (rows, E)."""
        scores = self._scores(embeddings)
        return {"eer": float(eer(self.labels, scores)), "min_dcf": float(min_dcf(self.labels, scores))}

    def curve(self, embeddings: np.ndarray) -> Roc:
        """The error rates at all thresholds, by the cosine of embeddings (rows, E)."""
        return roc(self.labels, self._scores(embeddings))

    def rows(
        self, embeddings: np.ndarray, speakers: Sequence[str] | None, *, dataset: str, split: str, seed: int
    ) -> list[dict[str, Any]]:
        """The same numbers with their intervals, as results.json has them: n is that of the trials.

        Args:
            embeddings: (rows, E).
            speakers: of the rows, resampled where they are known.
            dataset: name of the data.
            split: name of the split.
            seed: of the resamples.

        Raises:
            InputError: a trial whose label is not what the speakers of its rows say.
        """
        who = None
        if speakers is not None:
            who = [speakers[i] for i in self.left], [speakers[i] for i in self.right]
        try:
            numbers = verification_numbers(self.labels, self._scores(embeddings), who, seed)
        except ValueError as error:
            raise InputError(f"trials: {one_line(error)}") from None
        ids = [f"{self.ids[left]} {self.ids[right]}" for left, right in zip(self.left, self.right, strict=True)]
        return metric_rows(numbers, dataset=dataset, split=split, ids=ids)

    def _scores(self, embeddings: np.ndarray) -> np.ndarray:
        return Backend.cosine(embeddings.shape[1]).score(embeddings, self.left, self.right, ids=self.ids)


def validation_trials(name: str, rows: Dataset, root: str | None) -> ValidationTrials:
    """Reads a list of trials `1|0 name name` among rows, by their ids or their paths below the data set's folder.

    Args:
        name: a file; a relative one may lie in the data set's folder, such as `trials/validation.txt` of VoxCeleb.
        rows: of the split.
        root: the data set's folder.

    Raises:
        InputError: there is no such list, a trial of it is not about these rows, or its label is false.
    """
    folder = Path(root or ".")
    folder = folder.parent if folder.is_file() else folder
    there = [path for path in (Path(name), folder / name) if path.is_file()]
    if not there:
        raise InputError(
            f"trials: there is no file {name}, nor one in {folder}; give a list with lines `1|0 path path`"
        )
    problems = Problems()
    ids = item_ids(rows, root)
    names = [without_extension(name) for name in ids]
    trials = read_trials(there[0], problems)
    trials = check_trials(trials, pa.array(names), there[0], problems, speakers=_speakers_of(rows, names))
    problems.settle(str(there[0]), option=None)
    place = {name: i for i, name in enumerate(names)}
    left, right = (
        np.array([place[name] for name in trials[side].cast(pa.string()).to_pylist()]) for side in ("left", "right")
    )
    labels = np.asarray(trials["label"].to_numpy())
    if not 0 < pc.sum(trials["label"]).as_py() < len(labels):
        raise InputError(f"{there[0]}: trials of one kind only; an equal error rate needs both")
    return ValidationTrials(labels, left, right, ids)


def _speakers_of(rows: Dataset, names: Sequence[str]) -> dict[str, str | None] | None:
    """Who speaks in each row; None where that is not known, and the names may say it."""
    if "speaker_id" not in rows.column_names:
        return None
    return dict(zip(names, column_texts(rows, "speaker_id"), strict=True))
