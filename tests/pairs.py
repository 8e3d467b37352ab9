"""Pairs of two lists as parameters of a test: some of them in the normal run, all of them in the slow one."""

from collections.abc import Collection
from typing import Any

import pytest


def some_pairs(first: Collection[Any], second: Collection[Any], every: int) -> list[Any]:
    """All pairs; those that are not on every so many-th diagonal are slow.

    Each value is in a pair of the normal run, in several where the other list is longer than `every`.
    """
    assert every <= min(len(first), len(second)), "a value would be in no pair of the normal run"
    return [
        pytest.param(one, other, marks=[] if (i + j) % every == 0 else pytest.mark.slow)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
    ]
