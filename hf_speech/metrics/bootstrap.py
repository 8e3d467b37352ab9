"""Intervals by resampling speakers: of utterances, and of verification trials.

The utterances of one speaker are alike, so resampling utterances alone takes a test set of few speakers for much more
evidence than it is. `bootstrap` draws speakers, then utterances of each. Sources: Efron & Tibshirani, "An Introduction
to the Bootstrap", 1993, chapter 13 (percentile interval); Davison & Hinkley, "Bootstrap Methods and their Application",
1997, section 3.8 (hierarchical data; of the two ways named there this one draws with replacement at both levels, which
gives the wider interval).

A verification trial has two speakers, and every speaker is in many trials: `bootstrap_trials` draws speakers and keeps
the trials between those drawn. Snijders & Borgatti, "Non-parametric standard errors and tests for network statistics",
2003 (vertex bootstrap); Owen, "The pigeonhole bootstrap", 2007; that such draws are valid where both sides are of one
population: Davezies, D'Haultfoeuille & Guyonvarch, "Empirical process results for exchangeable arrays", 2021.

Percentiles of such draws held an error rate of 30 speakers in 92 % of the cases, not in 95. Their ends are therefore
moved, after which EER and minDCF of 30 and of 100 speakers are held in 93 to 97 % (benchmarks/verification_metrics.py;
Cllr and minCllr were not measured there: the best map of minCllr fits the few trials that it has, and its interval lies
too low). Where no trial is decided wrongly no draw has an error either, and the interval has no width:

- for bias and skewness: BCa, Efron & Tibshirani 1993, section 14.3; its jackknife leaves out a speaker with all trials;
- for few speakers: a deviation of the bootstrap is too small by sqrt((n - 1) / n), and its normal quantile is not
  Student's; Hesterberg, "What teachers should know about the bootstrap", The American Statistician 2015, on narrowness
  bias and the expanded percentile interval. Of the mean over n speakers the interval becomes Student's own;
- for what is of one pair of speakers alone: its variance counts three times in such draws (Owen 2007), as the weight
  m_i * m_j of a pair is 1 + (m_i - 1) + (m_j - 1) + (m_i - 1) * (m_j - 1). The last product has nothing of the speakers
  in it; what it adds is measured by drawing pairs of speakers, and taken off. The other surplus stays, since no draws
  are right for every array (McCullagh, "Resampling and exchangeable arrays", Bernoulli 2000): rather too wide.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SPEAKERS = (
    10  # fewer give too few different resamples for the tails of an interval: utterances are resampled instead
)
LEVEL = 0.95
LEFT_OUT = 200  # of more speakers several are left out at a time: the jackknife then costs a fifth of 1,000 replicates
PAIR_DRAWS = 100  # for a variance that is some per cent of another, known to a seventh


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
    low, high = _percentiles(_replicates(statistic, draws, repetitions), level)
    return Interval(low, high, "utterance" if groups is None else "speaker")


def bootstrap_trials(
    statistic: Callable[[NDArray], Any],
    speakers: tuple[Sequence[Any], Sequence[Any]] | int,
    *,
    repetitions: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The interval of a statistic of verification trials, resampled by speaker where there are enough of them.

    Of S speakers S are drawn with replacement, speaker i m_i times. A trial between speakers i and j then counts
    m_i * m_j times, a trial within speaker i m_i times: each copy of a speaker brings its own trials, and the trials of
    a copy with another copy of the same speaker do not exist. The ends are those of BCa with another reach (see
    the head of this module); where trials are resampled, they are percentiles.

    Args:
        statistic: weights (N,) whole numbers, how many times each trial counts -> as for `bootstrap`.
        speakers: (N,) the speaker on the left and (N,) on the right of each trial; or just N, where they are not known.
            With fewer than 10 speakers, or where one is None, trials are resampled.
        repetitions: as for `bootstrap`.
        seed: as for `bootstrap`.
        level: as for `bootstrap`.

    Returns:
        The interval; NaN where the statistic itself is, or every replicate.

    Raises:
        ValueError: no trials.
    """
    count = speakers if isinstance(speakers, int) else len(speakers[0])
    if count == 0:
        raise ValueError("no trials to measure; an interval needs at least one")
    groups = None if isinstance(speakers, int) else _group([*speakers[0], *speakers[1]])
    rng = np.random.default_rng(seed)
    if groups is None:
        low, high = _percentiles(_replicates(statistic, _draw_utterances(count, rng), repetitions), level)
        return Interval(low, high, "trial")
    one, other = groups[:count], groups[count:]
    replicates = _replicates(statistic, _draw_speaker_pairs(one, other, rng), repetitions)
    of_pairs = _replicates(statistic, _draw_cells(one, other, rng), PAIR_DRAWS)
    left_out = np.array([statistic(weights) for weights in _leave_out(one, other)], dtype=np.float64)
    values = np.array([statistic(np.ones(count, dtype=np.int64))], dtype=np.float64)
    reach = _reach(int(groups.max()) + 1, level)
    columns = zip(*map(_columns, (values, replicates, left_out, of_pairs)), strict=True)
    ends = [_bca(float(value[0]), drawn, left, pairs, reach) for value, drawn, left, pairs in columns]
    low, high = _like(replicates, ends)
    return Interval(low, high, "speaker")


def _replicates(statistic: Callable[[NDArray], Any], draws: Iterator[NDArray], repetitions: int) -> NDArray:
    """(repetitions,), or (repetitions, K) of a statistic of K numbers."""
    return np.array([statistic(next(draws)) for _ in range(repetitions)], dtype=np.float64)


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


def _draw_speaker_pairs(left: NDArray, right: NDArray, rng: np.random.Generator) -> Iterator[NDArray]:
    """Endless weights (N,) of trials between speakers left (N,) and right (N,); see `bootstrap_trials`."""
    count = int(max(left.max(), right.max())) + 1
    other = np.where(left == right, count, right)  # within a speaker the second factor is that of a last place: 1
    while True:
        times = np.append(np.bincount(rng.integers(0, count, count), minlength=count), 1)
        yield times[left] * times[other]


def _draw_cells(left: NDArray, right: NDArray, rng: np.random.Generator) -> Iterator[NDArray]:
    """Endless weights (N,): of the pairs of two speakers as many drawn with replacement; within a speaker always 1."""
    between = left != right
    names = np.minimum(left, right) * (int(max(left.max(), right.max())) + 1) + np.maximum(left, right)
    pairs, numbers = np.unique(names[between], return_inverse=True)
    cell = np.full(len(left), len(pairs))
    cell[between] = numbers
    while True:
        yield np.append(np.bincount(rng.integers(0, max(len(pairs), 1), len(pairs)), minlength=len(pairs)), 1)[cell]


def _leave_out(left: NDArray, right: NDArray) -> Iterator[NDArray]:
    """Weights (N,) without the trials of one speaker after the other; of many speakers, of some at a time."""
    count = int(max(left.max(), right.max())) + 1
    places = min(count, LEFT_OUT)
    for place in range(places):
        yield ((left % places != place) & (right % places != place)).astype(np.int64)


def _reach(speakers: int, level: float) -> float:
    """How many deviations an interval goes to either side: Student's quantile times sqrt(n / (n - 1)).

    >>> round(_reach(30, 0.95), 3), round(_reach(1_000_000, 0.95), 3)
    (2.08, 1.96)
    """
    from scipy.stats import t  # slow to import

    return float(t.ppf((1 + level) / 2, speakers - 1) * np.sqrt(speakers / (speakers - 1)))


def _percentiles(replicates: NDArray, level: float) -> tuple[Any, Any]:
    """The ends between which a share `level` of the replicates lies: (R,) -> floats, (R, K) -> (K,) each."""
    tail = (1 - level) / 2
    ends = [_at(_known(column), (tail, 1 - tail)) for column in _columns(replicates)]
    return _like(replicates, ends)


def _bca(value: float, replicates: NDArray, left_out: NDArray, of_pairs: NDArray, reach: float) -> tuple[float, float]:
    """The ends of one number's interval: Efron & Tibshirani 1993, equations 14.9 to 14.15, NaN passed over.

    Args:
        value: of all trials.
        replicates: (R,).
        left_out: (J,) without each part of the speakers.
        of_pairs: (P,) of pairs of speakers, drawn.
        reach: deviates from the middle to either end, but for bias, skewness and what is of pairs alone.
    """
    drawn, left = _known(replicates), _known(left_out)
    if np.isnan(value) or not drawn.size:
        return np.nan, np.nan
    normal, least = NormalDist(), 0.5 / len(drawn)
    below = np.mean(drawn < value) + np.mean(drawn == value) / 2
    bias = normal.inv_cdf(float(np.clip(below, least, 1 - least)))
    acceleration, reach = _acceleration(left), reach * _without_pairs(drawn, _known(of_pairs))
    shares = []
    for deviate in (bias - reach, bias + reach):
        shrunk = 1 - acceleration * deviate  # 0 where the skewness moves the end to infinity, which is the last one
        shares.append(normal.cdf(bias + deviate / shrunk) if shrunk > 0 else float(deviate > 0))
    return _at(drawn, shares)


def _acceleration(left_out: NDArray) -> float:
    """A sixth of the skewness of what each part of the speakers adds, (J,) without NaN; 0 where nothing differs."""
    if not left_out.size:
        return 0.0
    pulls = left_out.mean() - left_out
    spread = float((pulls**2).sum()) ** 1.5
    return float((pulls**3).sum()) / (6 * spread) if spread else 0.0


def _without_pairs(replicates: NDArray, of_pairs: NDArray) -> float:
    """The share of the deviation that is left without the product of two speakers' draws, sqrt(2 / 3) to 1.

    Of three parts of variance that pairs alone can have one is taken off, so two thirds are left where there is no
    other.
    """
    variance = float(replicates.var())
    surplus = float(of_pairs.var()) / variance if variance and of_pairs.size else 0.0
    return float(np.sqrt(max(1 - surplus, 2 / 3)))


def _at(replicates: NDArray, shares: Sequence[float]) -> tuple[float, float]:
    """The values that have these two shares of the replicates (R,) below them; NaN where there are none."""
    low, high = np.quantile(replicates, shares) if replicates.size else (np.nan, np.nan)
    return float(low), float(high)


def _known(numbers: NDArray) -> NDArray:
    return numbers[~np.isnan(numbers)]


def _columns(numbers: NDArray) -> NDArray:
    """(R,) -> (1, R); (R, K) -> (K, R)."""
    return numbers.reshape(len(numbers), -1).T


def _like(replicates: NDArray, ends: list[tuple[float, float]]) -> tuple[Any, Any]:
    """Lows and highs, of K numbers, as the statistic has them."""
    low, high = np.array(ends).T
    return (float(low[0]), float(high[0])) if replicates.ndim == 1 else (low, high)
