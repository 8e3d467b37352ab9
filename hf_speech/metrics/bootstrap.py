"""Percentile intervals by resampling speakers, then their utterances.

The utterances of one speaker are alike, so resampling utterances alone takes a test set of few speakers for much more
evidence than it is. Sources: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile
interval); Davison & Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8 (hierarchical data; of the
two ways named there this one draws with replacement at both levels, which gives the wider interval).

A verification trial has two speakers, and every speaker is in many trials: `bootstrap_trials` draws speakers and keeps
the trials between those drawn. Snijders & Borgatti, "Non-parametric standard errors and tests for network statistics",
2003 (vertex bootstrap); Owen, "The pigeonhole bootstrap", 2007; that such draws are valid where both sides are of one
population: Davezies, D'Haultfoeuille & Guyonvarch, "Empirical process results for exchangeable arrays", 2021.
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
        unit: what was resampled: "speaker" (and utterances within), or "utterance" or "trial" alone.
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
    return _interval(statistic, draws, "utterance" if groups is None else "speaker", repetitions, level)


def bootstrap_trials(
    statistic: Callable[[NDArray], Any],
    speakers: tuple[Sequence[Any], Sequence[Any]] | int,
    *,
    repetitions: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The percentile interval of a statistic of verification trials, resampled by speaker where there are enough.

    Of S speakers S are drawn with replacement, speaker i m_i times. A trial between speakers i and j then counts
    m_i * m_j times, a trial within speaker i m_i times: each copy of a speaker brings its own trials, and the trials of
    a copy with another copy of the same speaker do not exist.

    Args:
        statistic: weights (N,) whole numbers, how many times each trial counts -> as for `bootstrap`.
        speakers: (N,) the speaker on the left and (N,) on the right of each trial; or just N, where they are not known.
            With fewer than 10 speakers, or where one is None, trials are resampled.
        repetitions: as for `bootstrap`.
        seed: as for `bootstrap`.
        level: as for `bootstrap`.

    Raises:
        ValueError: no trials.
    """
    count = speakers if isinstance(speakers, int) else len(speakers[0])
    if count == 0:
        raise ValueError("no trials to measure; an interval needs at least one")
    groups = None if isinstance(speakers, int) else _group([*speakers[0], *speakers[1]])
    rng = np.random.default_rng(seed)
    draws = _draw_utterances(count, rng) if groups is None else _draw_pairs(groups[:count], groups[count:], rng)
    return _interval(statistic, draws, "trial" if groups is None else "speaker", repetitions, level)


def _interval(
    statistic: Callable[[NDArray], Any], draws: Iterator[NDArray], unit: str, repetitions: int, level: float
) -> Interval:
    replicates = np.array([statistic(next(draws)) for _ in range(repetitions)], dtype=np.float64)
    tail = 100 * (1 - level) / 2
    low, high = (_percentile(replicates, q) for q in (tail, 100 - tail))
    return Interval(low, high, unit)


def _group(speakers: Sequence[Any]) -> NDArray | None:
    """(N,) speaker numbers from 0; None where there are too few speakers to resample, or one is not known."""
    names = set(speakers)
    if None in names or len(names) < MIN_SPEAKERS:
        return None
    numbers = {name: i for i, name in enumerate(sorted(names))}
    return np.fromiter((numbers[name] for name in speakers), dtype=np.int64, count=len(speakers))


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


def _draw_pairs(left: NDArray, right: NDArray, rng: np.random.Generator) -> Iterator[NDArray]:
    """Endless weights (N,) of trials between speakers left (N,) and right (N,); see `bootstrap_trials`."""
    count = int(max(left.max(), right.max())) + 1
    other = np.where(left == right, count, right)  # within a speaker the second factor is that of a last place: 1
    while True:
        times = np.append(np.bincount(rng.integers(0, count, count), minlength=count), 1)
        yield times[left] * times[other]


def _percentile(replicates: NDArray, q: float) -> Any:
    """The q-th percentile over the first axis without NaN; (R,) -> float, (R, K) -> (K,)."""
    columns = replicates.reshape(len(replicates), -1).T
    ends = [np.percentile(kept, q) if (kept := column[~np.isnan(column)]).size else np.nan for column in columns]
    return float(ends[0]) if replicates.ndim == 1 else np.array(ends)
