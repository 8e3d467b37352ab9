"""What log-likelihood ratios cost: by hand, by integrals, and what must not change it."""

import json
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from hf_speech.metrics.numbers import verification_measure, verification_numbers, verification_units
from hf_speech.metrics.verification import act_dcf, bayes_threshold, cllr, eer, min_cllr, min_dcf, roc


def calibrated(count: int, seed: int, variance: float = 6.0) -> tuple[NDArray, NDArray]:
    """Ratios that are what they say: normal ones are where targets are N(v/2, v) and non-targets N(-v/2, v)."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(int)
    labels[:2] = 0, 1
    return labels, rng.normal((labels - 0.5) * variance, np.sqrt(variance))


def test_bayes_threshold_by_hand() -> None:
    assert bayes_threshold(0.01) == pytest.approx(np.log(99))
    assert bayes_threshold(0.2, c_miss=3, c_fa=6) == pytest.approx(np.log(8))
    assert bayes_threshold(0.9) == pytest.approx(-bayes_threshold(0.1))


@pytest.mark.parametrize(
    ("llrs", "p_target", "wanted"),
    [
        ([1, 1, -1, -1], 0.5, 0),
        ([-1, -1, 1, 1], 0.5, 2),  # every decision is wrong: twice as dear as a blind one
        ([0, -0.5, 0, -2], 0.5, 1),  # at the threshold it is accepted: half of each kind is wrong
        ([9, 1, 1, -9], 0.01, Fraction(1, 2)),  # one target is below log(99)
        ([9, 1, 8, -9], 0.01, Fraction(1, 2) + Fraction(99, 2)),
        ([-2, 1, -1, -9], 0.9, Fraction(1, 2)),  # from -log(9) = -2.2 on: both targets and one non-target are accepted
        ([-3, 1, -1, -9], 0.9, Fraction(9, 2) + Fraction(1, 2)),
    ],
)
def test_act_dcf_by_hand(llrs: list[float], p_target: float, wanted: Fraction) -> None:
    assert act_dcf([1, 1, 0, 0], llrs, p_target=p_target) == pytest.approx(float(wanted), abs=1e-12)


def test_cllr_by_hand() -> None:
    """Ratios of 3, 1 for targets, 1 / 7 for the non-target: (log2(4/3) + 1) / 2 and log2(8/7), then their mean."""
    found = cllr([1, 1, 0], np.log([3, 1, 1 / 7]))
    assert found == pytest.approx(((np.log2(4 / 3) + 1) / 2 + np.log2(8 / 7)) / 2, abs=1e-14)
    assert cllr([1, 0, 0], [0, 0, 0]) == pytest.approx(1)
    assert cllr([0, 1], [1000, -1000]) == pytest.approx(1000 / np.log(2))  # no overflow


def test_min_cllr_by_hand() -> None:
    # Of scores 2 and 3 a target and a non-target each, in the wrong order: pooled, they say nothing, 1 bit; the ends 0.
    assert min_cllr([0, 1, 0, 1], [1, 2, 3, 4]) == pytest.approx(0.5)
    assert min_cllr([1, 0], [1, 2]) == pytest.approx(1)  # one pool
    # Two pools, shares of targets and non-targets (1/3, 2/3) and (2/3, 1/3): ratios 1/2 and 2.
    wanted = np.log2(3) / 3 + 2 / 3 * np.log2(3 / 2)
    assert min_cllr([1, 0, 0, 1, 1, 0], [1, 1, 1, 2, 2, 2]) == pytest.approx(wanted)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("seed", range(5))
def test_min_cllr_is_the_cross_entropy_of_isotonic_regression(seed: int, levels: int | None) -> None:
    """As scikit-learn has them, both kinds weighted to one half."""
    labels, scores = calibrated(3_000, seed)
    scores = scores if levels is None else np.round(scores * levels) / levels
    weights = np.where(labels == 1, 1 / labels.sum(), 1 / (1 - labels).sum()) / 2
    posterior = IsotonicRegression().fit(scores, labels, weights).predict(scores)
    wanted = log_loss(labels, posterior, sample_weight=weights) / np.log(2)
    assert min_cllr(labels, scores) == pytest.approx(wanted, abs=1e-9)


def test_cllr_of_normal_ratios_is_their_integral() -> None:
    """Well calibrated: both kinds cost the same, and no map betters it but for the sample's own accidents."""
    variance = 6.0
    bits, _ = quad(lambda x: norm.pdf(x, variance / 2, variance**0.5) * np.log2(1 + np.exp(-x)), -20, 30)
    labels, llrs = calibrated(400_000, 3, variance)
    assert cllr(labels, llrs) == pytest.approx(bits, abs=2e-3)
    assert min_cllr(labels, llrs) == pytest.approx(bits, abs=2e-3)
    for prior in (0.1, 0.5):
        at = bayes_threshold(prior)
        misses, alarms = norm.cdf(at, variance / 2, variance**0.5), norm.sf(at, -variance / 2, variance**0.5)
        wanted = (prior * misses + (1 - prior) * alarms) / prior
        assert act_dcf(labels, llrs, p_target=prior) == pytest.approx(wanted, abs=0.01)
        assert min_dcf(labels, llrs, p_target=prior) == pytest.approx(wanted, abs=0.01)


def test_cllr_sums_the_error_rates_of_all_priors() -> None:
    """Of knowing nothing the sum over all log-odds is 2 log 2."""
    labels, llrs = calibrated(300, 4)
    log_odds = np.linspace(-25, 25, 20_001)
    errors = []
    for prior in 1 / (1 + np.exp(-log_odds)):
        errors.append(act_dcf(labels, llrs + 1, p_target=prior) * min(prior, 1 - prior))
    assert np.trapezoid(errors, log_odds) / (2 * np.log(2)) == pytest.approx(cllr(labels, llrs + 1), abs=1e-3)


def test_what_changes_nothing() -> None:
    labels, llrs = calibrated(500, 5)
    numbers = act_dcf(labels, llrs), cllr(labels, llrs), min_cllr(labels, llrs)
    order = np.random.default_rng(6).permutation(500)
    moved = labels[order], llrs[order]
    assert (act_dcf(*moved), cllr(*moved), min_cllr(*moved)) == pytest.approx(numbers, rel=1e-12)
    # Kinds and sign changed, at the mirrored prior; a threshold on no score is met from either side.
    assert act_dcf(1 - labels, -llrs, p_target=0.99) == pytest.approx(numbers[0], rel=1e-12)
    assert cllr(1 - labels, -llrs) == pytest.approx(numbers[1], rel=1e-12)
    assert min_cllr(1 - labels, -llrs) == pytest.approx(numbers[2], rel=1e-9)
    for transform in (np.arctan, lambda s: 5 * s - 3):
        assert min_cllr(labels, transform(llrs)) == numbers[2]
    assert cllr(labels, 2 * llrs) > numbers[1] > numbers[2]
    assert cllr(labels, llrs + 2) > numbers[1]


def test_weights_are_repetitions() -> None:
    labels, llrs = calibrated(300, 7)
    weights = np.random.default_rng(8).integers(0, 4, 300)
    repeated = np.repeat(labels, weights), np.repeat(llrs, weights)
    for metric in (act_dcf, cllr, min_cllr):
        assert metric(labels, llrs, weights) == pytest.approx(metric(*repeated), rel=1e-12)
        assert metric(labels, llrs, weights * 0.5) == pytest.approx(metric(*repeated), rel=1e-9)


def test_certainty_costs_nothing_or_everything() -> None:
    infinite = np.inf
    assert cllr([1, 0], [infinite, -infinite]) == 0
    assert cllr([1, 1, 0], [infinite, 0, -infinite]) == pytest.approx(0.25)
    assert cllr([1, 0], [-infinite, -1]) == infinite
    assert cllr([1, 1, 0], [-infinite, 0, 0], np.array([0, 1, 1])) == 1  # it does not count
    assert act_dcf([1, 0], [infinite, -infinite]) == 0
    assert act_dcf([1, 0], [-infinite, infinite], p_target=0.5) == 2
    with pytest.raises(ValueError, match="score inf of item 0 is not finite"):
        min_cllr([1, 0], [infinite, 0.0])


@pytest.mark.parametrize("metric", [act_dcf, cllr, min_cllr])
def test_wrong_trials_are_named(metric) -> None:
    with pytest.raises(ValueError, match="score nan of item 1 is not finite"):
        metric([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="label 2 of item 1"):
        metric([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"labels are \(2,\) and scores \(1,\)"):
        metric([0, 1], [0.1])
    assert np.isnan(metric([1, 1], [0.1, 0.2]))
    assert np.isnan(metric([0, 0], [0.1, 0.2]))


@pytest.mark.parametrize("options", [{"p_target": 0.0}, {"p_target": 1.0}, {"c_miss": 0.0}, {"c_fa": -1.0}])
def test_wrong_costs_and_rates_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        act_dcf([0, 1], [0.1, 0.2], **options)
    with pytest.raises(ValueError, match="false acceptance rate 2"):
        roc([0, 1], [0.1, 0.2]).threshold_at_fmr(2)


def test_thresholds_at_rates_by_hand() -> None:
    curve = roc([0, 0, 1, 0, 1, 1], [1, 2, 3, 4, 5, 6])
    assert [curve.threshold_at_fmr(rate) for rate in (1, 0.7, 0.5, 1 / 3, 0.1)] == [1, 1.5, 2.5, 2.5, 4.5]
    assert roc([1, 0], [1, 2]).threshold_at_fmr(0) == np.inf
    assert np.isnan(roc([1, 1], [1, 2]).threshold_at_fmr(0.5))


def test_numbers_of_ratios_are_those_of_the_functions() -> None:
    labels, llrs = calibrated(600, 9)
    llrs = np.round(llrs, 1)
    numbers = verification_numbers(labels, llrs, p_target=(0.05, 0.3), c_miss=2, llrs=llrs)
    found = {number["name"]: number["value"] for number in numbers}
    wanted = {"eer": eer(labels, llrs)}
    for name, metric in (("min_dcf", min_dcf), ("act_dcf", act_dcf)):
        wanted[name] = metric(labels, llrs, p_target=0.05, c_miss=2)
        wanted[f"{name}_0.3"] = metric(labels, llrs, p_target=0.3, c_miss=2)
    wanted |= {"cllr": cllr(labels, llrs), "min_cllr": min_cllr(labels, llrs)}
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert {number["name"]: number["unit"] for number in numbers} == verification_units((0.05, 0.3), calibrated=True)
    assert all(number["low"] <= number["value"] <= number["high"] for number in numbers)
    json.dumps(numbers)


def test_a_measure_takes_weights_in_the_order_of_the_trials() -> None:
    labels, llrs = calibrated(200, 10)
    measure = verification_measure(labels, llrs, llrs=llrs)
    weights = np.random.default_rng(11).integers(0, 3, 200)
    found = dict(zip(measure.units, measure.of(weights), strict=True))
    assert found["act_dcf_0.05"] == pytest.approx(act_dcf(labels, llrs, weights, p_target=0.05), rel=1e-12)
    assert found["cllr"] == pytest.approx(cllr(labels, llrs, weights), rel=1e-12)
    assert found["min_cllr"] == pytest.approx(min_cllr(labels, llrs, weights), rel=1e-9)
    assert found["min_dcf"] == pytest.approx(min_dcf(labels, llrs, weights), rel=1e-12)


@pytest.mark.parametrize("priors", [(), (0.01, 0.01)])
def test_priors_have_names_of_their_own(priors: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="give one prior or several, none twice"):
        verification_numbers([1, 0], [0.9, 0.1], p_target=priors)
