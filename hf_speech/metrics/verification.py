"""Verification metrics: is it the same speaker? Equal error rate, detection costs, cost of log-likelihood ratios.

A trial is accepted where its score is at least the threshold. FNMR (miss rate) is the share of target trials that are
refused, FMR (false alarm rate) the share of non-target trials that are accepted; names after ISO/IEC 19795-1.

Trials of one score are accepted together, so the curve has one point for each distinct score, and one where all is
refused. Between two neighbouring points it is a straight line, which a system that chooses between both thresholds by
lot attains; the equal error rate (EER) is read off where this line has FNMR = FMR. Hence it depends neither on the
order of the trials nor on any increasing transform of the scores, it is the same when targets and non-targets change
places and the scores their sign, and it is 0.5 where all scores are equal. Fawcett, "An introduction to ROC analysis",
2006, on equally scored instances and on interpolating classifiers. The convex hull of the curve, which some use, gives
a slightly lower EER.

EER, minDCF and minCllr say how well the order of the scores tells the two kinds of trials apart. Where the scores are
log-likelihood ratios (natural logarithm: target against non-target), actDCF and Cllr say how well one decides, and how
much one knows, who takes them at their word; what they are above minDCF and minCllr is lost to calibration.
"""

from dataclasses import dataclass
from statistics import NormalDist

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
        return self._threshold(above - 1 if before <= after else above)

    @property
    def min_cllr(self) -> float:
        """What `cllr` is after the best rising map of the scores, in bits, 0 to 1; NaN without both kinds of trials.

        Bruemmer & du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language
        2006, on discrimination and calibration loss. The best map takes a score to the slope of the convex hull of this
        curve, which isotonic regression (pool adjacent violators) finds: Fawcett & Niculescu-Mizil, "PAV and the ROC
        convex hull", Machine Learning 2007. With both kinds weighted to one half, what it leaves is the cross-entropy
        of the posterior; ratios that are infinite then cost nothing.
        """
        from sklearn.isotonic import isotonic_regression  # slow to import

        if self._crossing() is None:
            return float("nan")
        targets, others = np.diff(self.fnmr), -np.diff(self.fmr)
        there = targets + others > 0  # a resample may have no trial of a score
        targets, others = targets[there], others[there]
        posterior = isotonic_regression(targets / (targets + others), sample_weight=targets + others)
        bits = _times_log2(targets, posterior) + _times_log2(others, 1 - posterior)
        return min(max(0.0, -bits / 2), 1.0)  # rounding may lead a hair outside

    def threshold_at_fmr(self, rate: float) -> float:
        """The lowest threshold at which the share of non-targets that are accepted is at most `rate`.

        As for `eer_threshold` it stands in the middle of its room; infinity where only to refuse all does it, NaN
        without non-targets.

        Raises:
            ValueError: the rate is not between 0 and 1.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"false acceptance rate {rate}: give a share between 0 and 1")
        if np.isnan(self.fmr[0]):
            return float("nan")
        return self._threshold(int(np.argmax(self.fmr <= rate)))

    def det(self, floor: float = 1e-5) -> tuple[NDArray, NDArray]:
        """The points of the detection error trade-off curve: normal deviates of FMR and of FNMR, (K + 1,) each.

        Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997, section 2: normal
        scores give straight lines. A rate of 0 or 1 lies at infinity: rates below `floor` are drawn at it, those above
        1 - floor there. For a picture of millions of trials take the curve of `Ranking.corners`, which looks the same.
        """
        deviate = np.frompyfunc(NormalDist().inv_cdf, 1, 1)
        fmr, fnmr = (
            deviate(np.clip(rates, floor, 1 - floor)).astype(np.float64) if not np.isnan(rates[0]) else rates
            for rates in (self.fmr, self.fnmr)
        )
        return fmr, fnmr

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
        return float(detection_cost(self.fnmr, self.fmr, p_target, c_miss, c_fa).min())

    def _difference(self) -> NDArray:
        """FNMR - FMR, rising from -1 to 1."""
        return self.fnmr - self.fmr

    def _crossing(self) -> int | None:
        """The first point with FNMR at least FMR; never the first of all, where nothing is refused."""
        difference = self._difference()
        return None if np.isnan(difference[0]) else int(np.searchsorted(difference, 0.0))

    def _threshold(self, point: int) -> float:
        """The middle of the thresholds that decide as this point does; the lowest score where all is accepted."""
        if point == 0:
            return float(self.thresholds[0])
        low, high = self.thresholds[point - 1 : point + 1]
        middle = low + (high - low) / 2
        return float(middle if middle > low else high)


def detection_cost(
    fnmr: NDArray | float, fmr: NDArray | float, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> NDArray:
    """The normalised detection cost at error rates; see `Roc.min_dcf`."""
    if not 0 < p_target < 1:
        raise ValueError(f"p_target {p_target}: give a probability between 0 and 1")
    if not (0 < c_miss < np.inf and 0 < c_fa < np.inf):
        raise ValueError(f"c_miss {c_miss}, c_fa {c_fa}: give costs above 0")
    miss, false_alarm = c_miss * p_target, c_fa * (1 - p_target)
    return (miss * np.asarray(fnmr) + false_alarm * np.asarray(fmr)) / min(miss, false_alarm)


def _times_log2(shares: NDArray, values: NDArray) -> float:
    """The sum of shares * log2(values), where no share counts nothing whatever its value."""
    counted = shares > 0
    return float(shares[counted] @ np.log2(values[counted]))


def roc(labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None) -> Roc:
    """The curve of error rates.

    Args:
        labels: (N,) 1 for a target (the same speaker), 0 for a non-target.
        scores: (N,) finite; the higher, the likelier the same speaker.
        weights: (N,) how many times each trial counts; None: once.

    Raises:
        ValueError: no trials, other shapes, other labels, a score that is not finite.

    Example:
        >>> curve = roc([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1])
        >>> curve.eer, curve.min_dcf(0.5)
        (0.5, 0.5)
    """
    kinds, values = np.asarray(labels), np.asarray(scores)
    if weights is not None or not _is_plain(kinds, values):
        return ranked_roc(Ranking.of(kinds, values), weights)
    # The order of the trials is not needed, so the values alone are sorted, each kind for itself: twice as fast.
    targets, others = np.sort(values[kinds == 1]), np.sort(values[kinds == 0])
    both = np.concatenate([others, targets])
    merged = np.argsort(both, kind="stable")  # of two sorted halves: one pass
    ordered, passed = both[merged], np.cumsum(merged >= len(others), dtype=np.float64)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    if len(ends) < len(both):
        ordered, passed = ordered[ends], passed[ends]
    refused = np.append(0.0, passed)
    accepted = len(others) - (np.append(0.0, ends + 1) - refused)
    with np.errstate(invalid="ignore"):
        return Roc(np.append(ordered, np.inf), refused / len(targets), accepted / len(others))


def _is_plain(labels: NDArray, scores: NDArray) -> bool:
    """Whether trials are as they should be; `Ranking.of` names what is wrong with others."""
    alike = scores.ndim == 1 and labels.shape == scores.shape and scores.size > 0
    return alike and bool(np.isfinite(scores).all() and ((labels == 0) | (labels == 1)).all())


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
    """The normalised minimum of the detection cost, 0 to 1; see `roc` and `Roc.min_dcf`.

    Example:
        >>> min_dcf([1, 1, 0, 0], [0.9, 0.7, 0.6, 0.1], p_target=0.01)
        0.0
    """
    return roc(labels, scores, weights).min_dcf(p_target, c_miss, c_fa)


def min_cllr(labels: ArrayLike, scores: ArrayLike, weights: NDArray | None = None) -> float:
    """The cost of log-likelihood ratios after the best rising map of the scores, in bits; see `Roc.min_cllr`.

    >>> min_cllr([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    0.0
    >>> min_cllr([1, 0], [0.5, 0.5])
    1.0
    """
    return roc(labels, scores, weights).min_cllr


def bayes_threshold(p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The log-likelihood ratio from which on to accept costs less on average than to refuse.

    log(c_fa * (1 - p_target) / (c_miss * p_target)), the negative log-odds of the effective prior: Bruemmer & du Preez
    2006, on Bayes decisions.

    >>> bayes_threshold(0.5)
    0.0

    Raises:
        ValueError: see `Roc.min_dcf`.
    """
    detection_cost(0.0, 0.0, p_target, c_miss, c_fa)
    return float(np.log(c_fa * (1 - p_target)) - np.log(c_miss * p_target))


def act_dcf(
    labels: ArrayLike,
    llrs: ArrayLike,
    weights: NDArray | None = None,
    *,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """The normalised detection cost of who accepts from the Bayes threshold on.

    Scaled as minDCF is, which is its lower bound; above 1 it is worse than not to look at the speech. NIST, "2016
    Speaker Recognition Evaluation Plan", section 3; NaN without both kinds of trials.

    Args:
        labels: (N,) 1 for a target, 0 for a non-target.
        llrs: (N,) log-likelihood ratios, natural logarithm; infinity is certainty.
        weights: (N,) how many times each trial counts; None: once.
        p_target: see `Roc.min_dcf`.
        c_miss: see `Roc.min_dcf`.
        c_fa: see `Roc.min_dcf`.

    Raises:
        ValueError: no trials, other shapes, other labels, a ratio that is NaN; costs as for `Roc.min_dcf`.

    Targets are accepted at log(0.99 / 0.01) = 4.6 and more: one of two is, and a quarter of the non-targets, which
    costs 0.5 + 0.25 * 99.

    >>> act_dcf([1, 1, 0, 0, 0, 0], [5.0, 4.0, 6.0, 1.0, 0.0, -1.0])
    25.25
    """
    is_target, values = _check_llrs(labels, llrs)
    wrong = mistakes(is_target, values, bayes_threshold(p_target, c_miss, c_fa))
    return float(detection_cost(*_class_means(is_target, wrong, weights), p_target, c_miss, c_fa))


def cllr(labels: ArrayLike, llrs: ArrayLike, weights: NDArray | None = None) -> float:
    """The cost of log-likelihood ratios, in bits: 0 for certainty that is right, 1 for knowing nothing.

    (mean over targets of log2(1 + exp(-llr)) + mean over non-targets of log2(1 + exp(llr))) / 2: Bruemmer & du Preez,
    "Application-independent evaluation of speaker detection", Computer Speech and Language 2006. It is the error rate
    of Bayes decisions summed over all log-odds of the prior, divided by that of knowing nothing. Certainty that is
    wrong costs infinitely much. See `act_dcf` for the arguments.

    >>> cllr([1, 0], [0.0, 0.0])
    1.0
    >>> round(cllr([1, 0], [np.log(3), -np.log(7)]), 6), round(float(np.log2(4 / 3) + np.log2(8 / 7)) / 2, 6)
    (0.303841, 0.303841)
    """
    is_target, values = _check_llrs(labels, llrs)
    return sum(_class_means(is_target, surprises(is_target, values), weights)) / 2


def mistakes(is_target: NDArray, llrs: NDArray, threshold: float) -> NDArray:
    """(N,) 1 for a target below the threshold and a non-target from it on, else 0."""
    return (is_target != (llrs >= threshold)).astype(np.float64)


def surprises(is_target: NDArray, llrs: NDArray) -> NDArray:
    """(N,) what each trial costs in bits, where both kinds are as likely before the score is known."""
    return np.logaddexp(0.0, np.where(is_target, -llrs, llrs)) / np.log(2)


def _class_means(is_target: NDArray, costs: NDArray, weights: NDArray | None = None) -> tuple[float, float]:
    """The mean of (N,) costs over the targets, and over the non-targets; NaN where there are none."""
    means = []
    for chosen in (is_target, ~is_target):
        counts = chosen if weights is None else weights * chosen
        counted = counts > 0  # without it a trial that does not count, but costs infinity, would give NaN
        total = counts.sum()
        means.append(float(counts[counted] @ costs[counted] / total) if total else float("nan"))
    return means[0], means[1]


def _check_llrs(labels: ArrayLike, llrs: ArrayLike) -> tuple[NDArray, NDArray]:
    """(N,) bool and (N,) float64; infinite ones may be: for what else is wrong `Ranking.of` has the words."""
    kinds, values = np.asarray(labels), np.asarray(llrs, dtype=np.float64)
    finite = np.where(np.isinf(values), 0.0, values)
    if not _is_plain(kinds, finite):
        Ranking.of(kinds, finite)
    return kinds == 1, values
