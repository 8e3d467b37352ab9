"""Lists of trials as a prepared corpus comes with them: where each is from, and whether it is whole."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..data.problems import Problems
from .trials import check_trials, count_trials, fingerprint, read_trials, trial_lines


@dataclass(frozen=True)
class TrialList:
    """A list of trials of the output.

    Attributes:
        name: of the whole list.
        source: the file that it came from, or how it was made.
        trials: a table with the columns of `TRIALS`.
        left_out: how many trials of the file are not in the table.
    """

    name: str
    source: Path | str
    trials: pa.Table
    left_out: int = 0

    @property
    def title(self) -> str:
        """What it is called: if it lost trials not by the name of the whole list, since results on it are others."""
        return f"{self.name}.partial" if self.left_out else self.name

    @property
    def text(self) -> str:
        """The list as VoxCeleb writes it."""
        return "".join(trial_lines(self.trials, ".wav"))

    def facts(self) -> dict[str, Any]:
        """What audit.json says of it."""
        file = self.source.name if isinstance(self.source, Path) else self.source
        counts = count_trials(self.trials) | {"left_out": self.left_out}
        return {"name": self.title, "file": file, **counts, "fingerprint": fingerprint(self.trials)}

    def checked(self, known: pa.ChunkedArray, problems: Problems) -> "TrialList":
        """The list without what `check_trials` finds wrong; `known`: ids of the utterances that are there."""
        kept = check_trials(self.trials, known, self.source, problems)
        return replace(self, trials=kept, left_out=self.left_out + len(self.trials) - len(kept))


def read_list(name: str, path: Path, problems: Problems) -> TrialList:
    """A list of trials from a file; lines that are none are left out.

    Raises:
        InputError: the file can't be read, or holds no trial.
    """
    faults = Problems(problems.on_bad)
    trials = read_trials(path, faults)
    problems.take(faults)
    return TrialList(name, path, trials, faults.counts["malformed line"] + faults.counts["encoding"])
