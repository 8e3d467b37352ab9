"""A run that is to tell speakers apart is validated by trials among its validation rows: equal error rate, minDCF."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..data.problems import Problems
from ..errors import InputError
from ..metrics.verification import eer, min_dcf
from ..verification.backend import Backend
from ..verification.trials import check_trials, read_trials

NUMBERS = ("eer", "min_dcf")


@dataclass(frozen=True)
class ValidationTrials:
    """Trials among the rows of a split.

    Attributes:
        labels: (N,) 1: one speaker; 0: two.
        left: (N,) row numbers.
        right: (N,) row numbers.
    """

    labels: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def numbers(self, embeddings: np.ndarray) -> dict[str, float]:
        """EER and minDCF (at a prior of 0.01) by the cosine of embeddings (rows, E)."""
        scores = Backend.cosine(embeddings.shape[1]).score(embeddings, self.left, self.right)
        return {"eer": float(eer(self.labels, scores)), "min_dcf": float(min_dcf(self.labels, scores))}


def validation_trials(name: str, rows: Dataset, root: str | None) -> ValidationTrials:
    """Reads a list of trials `1|0 path path` among rows with the column `id`.

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
    if "id" not in rows.column_names:
        raise InputError("trials: the validation rows have no column id, by which a list names them; leave trials out")
    problems = Problems()
    ids = [str(name) for name in rows["id"]]
    trials = check_trials(read_trials(there[0], problems), pa.array(ids), there[0], problems)
    problems.settle(str(there[0]), option=None)
    place = {name: i for i, name in enumerate(ids)}
    sides = [
        np.array([place[name] for name in trials[side].cast(pa.string()).to_pylist()]) for side in ("left", "right")
    ]
    labels = np.asarray(trials["label"].to_numpy())
    if not 0 < pc.sum(trials["label"]).as_py() < len(labels):
        raise InputError(f"{there[0]}: trials of one kind only; an equal error rate needs both")
    return ValidationTrials(labels, *sides)
