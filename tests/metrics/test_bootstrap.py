"""The bootstrap: closed forms, the draws themselves, and whether its intervals cover what they should."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_speech.metrics.bootstrap import bootstrap


def draws(speakers: list[str] | int, repetitions: int = 2000) -> NDArray:
    """(repetitions, N) the weights that a statistic is called with."""
    seen: list[NDArray] = []

    def statistic(weights: NDArray) -> float:
        seen.append(weights)
        return 0.0

    bootstrap(statistic, speakers, repetitions=repetitions)
    return np.array(seen)


def test_utterance_draws_are_n_of_n() -> None:
    weights = draws(50)
    assert (weights.sum(axis=1) == 50).all()
    # Each count is binomial(50, 1/50): mean 1, variance 49/50.
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    assert weights.var() == pytest.approx(49 / 50, abs=0.02)


def test_speaker_draws_are_multinomial_within_each_speaker() -> None:
    """Of S speakers with n utterances one count has mean 1 and, by the law of total variance, (1 - 1/n) + (1 - 1/S)."""
    speakers = [f"s{i % 12}" for i in range(12 * 5)]
    weights = draws(speakers, 4000)
    by_speaker = np.stack([weights[:, [s == name for s in speakers]].sum(axis=1) for name in sorted(set(speakers))])
    assert (by_speaker % 5 == 0).all()
    assert (by_speaker.sum(axis=0) == 60).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(60), abs=0.1)
    assert weights.var() == pytest.approx((1 - 1 / 5) + (1 - 1 / 12), rel=0.03)


def test_speakers_of_different_sizes_keep_their_own_utterances() -> None:
    """A speaker with one utterance has it as often as the speaker was drawn; order in the data does not matter."""
    speakers = ["long"] * 30 + [f"s{i}" for i in range(11)]
    weights = draws(speakers)
    times_long = weights[:, :30].sum(axis=1) / 30
    np.testing.assert_array_equal(times_long + weights[:, 30:].sum(axis=1), 12)


@pytest.mark.parametrize(
    ("speakers", "unit"),
    [
        ([f"s{i % 10}" for i in range(40)], "speaker"),
        ([f"s{i % 9}" for i in range(40)], "utterance"),
        ([f"s{i % 10}" for i in range(39)] + [None], "utterance"),
        (40, "utterance"),
    ],
)
def test_unit_says_what_was_resampled(speakers: list[str] | int, unit: str) -> None:
    assert bootstrap(lambda weights: float(weights[0]), speakers, repetitions=10).unit == unit


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    interval = bootstrap(lambda w: np.average(values, weights=w), 400, repetitions=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_several_numbers_are_those_of_one_at_a_time() -> None:
    values = np.random.default_rng(4).normal(size=(30, 2))
    speakers = [f"s{i % 10}" for i in range(30)]
    both = bootstrap(lambda w: w @ values, speakers, repetitions=200, seed=5)
    for column in range(2):
        one = bootstrap(lambda w, column=column: float(w @ values[:, column]), speakers, repetitions=200, seed=5)
        assert (one.low, one.high) == pytest.approx((both.low[column], both.high[column]))


def test_the_seed_decides() -> None:
    values = np.arange(20.0)

    def mean(weights: NDArray) -> float:
        return float(np.average(values, weights=weights))

    assert bootstrap(mean, 20, seed=1) == bootstrap(mean, 20, seed=1)
    assert bootstrap(mean, 20, seed=1) != bootstrap(mean, 20, seed=2)


def test_a_higher_level_is_wider() -> None:
    values = np.arange(20.0)
    narrow, wide = (bootstrap(lambda w: np.average(values, weights=w), 20, level=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_replicates_that_are_not_defined_are_left_out() -> None:
    """Where item 0 is drawn (in 63 % of the draws) the number is 1, else it is not defined."""
    interval = bootstrap(lambda w: np.array([1.0 if w[0] else np.nan, np.nan]), 10, repetitions=50)
    assert (interval.low[0], interval.high[0]) == (1, 1)
    assert np.isnan([interval.low[1], interval.high[1]]).all()


def test_no_items_have_no_interval() -> None:
    with pytest.raises(ValueError, match="no utterances to measure"):
        bootstrap(lambda w: 0.0, [])


def test_speaker_interval_covers_the_truth_where_utterance_interval_does_not() -> None:
    """Speakers differ in how hard they are (accuracy 0.5 to 0.9): 12 of them, 40 utterances each, drawn 150 times.

    The mean accuracy over all such speakers is 0.7. The percentile bootstrap of 12 groups falls a little short of 95 %.
    """
    rng = np.random.default_rng(6)
    speakers = [f"s{i}" for i in np.repeat(np.arange(12), 40)]
    covered = {"speaker": 0, "utterance": 0}
    for trial in range(150):
        right = rng.random(480) < np.repeat(rng.uniform(0.5, 0.9, 12), 40)
        for grouping in (speakers, 480):
            interval = bootstrap(lambda w, right=right: w @ right / w.sum(), grouping, repetitions=200, seed=trial)
            covered[interval.unit] += interval.low <= 0.7 <= interval.high
    assert covered["speaker"] >= 0.88 * 150
    assert covered["utterance"] <= 0.80 * 150
