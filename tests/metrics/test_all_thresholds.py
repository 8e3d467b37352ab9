"""EER, costs and Cllr against brute force: every threshold tried, on 1,000 sets of trials with and without ties."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from hf_speech.metrics.ranking import Ranking
from hf_speech.metrics.verification import act_dcf, bayes_threshold, cllr, eer, min_cllr, min_dcf, ranked_roc, roc

SETS = 1_000
COSTS = ({"p_target": 0.01}, {"p_target": 0.05}, {"p_target": 0.5}, {"p_target": 0.3, "c_miss": 10.0, "c_fa": 2.0})


def sets() -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Labels, log-likelihood ratios that are more or less calibrated, and weights of which some are 0.

    Of 2 to 60 trials; rounded to halves or whole numbers in two of three sets, so that most of them tie.
    """
    rng = np.random.default_rng(0)
    for i in range(SETS):
        count = int(rng.integers(2, 61))
        labels = (rng.random(count) < rng.uniform(0.1, 0.9)).astype(int)
        labels[:2] = 0, 1
        llrs = rng.normal(rng.normal(), 3, count) + rng.uniform(-1, 6) * labels
        if i % 3:
            llrs = np.round(llrs * (i % 3)) / (i % 3)
        weights = rng.integers(0, 4, count)
        weights[:2] = 1
        yield labels, llrs, weights


def rates(labels: NDArray, llrs: NDArray, weights: NDArray, thresholds: NDArray) -> tuple[NDArray, NDArray]:
    """FNMR and FMR at each threshold, by counting all trials anew."""
    accepted = llrs >= thresholds[:, None]
    targets, others = weights * (labels == 1), weights * (labels == 0)
    return (~accepted @ targets) / targets.sum(), (accepted @ others) / others.sum()


def cost(misses: NDArray, alarms: NDArray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> NDArray:
    """The detection cost as a share of the cheaper of accepting all and refusing all."""
    blind = min(c_miss * p_target, c_fa * (1 - p_target))
    return (c_miss * p_target * misses + c_fa * (1 - p_target) * alarms) / blind


def crossing(misses: NDArray, alarms: NDArray) -> float:
    """Where the straight pieces between neighbouring points meet FNMR = FMR; all that do, do at one place."""
    gap = misses - alarms
    before = np.flatnonzero((gap[:-1] <= 0) & (gap[1:] >= 0) & (gap[1:] > gap[:-1]))
    part = -gap[before] / (gap[before + 1] - gap[before])
    met = misses[before] + part * (misses[before + 1] - misses[before])
    assert np.ptp(met) < 1e-12
    return float(met[0])


def rising_fit(shares: NDArray, masses: NDArray) -> NDArray:
    """Isotonic regression by its max-min formula: at i, the largest over j <= i of the least mean of j to k >= i."""
    total, mass = np.append(0, np.cumsum(shares * masses)), np.append(0, np.cumsum(masses))
    places = np.arange(len(shares))
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (total[None, 1:] - total[:-1, None]) / (mass[None, 1:] - mass[:-1, None])
    means[places[:, None] > places[None, :]] = np.inf
    least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]  # over k from i on
    return np.maximum.accumulate(np.where(places[:, None] > places[None, :], -np.inf, least), axis=0).diagonal()


def cllr_of_best_map(labels: NDArray, llrs: NDArray, weights: NDArray) -> float:
    """Cllr, written out, of the ratios that the best rising map gives."""
    kept = weights > 0
    labels, weights = labels[kept], weights[kept]
    levels, place = np.unique(llrs[kept], return_inverse=True)
    hits, others = (np.bincount(place, weights * (labels == kind), len(levels)) for kind in (1, 0))
    posterior = rising_fit(hits / (hits + others), hits + others)
    with np.errstate(divide="ignore"):
        best = np.log(posterior) - np.log1p(-posterior) - np.log(hits.sum() / others.sum())
        target_bits, other_bits = np.log2(1 + np.exp(-best)), np.log2(1 + np.exp(best))
    of_targets = hits[hits > 0] @ target_bits[hits > 0] / hits.sum()
    return float(of_targets + others[others > 0] @ other_bits[others > 0] / others.sum()) / 2


def test_every_threshold_of_a_thousand_sets() -> None:
    for labels, llrs, weights in sets():
        ones = np.ones(len(labels), int)
        levels = np.unique(llrs)
        tried = np.sort(np.concatenate([levels, (levels[1:] + levels[:-1]) / 2, [-np.inf, np.inf]]))
        for counts, given in ((ones, None), (weights, weights)):
            misses, alarms = rates(labels, llrs, counts, tried)
            assert eer(labels, llrs, given) == pytest.approx(crossing(misses, alarms), abs=1e-12)
            for costs in COSTS:
                least = cost(misses, alarms, **costs).min()
                assert min_dcf(labels, llrs, given, **costs) == pytest.approx(least, rel=1e-12, abs=1e-12)
                at_bayes = cost(*rates(labels, llrs, counts, np.array([bayes_threshold(**costs)])), **costs)[0]
                actual = act_dcf(labels, llrs, given, **costs)
                assert actual == pytest.approx(at_bayes, rel=1e-12, abs=1e-12)
                assert actual >= least - 1e-12
            least = min_cllr(labels, llrs, given)
            assert least == pytest.approx(cllr_of_best_map(labels, llrs, counts), abs=1e-9)
            targets, others = counts * labels, counts * (1 - labels)
            whole = targets @ np.log2(1 + np.exp(-llrs)) / targets.sum()
            whole += others @ np.log2(1 + np.exp(llrs)) / others.sum()
            assert cllr(labels, llrs, given) == pytest.approx(whole / 2, rel=1e-12)
            assert 0 <= least <= min(1, whole / 2 + 1e-12)


def test_the_curve_is_the_same_with_and_without_the_order_of_trials() -> None:
    """Without weights only the values are sorted; with weights of 1 the trials are."""
    for labels, llrs, _ in sets():
        plain, ranked = roc(labels, llrs), roc(labels, llrs, np.ones(len(labels), int))
        for name in ("thresholds", "fnmr", "fmr"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(ranked, name))


def test_corners_have_the_least_cllr_of_the_whole_curve() -> None:
    for labels, llrs, weights in sets():
        corners = Ranking.of(labels, llrs).corners()
        assert ranked_roc(corners, weights).min_cllr == pytest.approx(min_cllr(labels, llrs, weights), abs=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_threshold_at_a_rate_is_the_lowest_that_keeps_it(rate: float) -> None:
    for labels, llrs, _ in sets():
        threshold = roc(labels, llrs).threshold_at_fmr(rate)
        others = llrs[labels == 0]
        assert np.mean(others >= threshold) <= rate
        below = llrs[llrs < threshold]
        if below.size:
            assert np.mean(others >= below.max()) > rate


def test_det_of_normal_scores_is_a_straight_line() -> None:
    """Targets N(2, 1), non-targets N(0, 1): at threshold t the deviates are -t and t - 2, so that they add up to -2."""
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], 100_000)
    curve = roc(labels, rng.normal(2 * labels))
    fmr, fnmr = curve.det()
    inner = (np.abs(fmr) < 2) & (np.abs(fnmr) < 2)
    assert inner.sum() > 10_000
    np.testing.assert_allclose((fmr + fnmr)[inner], -2, atol=0.05)
    np.testing.assert_allclose(fmr[inner], norm.ppf(curve.fmr[inner]), atol=1e-12)
    assert [fmr[0], fmr[-1]] == pytest.approx([norm.ppf(1 - 1e-5), norm.ppf(1e-5)])
