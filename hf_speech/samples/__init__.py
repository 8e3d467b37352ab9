"""A small corpus of synthetic voices, shipped with the package, to try everything without a download."""

import csv
from pathlib import Path


def sample_corpus() -> Path:
    """The metadata.csv of the shipped corpus; the paths in it are relative to its folder.

    >>> sample_corpus().name
    'metadata.csv'
    """
    return Path(__file__).with_name("metadata.csv")


def sample_files(speakers: int, of_each: int = 1) -> list[str]:
    """Recordings of the first few speakers that no model of the quickstart is trained on, as paths.

    Args:
        speakers: how many of them.
        of_each: how many recordings of each, one speaker after the other.

    >>> [Path(path).stem for path in sample_files(2, of_each=2)]
    ['ada-test-1', 'ada-test-2', 'bea-test-1', 'bea-test-2']
    """
    table = sample_corpus()
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    voices: dict[str, list[str]] = {}
    for row in rows:
        voices.setdefault(row["speaker_id"], []).append(str(table.parent / row["path"]))
    return [path for paths in list(voices.values())[:speakers] for path in paths[:of_each]]
