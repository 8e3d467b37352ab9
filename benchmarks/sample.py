"""The real speech that speed is measured on: recordings of the speaker pack, drawn once and for all."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.files import write_table

from .real_speech import SPEECH

SECONDS, SEED = 240.0, 0
# Of a run that learns from the table of `Sample.write_table` what speed is about: nothing is validated, tested or kept.
FIELDS: dict[str, Any] = {
    "target": "label",
    "pooling": "mean",
    "test": "none",
    "validation": "none",
    "save_strategy": "no",
    "seed": 0,
}


@dataclass(frozen=True)
class Sample:
    """Recordings, as long as they are.

    Attributes:
        files: in the order in which they were drawn.
        speakers: of each.
        seconds: of each.
    """

    files: list[Path]
    speakers: list[str]
    seconds: list[float]

    @property
    def total(self) -> float:
        """Seconds of all."""
        return sum(self.seconds)

    def write_table(self, path: Path) -> None:
        """A csv with the columns path and label, which is the speaker."""
        write_table(
            [{"path": str(file), "label": one} for file, one in zip(self.files, self.speakers, strict=True)], path
        )

    def first(self, seconds: float) -> "Sample":
        """The first of them, until they are so long together."""
        count, total = 0, 0.0
        while count < len(self.files) and total < seconds:
            total += self.seconds[count]
            count += 1
        return Sample(self.files[:count], self.speakers[:count], self.seconds[:count])

    def facts(self) -> dict[str, float | int]:
        """What is written down of it."""
        return {"recordings": len(self.files), "audio_seconds": round(self.total, 1), "seed": SEED}


def drawn(speech: Path = SPEECH, seconds: float = SECONDS) -> Sample:
    """Recordings of speech/speaker until they are so long together.

    Raises:
        SystemExit: there are none.
    """
    table = speech / "speaker" / "metadata.csv"
    if not table.exists():
        raise SystemExit(f"{table}: there is no such file; say where the speech lies with --speech")
    with table.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    chosen, total = [], 0.0
    for place in np.random.default_rng(SEED).permutation(len(rows)):
        if total >= seconds:
            break
        chosen.append(rows[place])
        total += float(rows[place]["duration"])
    return Sample(
        [table.parent / row["path"] for row in chosen],
        [row["speaker"] for row in chosen],
        [float(row["duration"]) for row in chosen],
    )
