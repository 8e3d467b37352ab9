"""Long rows -> chunks: pieces of nearly equal length, which a collator reads one by one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from ..audio import SAMPLE_RATE
from ..errors import InputError
from .checks import MIN_SAMPLES
from .schema import require_column


@dataclass(frozen=True)
class Chunk:
    """A piece of a row: of which one, from where to where (seconds in the file; None: its ends), how many samples."""

    row: int
    start: float | None
    end: float | None
    length: int

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row, cut to this piece, as `SpeechCollator` takes it."""
        own = {"start": self.start, "end": self.end, "length": self.length, "duration": self.length / SAMPLE_RATE}
        return {**row, **own}


def whole_rows(rows: Dataset) -> list[Chunk]:
    """Every row as one piece; see `chunk_rows`."""
    require_column(rows, "length", "chunks need the lengths that check_rows notes")
    starts, ends = (rows[name] if name in rows.column_names else [None] * len(rows) for name in ("start", "end"))
    return [Chunk(row, *cut) for row, cut in enumerate(zip(starts, ends, rows["length"], strict=True))]


def chunk_rows(rows: Dataset, max_seconds: float) -> list[Chunk]:
    """Every row in pieces of nearly equal length, none longer than `max_seconds`, which cover all of it once.

    A row of n samples becomes ceil(n / max) pieces, so no short rest is left over. Nothing of the rows is copied.

    Args:
        rows: with `length` (from `check_rows`), and perhaps `start` and `end`.
        max_seconds: the longest piece.

    Raises:
        InputError: no column `length`, or a limit that is not above one receptive field.
    """
    longest = round(max_seconds * SAMPLE_RATE)
    if longest < 2 * MIN_SAMPLES:
        raise InputError(f"chunks of {max_seconds:g} s are too short; give at least {2 * MIN_SAMPLES / SAMPLE_RATE} s")
    chunks: list[Chunk] = []
    for whole in whole_rows(rows):
        count = math.ceil(whole.length / longest)
        if count == 1:
            chunks.append(whole)
            continue
        bounds = [round(k * whole.length / count) for k in range(count + 1)]
        for first, last in zip(bounds[:-1], bounds[1:], strict=True):
            begin = (whole.start or 0.0) + first / SAMPLE_RATE
            chunks.append(Chunk(whole.row, begin, begin + (last - first) / SAMPLE_RATE, last - first))
    return chunks
