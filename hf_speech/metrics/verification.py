"""Verification metrics: is it the same speaker? Equal error rate, detection cost, and the curve that both lie on.

A trial is accepted where its score is at least the threshold. FNMR (miss rate) is the share of target trials that are
refused, FMR (false alarm rate) the share of non-target trials that are accepted; names after ISO/IEC 19795-1.

Trials of one score are accepted together, so the curve has one point for each distinct score, and one where all is
refused. Between two neighbouring points it is a straight line, which a system that chooses between both thresholds by
lot attains; the equal error rate (EER) is read off where this line has FNMR = FMR. Hence it depends neither on the
order of the trials nor on any increasing transform of the scores, it is the same when targets and non-targets change
places and the scores their sign, and it is 0.5 where all scores are equal. Fawcett, "An introduction to ROC analysis",
2006, on equally scored instances and on interpolating classifiers. The convex hull of the curve, which some use, gives
a slightly lower EER.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ranking import Ranking


@dataclass(frozen=True)
class Roc:
    """The error rates at every threshold that makes a difference.

    Attributes:
        thresholds: (K + 1,) the distinct scores, rising, then infinity.
        fnmr: (K + 1,) share of the target trials below the threshold: from 0 up to 1.
        fmr: (K + 1,) share of the non-target trials at or above it: from 1 down to 0.
    """

    thresholds: NDArray
    fnmr: NDArray
    fmr: NDArray

    @property
    def eer(self) -> float:
        """Where the curve has FNMR = FMR, 0 to 1; NaN without targets or without non-targets."""
        above = self._crossing()
        if above is None:
            return float("nan")
        misses, difference = self.fnmr[above - 1 : above + 1], self._difference()[above - 1 : above + 1]
        return float(misses[0] + (misses[1] - misses[0]) * difference[0] / (difference[0] - difference[1]))

    @property
    def eer_threshold(self) -> float:
        """The threshold at which FNMR and FMR differ least; of two that do, the lower; NaN where there is no EER.

        All thresholds above one score up to the next decide alike. The one in their middle is given, so that new trials
        have the same room on either side; where everything is accepted, the lowest score.
        """
        above = self._crossing()
        if above is None:
            return float("nan")
        before, after = np.abs(self._difference()[above - 1 : above + 1])
        point = above - 1 if before <= after else above
        if point == 0:
            return float(self.thresholds[0])
        low, high = self.thresholds[point - 1 : point + 1]
        middle = low + (high - low) / 2
        return float(middle if middle > low else high)

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """The lowest detection cost over all thresholds, as a share of the cost without looking at the speech.

        (c_miss * p_target * FNMR + c_fa * (1 - p_target) * FMR) / min(c_miss * p_target, c_fa * (1 - p_target)): NIST,
        "2016 Speaker Recognition Evaluation Plan", section 3. It is at most 1, as all can be accepted or refused.

        Args:
            p_target: prior probability of a target, between 0 and 1.
            c_miss: cost of a refused target, above 0.
            c_fa: cost of an accepted non-target, above 0.

        Raises:
            ValueError: a value outside of these.
        """
        if not 0 < p_target < 1:
            raise ValueError(f"p_target {p_target}: give a probability between 0 and 1")
        if not (0 < c_miss < np.inf and 0 < c_fa < np.inf):
            raise ValueError(f"c_miss {c_miss}, c_fa {c_fa}: give costs above 0")
        miss, false_alarm = c_miss * p_target, c_fa * (1 - p_target)
        return float((miss * self.fnmr + false_alarm * self.fmr).min() / min(miss, false_alarm))

    def _difference(self) -> NDArray:
        """FNMR - FMR, rising from -1 to 1."""
        return self.fnmr - self.fmr

    def _crossing(self) -> int | None:
        """The first point with FNMR at least FMR; never the first of all, where nothing is refused."""
        difference = self._difference()
        return None if np.isnan(difference[0]) else int(np.searchsorted(difference, 0.0))


def roc(labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None) -> Roc:
    """The curve of error rates.

    Args:
        labels: (N,) 1 for a target (the same speaker), 0 for a non-target.
        scores: (N,) finite; the higher, the likelier the same speaker.
        weights: (N,) how many times each trial counts; None: once.

    Raises:
        ValueError: no trials, other shapes, other labels, a score that is not finite.
    """
    return ranked_roc(Ranking.of(labels, scores), weights)


def ranked_roc(ranking: Ranking, weights: NDArray | None = None) -> Roc:
    """`roc` of trials that are sorted already."""
    targets, others = ranking.below(weights)
    with np.errstate(invalid="ignore"):  # without targets, or without non-targets, there is no rate: NaN
        fnmr, fmr = targets / targets[-1], (others[-1] - others) / others[-1]
    return Roc(np.append(ranking.scores, np.inf), fnmr, fmr)


def eer(labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None) -> float:
    """The equal error rate, 0 to 1; see `roc` for the arguments.

    >>> eer([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.3, 0.4, 0.2, 0.1])
    0.3333333333333333
    >>> eer([1, 0], [0.5, 0.5])
    0.5
    """
    return roc(labels, scores, weights).eer


def min_dcf(
    labels: ArrayLike,
    scores: ArrayLike,
    weights: NDArray | None = None,
    *,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """The normalised minimum of the detection cost, 0 to 1; see `roc` and `Roc.min_dcf`."""
    return roc(labels, scores, weights).min_dcf(p_target, c_miss, c_fa)
