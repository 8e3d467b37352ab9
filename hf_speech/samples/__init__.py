"""A small corpus of synthetic voices, shipped with the package, to try everything without a download."""

from pathlib import Path


def sample_corpus() -> Path:
    """The metadata.csv of the shipped corpus; the paths in it are relative to its folder.

    >>> sample_corpus().name
    'metadata.csv'
    """
    return Path(__file__).with_name("metadata.csv")
