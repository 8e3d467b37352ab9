"""Numbers of a cross-validation: means over folds and runs, how far both scatter, and an interval.

The spreads are those of ft-ser (the evaluation of Chen & Rudnicky, 2110.06309): with the number of run r on fold f as
x[r, f], all deviations those of the whole population (divided by N),

    mean         of all x
    fold std     the deviation over the folds, mean over the runs
    fold median  the median over the folds, mean over the runs
    run std      the deviation over the runs of their means over the folds
    run median   the median over the runs of their means over the folds

The interval is of the mean: utterances are resampled by speaker over all folds at once (metrics/bootstrap.py), the same
draw for every run, and a fold counts as much as was drawn of it. It covers other speakers, not other seeds: these are
what the run std is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics.bootstrap import bootstrap
from ..metrics.numbers import Measure, number_rows


@dataclass(frozen=True)
class FoldPart:
    """What one run measured on one fold.

    Attributes:
        measure: its numbers.
        places: (n,) which of all utterances of the cross-validation its items are, whole numbers from 0.
    """

    measure: Measure
    places: NDArray


def spreads(values: NDArray) -> dict[str, float]:
    """The five numbers of this module's docstring: (R, F) -> {mean, fold_std, fold_median, run_std, run_median}.

    >>> {name: round(value, 3) for name, value in spreads(np.array([[0.5, 0.7], [0.6, 1.0]])).items()}
    {'mean': 0.7, 'fold_std': 0.15, 'fold_median': 0.7, 'run_std': 0.1, 'run_median': 0.7}
    """
    by_run = values.mean(axis=1)
    return {
        "mean": float(values.mean()),
        "fold_std": float(values.std(axis=1).mean()),
        "fold_median": float(np.median(values, axis=1).mean()),
        "run_std": float(by_run.std()),
        "run_median": float(np.median(by_run)),
    }


def fold_measure(parts: Sequence[Sequence[FoldPart]], count: int) -> Measure:
    """The means over folds and runs as numbers of all utterances, each fold weighted by the share of it that is drawn.

    Args:
        parts: R runs of F folds each; all have the same numbers.
        count: utterances of all folds, N.
    """
    units = parts[0][0].measure.units
    # A number that one fold does not have, as a correlation of equal ages, has no mean, and so no interval.
    lacking = np.isnan(_values(parts)).any(axis=(0, 1))
    return Measure(units, count, lambda weights: np.where(lacking, np.nan, _mean(parts, weights)).tolist())


def fold_numbers(
    parts: Sequence[Sequence[FoldPart]], speakers: Sequence[str] | int, seed: int = 0
) -> list[dict[str, Any]]:
    """The mean of every number over folds and runs with its interval, and beside it the spreads.

    Args:
        parts: R runs of F folds each; all have the same numbers.
        speakers: (N,) who speaks in each utterance of all folds; or just N, where that is not known.
        seed: of the resamples.

    Raises:
        ValueError: no runs, or runs of different folds.
    """
    if not parts or len({len(run) for run in parts}) != 1:
        raise ValueError(f"{[len(run) for run in parts]} folds in {len(parts)} runs; give every run all folds")
    measure = fold_measure(parts, speakers if isinstance(speakers, int) else len(speakers))
    interval = bootstrap(measure.of, speakers, seed=seed)
    found = [spreads(column) for column in np.moveaxis(_values(parts), -1, 0)]
    rows = number_rows(measure.units, [spread["mean"] for spread in found], interval)
    return [
        {**row, **{name: value for name, value in spread.items() if name != "mean"}}
        for row, spread in zip(rows, found, strict=True)
    ]


def _values(parts: Sequence[Sequence[FoldPart]]) -> NDArray:
    """(R, F, numbers), every utterance counted once."""
    return np.array([[list(part.measure.values().values()) for part in run] for run in parts])


def _mean(parts: Sequence[Sequence[FoldPart]], weights: NDArray) -> NDArray:
    """The mean of each number over runs and folds, of which each counts by the share of it that was drawn."""
    means = []
    for run in parts:
        drawn = [weights[part.places] for part in run]
        shares = np.array([part.mean() for part in drawn])
        numbers = np.array(
            [
                part.measure.of(one) if one.any() else [np.nan] * len(part.measure.units)
                for part, one in zip(run, drawn, strict=True)
            ]
        )
        counted = np.where(np.isnan(numbers), 0.0, shares[:, None])
        total = counted.sum(axis=0)
        summed = (np.nan_to_num(numbers) * counted).sum(axis=0)
        means.append(np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0))
    return np.mean(means, axis=0)
