"""Recordings that somebody named, as rows."""

from collections.abc import Sequence
from pathlib import Path

from datasets import Audio, Dataset

from .readers import audio_files


def rows_of_files(files: Sequence[str | Path]) -> Dataset:
    """Rows of audio files; a folder stands for all the audio files in it.

    Raises:
        InputError: a path that does not exist, or a folder without audio files.
    """
    paths = [str(path) for given in files for path in audio_files(given)]
    rows = Dataset.from_dict({"audio": [{"bytes": None, "path": path} for path in paths], "path": paths})
    return rows.cast_column("audio", Audio(decode=False))
