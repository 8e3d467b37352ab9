"""Percentile intervals by resampling speakers, then their utterances.

The utterances of one speaker are alike, so resampling utterances alone takes a test set of few speakers for much more
evidence than it is. Sources: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile
interval); Davison & Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8 (hierarchical data; of the
two ways named there this one draws with replacement at both levels, which gives the wider interval).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SPEAKERS = (
    10  # fewer give too few different resamples for the tails of an interval: utterances are resampled instead
)
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """Where the number would lie on other data of the kind.

    Attributes:
        low: lower end, a float or an array as the statistic returned.
        high: upper end.
        unit: what was resampled: "speaker" (and utterances within), or "utterance" alone.
    """

    low: Any
    high: Any
    unit: str


def bootstrap(
    statistic: Callable[[NDArray], Any],
    speakers: Sequence[str] | int,
    *,
    repetitions: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The percentile interval of a statistic, resampled by speaker where there are enough of them.

    Args:
        statistic: weights (N,) whole numbers, how many times each item was drawn -> a float, or an array of several
            numbers, which are then resampled together.
        speakers: (N,) the speaker of each item; or just N, where speakers are not known. With fewer than 10 speakers,
            or where one is None, utterances are resampled.
        repetitions: replicates; one in which a number is NaN (no item of a kind was drawn) is left out for that number.
        seed: of the draws; the same seed gives the same interval.
        level: share of the replicates inside.

    Returns:
        The interval; NaN where every replicate is.

    Raises:
        ValueError: no items.
    """
    count = speakers if isinstance(speakers, int) else len(speakers)
    if count == 0:
        raise ValueError("no utterances to measure; an interval needs at least one")
    groups = None if isinstance(speakers, int) else _group(speakers)
    rng = np.random.default_rng(seed)
    draws = _draw_utterances(count, rng) if groups is None else _draw_speakers(groups, rng)
    replicates = np.array([statistic(next(draws)) for _ in range(repetitions)], dtype=np.float64)
    tail = 100 * (1 - level) / 2
    low, high = (_percentile(replicates, q) for q in (tail, 100 - tail))
    return Interval(low, high, "utterance" if groups is None else "speaker")


def _group(speakers: Sequence[str]) -> NDArray | None:
    """(N,) speaker numbers from 0; None where there are too few speakers to resample, or one is not known."""
    if any(speaker is None for speaker in speakers):
        return None
    names, groups = np.unique(np.asarray(speakers), return_inverse=True)
    return groups if len(names) >= MIN_SPEAKERS else None


def _draw_utterances(count: int, rng: np.random.Generator) -> Iterator[NDArray]:
    """Endless weights (N,): N items drawn with replacement."""
    while True:
        yield np.bincount(rng.integers(0, count, count), minlength=count)


def _draw_speakers(groups: NDArray, rng: np.random.Generator) -> Iterator[NDArray]:
    """Endless weights (N,): S speakers drawn with replacement; for each drawn one, its n utterances n times likewise.

    A speaker drawn m times has m independent draws of n, which is one of m * n: its counts are multinomial(m * n, 1/n).
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    while True:
        drawn = rng.integers(0, len(sizes), len(sizes))
        start, size = np.repeat(starts[drawn], sizes[drawn]), np.repeat(sizes[drawn], sizes[drawn])
        yield np.bincount(order[start + rng.integers(0, size)], minlength=len(groups))


def _percentile(replicates: NDArray, q: float) -> Any:
    """The q-th percentile over the first axis without NaN; (R,) -> float, (R, K) -> (K,)."""
    columns = replicates.reshape(len(replicates), -1).T
    ends = [np.percentile(kept, q) if (kept := column[~np.isnan(column)]).size else np.nan for column in columns]
    return float(ends[0]) if replicates.ndim == 1 else np.array(ends)
