"""The interval of trials by speaker: against scipy's BCa, Student's interval of a mean, and where little is known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm, t

from hf_speech.metrics.bootstrap import LEFT_OUT, PAIR_DRAWS, bootstrap_trials
from hf_speech.metrics.numbers import verification_measure, verification_numbers


def level_without_widening(speakers: int, level: float = 0.95) -> float:
    """The level at which the widened interval of so many speakers has the deviates of a plain one."""
    return float(2 * t.cdf(norm.ppf((1 + level) / 2) * np.sqrt((speakers - 1) / speakers), speakers - 1) - 1)


def every_pair(speakers: int, seed: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Three targets a speaker, and every pair once as non-target; speakers differ: labels, scores, left, right."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(speakers), 3)
    first, second = np.triu_indices(speakers, 1)
    left, right = np.concatenate([own, first]), np.concatenate([own, second])
    labels = (left == right).astype(int)
    return labels, rng.normal(size=len(left)) + labels * (1.5 + rng.exponential(size=speakers))[left], left, right


def weighted_mean(values: NDArray) -> Callable[[NDArray], float]:
    return lambda weights: float(weights @ values / weights.sum())


def test_ends_are_those_of_scipys_bca_but_for_the_widening() -> None:
    """Of trials within speakers, where no pairs are to be taken off: a ratio of deviation and mean, far from linear."""
    values, speaker = np.random.default_rng(1).exponential(size=(25, 3)), np.repeat(np.arange(25), 3)

    def variation(weights: NDArray) -> float:
        mean = np.average(values.ravel(), weights=weights)
        return float(np.average((values.ravel() - mean) ** 2, weights=weights) ** 0.5 / mean)

    def of_speakers(drawn: NDArray) -> float:
        return float(values[drawn].std() / values[drawn].mean())

    other = scipy_bootstrap(
        (np.arange(25),), of_speakers, vectorized=False, n_resamples=300, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    level = level_without_widening(25)
    interval = bootstrap_trials(variation, (speaker, speaker), repetitions=300, seed=2, level=level)
    assert (interval.low, interval.high) == pytest.approx((other.low, other.high), abs=1e-12)


@pytest.mark.parametrize("speakers", [10, 40])
def test_the_mean_over_speakers_has_students_interval(speakers: int) -> None:
    """Of values whose distribution is symmetric: mean -+ t s / sqrt(n), s with n - 1."""
    values = norm.ppf((np.arange(speakers) + 0.5) / speakers)
    sides = (np.arange(speakers), np.arange(speakers))
    interval = bootstrap_trials(weighted_mean(values), sides, repetitions=20_000)
    half = t.ppf(0.975, speakers - 1) * values.std(ddof=1) / np.sqrt(speakers)
    assert (interval.low, interval.high) == pytest.approx((-half, half), rel=0.04)


@pytest.mark.parametrize(("of_speakers", "of_pairs"), [(1.0, 0.0), (0.0, 1.0), (1.0, 6.0)])
def test_what_is_of_a_pair_alone_counts_twice(of_speakers: float, of_pairs: float) -> None:
    """Values a_i + a_j + e_ij of all pairs of n speakers: their mean has the variance 4 A / n + E / pairs.

    Of 30 lists; E stands for three in plain draws, which would make the ends of the third case 11 % too far.
    """
    rng, speakers, squares = np.random.default_rng(9), 40, []
    left, right = np.triu_indices(speakers, 1)
    for seed in range(30):
        alike = rng.normal(size=speakers)
        alike *= of_speakers / alike.std(ddof=1)
        values = alike[left] + alike[right] + of_pairs * rng.normal(size=len(left))
        interval = bootstrap_trials(weighted_mean(values), (left, right), repetitions=1000, seed=seed)
        squares.append(((interval.high - interval.low) / 2) ** 2)
    variance = 4 * of_speakers**2 / speakers + 2 * of_pairs**2 / len(left)
    half = t.ppf(0.975, speakers - 1) * np.sqrt(variance)
    assert np.sqrt(np.mean(squares)) == pytest.approx(half, rel=0.05)


def test_a_number_turned_round_has_its_interval_turned_round() -> None:
    labels, scores, left, right = every_pair(20, 3)
    measure = verification_measure(labels, scores)
    plain = bootstrap_trials(lambda w: measure.of(w)[0], (left, right), repetitions=301)
    turned = bootstrap_trials(lambda w: 1 - measure.of(w)[0], (right, left), repetitions=301)
    assert (turned.low, turned.high) == pytest.approx((1 - plain.high, 1 - plain.low), abs=1e-12)


def test_several_numbers_are_those_of_one_at_a_time() -> None:
    labels, scores, left, right = every_pair(15, 4)
    measure = verification_measure(labels, scores)
    together = bootstrap_trials(measure.of, (left, right), repetitions=200, seed=5)
    for i in range(3):
        alone = bootstrap_trials(lambda w, i=i: measure.of(w)[i], (left, right), repetitions=200, seed=5)
        assert (alone.low, alone.high) == (together.low[i], together.high[i])


def test_of_many_speakers_some_at_a_time_are_left_out() -> None:
    """Every trial is left out with the part of its left speaker and with that of its right one."""
    speakers, seen = 2 * LEFT_OUT + 50, []
    left, right = np.arange(speakers), np.roll(np.arange(speakers), 1)
    sides = (np.concatenate([left, left]), np.concatenate([left, right]))
    bootstrap_trials(lambda weights: float(seen.append(weights) or 0), sides, repetitions=3)
    *parts, whole = seen[3 + PAIR_DRAWS :]
    assert (whole == 1).all() and len(parts) == LEFT_OUT
    absent = (np.array(parts) == 0).sum(axis=0)
    assert (absent[:speakers] == 1).all() and (absent[speakers:] == 2).all()


def test_parts_of_the_speakers_tell_the_skewness_as_single_ones_do() -> None:
    """Of skewed values the ends lie off the percentiles; scipy leaves 450 values out one by one."""
    values = np.random.default_rng(6).exponential(size=450)
    interval = bootstrap_trials(
        weighted_mean(values), (np.arange(450),) * 2, repetitions=2000, level=level_without_widening(450)
    )
    other = scipy_bootstrap((values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(0))
    width = other.confidence_interval.high - other.confidence_interval.low
    ends = (other.confidence_interval.low, other.confidence_interval.high)
    assert (interval.low, interval.high) == pytest.approx(ends, abs=0.02 * width)


def test_without_mistakes_in_the_list_the_interval_is_a_point() -> None:
    _, _, left, right = every_pair(12, 7)
    labels = (left == right).astype(int)
    eer, *costs = verification_numbers(labels, labels + np.linspace(0, 0.5, len(labels)), (left, right))
    assert (eer["value"], eer["low"], eer["high"], eer["interval_unit"]) == (0, 0, 0, "speaker")
    assert {(cost["low"], cost["high"]) for cost in costs} == {(0, 0)}


def test_a_list_of_targets_alone_has_no_error_rate_and_no_interval() -> None:
    eer, *_ = verification_numbers([1] * 20, np.linspace(0, 1, 20), (np.arange(20), np.arange(20)))
    assert np.isnan([eer["value"], eer["low"], eer["high"]]).all()


def test_draws_without_a_kind_of_trials_are_passed_over() -> None:
    """Only speaker 0 has targets: without it, in a third of the draws and in one part of the jackknife, there is no
    error rate. What is left is the share of non-targets above the target, with its interval.
    """
    first, second = np.triu_indices(12, 1)
    left, right = np.append(first, 0), np.append(second, 0)
    scores = np.append(np.random.default_rng(8).normal(size=len(first)), 1.0)
    measure = verification_measure((left == right).astype(int), scores)
    seen: list[float] = []

    def eer(weights: NDArray) -> float:
        seen.append(measure.of(weights)[0])
        return seen[-1]

    interval = bootstrap_trials(eer, (left, right))
    assert np.isnan(seen[:1000]).mean() == pytest.approx((11 / 12) ** 12, abs=0.05)
    assert np.isnan(seen[1000:]).sum() == 1
    assert 0 < interval.low < seen[-1] < interval.high < 0.5


def test_an_end_that_skewness_moves_to_infinity_is_the_last_replicate() -> None:
    """One speaker of ten has the value 1; a replicate, which has no speaker twice in few draws, is below the whole."""
    values, seen = np.eye(10)[0], []

    def skewed(weights: NDArray) -> float:
        seen.append(weights @ values / weights.sum() + 10 * (weights.max() == 1))
        return float(seen[-1])

    interval = bootstrap_trials(skewed, (np.arange(10),) * 2, repetitions=1000, level=0.9999)
    assert interval.high == max(seen[:1000])
    assert np.isfinite(interval.low)
