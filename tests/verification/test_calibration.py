"""Calibration: it finds the map that made the scores, keeps itself, and refuses what it can't fit."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from hf_speech.errors import InputError
from hf_speech.metrics.verification import cllr, eer, min_cllr, min_dcf
from hf_speech.verification.calibration import Calibration, pair_qualities

SCALE, SHIFT = 14.0, -5.0  # ratio = SCALE * score + SHIFT, as cosines have it


def scored(count: int, seed: int, variance: float = 6.0) -> tuple[NDArray, NDArray, NDArray]:
    """Scores, labels and true ratios: normal ones are N(v/2, v) of targets and N(-v/2, v) of non-targets."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.2).astype(int)
    llrs = rng.normal((labels - 0.5) * variance, np.sqrt(variance))
    return (llrs - SHIFT) / SCALE, labels, llrs


def noisy(count: int, seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Scores of which a quality tells how far to trust the mean of the non-targets: scores, labels, (N, 1)."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(int)
    quality = rng.normal(size=count)
    return 2.5 * labels + quality + rng.normal(size=count), labels, quality[:, None]


def test_it_finds_the_map_that_made_the_scores() -> None:
    scores, labels, llrs = scored(200_000, 0)
    for prior in (0.5, 0.05):
        found = Calibration.fit(scores, labels, p_target=prior)
        assert found.weights[0] == pytest.approx(SCALE, rel=0.03)
        assert found.offset == pytest.approx(SHIFT, abs=0.1)
        np.testing.assert_allclose(found.llr(scores), llrs, atol=0.3)


def test_it_is_the_least_weighted_cross_entropy() -> None:
    """Written out, and found by another optimiser."""
    scores, labels, _ = scored(500, 1)
    for prior in (0.5, 0.1):
        odds = np.log(prior / (1 - prior))

        def loss(parameters: NDArray, prior: float = prior, odds: float = odds) -> float:
            log_odds = parameters[0] * scores + parameters[1] + odds
            return (
                prior * np.log1p(np.exp(-log_odds[labels == 1])).mean()
                + (1 - prior) * np.log1p(np.exp(log_odds[labels == 0])).mean()
            )

        wanted = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9}).x
        found = Calibration.fit(scores, labels, p_target=prior)
        np.testing.assert_allclose([found.weights[0], found.offset], wanted, rtol=1e-4)


def test_on_other_trials_cllr_is_almost_its_minimum() -> None:
    scores, labels, _ = scored(20_000, 2)
    fresh, answers, _ = scored(20_000, 3)
    ratios = Calibration.fit(scores, labels).llr(fresh)
    least = min_cllr(answers, fresh)
    assert least <= cllr(answers, ratios) < least + 0.01
    assert cllr(answers, fresh) > least + 0.3
    assert eer(answers, ratios) == eer(answers, fresh)
    assert min_dcf(answers, ratios) == pytest.approx(min_dcf(answers, fresh), abs=1e-12)


def test_how_many_trials_of_a_kind_there_are_changes_nothing() -> None:
    scores, labels, _ = scored(400, 4)
    once = Calibration.fit(scores, labels)
    often = np.where(labels == 1, 7, 1)
    again = Calibration.fit(np.repeat(scores, often), np.repeat(labels, often))
    assert again.weights == pytest.approx(once.weights, rel=1e-6)
    assert again.offset == pytest.approx(once.offset, rel=1e-6)


def test_the_unit_of_the_scores_changes_nothing() -> None:
    scores, labels, _ = scored(400, 5)
    wanted = Calibration.fit(scores, labels)
    for unit, zero in ((1e-4, 0.0), (1e4, 300.0)):
        moved = scores * unit + zero
        found = Calibration.fit(moved, labels)
        np.testing.assert_allclose(found.llr(moved), wanted.llr(scores), rtol=1e-6, atol=1e-6)
        assert found.thresholds["eer"] == pytest.approx(wanted.thresholds["eer"], abs=1e-6)


def test_probabilities_rise_with_the_score_and_the_prior() -> None:
    scores, labels, _ = scored(1_000, 6)
    found = Calibration.fit(scores, labels)
    rising = np.linspace(-3, 3, 200)
    even, rare = found.probability(rising), found.probability(rising, prior=0.01)
    assert (np.diff(even) >= 0).all() and (np.diff(even[80:120]) > 0).all()
    assert ((even >= 0) & (even <= 1)).all() and (rare <= even).all()
    np.testing.assert_allclose(even, 1 / (1 + np.exp(-found.llr(rising))))
    odds = np.exp(found.llr(0.3)) / 99
    assert found.probability(0.3, prior=0.01) == pytest.approx(odds / (1 + odds))


def test_probabilities_come_true() -> None:
    """Of the trials of which it says 60 to 70 %, so many are targets: prior as in the trials."""
    scores, labels, _ = scored(20_000, 7)
    fresh, answers, _ = scored(200_000, 8)
    said = Calibration.fit(scores, labels).probability(fresh, prior=0.2)
    for low in np.arange(0.05, 0.95, 0.1):
        chosen = (said > low) & (said <= low + 0.1)
        assert answers[chosen].mean() == pytest.approx(said[chosen].mean(), abs=0.04)


def test_a_trial_has_the_same_ratio_alone_and_among_others() -> None:
    scores, labels, qualities = noisy(2_000, 9)
    found = Calibration.fit(scores, labels, qualities)
    whole = found.llr(scores, qualities)
    alone = [found.llr(scores[i], qualities[i]) for i in range(50)]
    np.testing.assert_array_equal(alone, whole[:50])
    np.testing.assert_array_equal(found.llr(scores[7:9], qualities[7:9]), whole[7:9])


def test_quality_is_weighed_where_it_tells() -> None:
    """The best weight of the quality is minus that of the score, as it is what was added to it."""
    scores, labels, qualities = noisy(50_000, 10)
    fresh, answers, of_fresh = noisy(50_000, 11)
    plain, aware = Calibration.fit(scores, labels), Calibration.fit(scores, labels, qualities, names=["cohort"])
    assert aware.names == ("score", "cohort")
    np.testing.assert_allclose(aware.weights, [2.5, -2.5], atol=0.1)
    assert aware.offset == pytest.approx(-(2.5**2) / 2, abs=0.1)
    kinds = [multivariate_normal([mean, 0], [[2, 1], [1, 1]]) for mean in (2.5, 0)]
    points = np.column_stack([fresh, of_fresh])[:1_000]
    ratios = kinds[0].logpdf(points) - kinds[1].logpdf(points)
    np.testing.assert_allclose(aware.llr(fresh, of_fresh)[:1_000], ratios, atol=0.5)
    assert cllr(answers, aware.llr(fresh, of_fresh)) < 0.8 * cllr(answers, plain.llr(fresh))


def test_measures_that_say_the_same_share_their_weight() -> None:
    scores, labels, quality = noisy(1_000, 12)
    one = Calibration.fit(scores, labels, quality)
    two = Calibration.fit(scores, labels, np.hstack([quality, 3 * quality]))
    np.testing.assert_allclose(two.llr(scores, np.hstack([quality, 3 * quality])), one.llr(scores, quality), atol=1e-4)


def test_qualities_of_a_pair_do_not_ask_which_side_is_left() -> None:
    measures = {"log_duration": [1.0, 2.0, 0.5], "magnitude": np.array([9.0, 7.0, 8.0])}
    columns, names = pair_qualities(measures, [0, 1], [1, 2])
    assert names == ("log_duration_min", "log_duration_max", "magnitude_min", "magnitude_max")
    assert columns.tolist() == [[1, 2, 7, 9], [0.5, 2, 7, 8]]
    np.testing.assert_array_equal(pair_qualities(measures, [1, 2], [0, 1])[0], columns)


def test_thresholds_accept_what_they_say() -> None:
    scores, labels, _ = scored(5_000, 13)
    found = Calibration.fit(scores, labels, false_acceptance_rates=(0.01, 0.001))
    others, targets = scores[labels == 0], scores[labels == 1]
    assert list(found.thresholds) == ["eer", "fmr_0.01", "fmr_0.001"]
    for rate in (0.01, 0.001):
        accepted = found.accepts(others, threshold=f"fmr_{rate:g}").mean()
        assert rate - 1 / len(others) <= accepted <= rate
    assert found.accepts(others).mean() == pytest.approx(eer(labels, scores), abs=1e-3)
    assert 1 - found.accepts(targets).mean() == pytest.approx(eer(labels, scores), abs=1e-3)
    at = found.score_threshold("fmr_0.01")
    np.testing.assert_array_equal(scores >= at, found.accepts(scores, threshold="fmr_0.01"))
    assert found.accepts(at + 1e-6, threshold="fmr_0.01") and not found.accepts(at - 1e-6, threshold="fmr_0.01")


def test_it_comes_back_from_json_as_it_was() -> None:
    scores, labels, qualities = noisy(500, 14)
    found = Calibration.fit(scores, labels, qualities, names=["magnitude"], false_acceptance_rates=[0.05])
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    np.testing.assert_array_equal(again.llr(scores, qualities), found.llr(scores, qualities))


PLAIN: dict[str, Any] = {"names": ["score"], "weights": [2.0], "offset": 1, "p_target": 0.5, "thresholds": {"eer": 0.1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.0, 2.0]}, "fit it again"),
        ({"weights": [float("nan")]}, "fit it again"),
        ({"weights": "many"}, "can't be read"),
        ({"names": ["magnitude"]}, "fit it again"),
        ({"names": []}, "fit it again"),
        ({"thresholds": [1]}, "can't be read"),
        ({"thresholds": {"eer": float("inf")}}, "fit it again"),
        ({"scale": 1}, "a calibration has names, weights, offset, p_target, thresholds, and not .*scale"),
        ({"weights": [0.0]}, "the weight of the score is 0, and must be above 0"),
        ({"weights": [-3.0]}, "the weight of the score is -3"),
        ({"weights": "5"}, "weights is '5'"),
        ({"weights": ["5"]}, "'5' is no finite number"),
        ({"weights": [True]}, "True is no finite number"),
        ({"weights": []}, "fit it again"),
        ({"offset": "1"}, "'1' is no finite number"),
        ({"offset": 10**400}, "is no finite number"),
        ({"p_target": 7}, "p_target is 7"),
        ({"p_target": 0}, "p_target is 0"),
        ({"p_target": None}, "None is no finite number"),
        ({"names": "score"}, "names is 'score'"),
        ({"names": [1]}, "a name is no text"),
        ({"names": ["score", "a\x1b[2J"], "weights": [1.0, 1.0]}, r"has a name 'a\\x1b\[2J'; fit it again"),
        ({"thresholds": {"a\nb": 1.0}}, r"has a name 'a\\nb'"),
        ({"a\x1b[2J": 1}, r"and not \[.*'a\\x1b\[2J'\]"),
    ],
)
def test_what_is_no_calibration_is_refused(change: dict[str, Any], message: str) -> None:
    assert Calibration.from_dict(PLAIN).llr(1.5) == 4
    with pytest.raises(InputError, match=message) as refusal:
        Calibration.from_dict(PLAIN | change)
    assert str(refusal.value).isprintable()
    with pytest.raises(InputError, match="and not 'eer'"):
        Calibration.from_dict("eer")  # type: ignore[arg-type]


GOOD = [1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("scores", "labels", "options", "message"),
    [
        ([1.0, 2.0], [1, 1], {}, "there are no non-targets among 2 trials: the EER is not defined; add some"),
        ([1.0, 2.0], [0, 0], {}, "there are no targets among 2 trials"),
        ([], [], {}, "N at least 1"),
        ([1.0, 2.0], [0, 1, 1], {}, r"labels are \(3,\) and scores \(2,\)"),
        ([1.0, 2.0], [0, 5], {}, "label 5 of item 1 is neither 0 nor 1"),
        ([1.0, np.nan, 3.0], [0, 1, 1], {}, "score nan of item 1 is not finite"),
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], {}, "every target is above every non-target"),
        ([1.0, 2.0, 3.0, 4.0], [1, 0, 1, 0], {}, "are the labels the wrong way round"),
        ([1.0, 1.0, 1.0, 1.0], [1, 0, 1, 0], {}, "score is 1 in all trials"),
        (*GOOD, {"p_target": 1.0}, "p_target is 1.0"),
        (*GOOD, {"false_acceptance_rates": [0.0]}, "a false acceptance rate is 0.0"),
        (*GOOD, {"false_acceptance_rates": [0.01]}, "can't be seen in 2 non-targets; give 100, or a higher rate"),
        (*GOOD, {"qualities": [1.0] * 4}, r"qualities are \(4,\); give \(N, Q\)"),
        (*GOOD, {"qualities": [[1.0]] * 3}, r"qualities \(3, 1\); give one score and 1 qualities \(quality_1\)"),
        (*GOOD, {"qualities": [[1.0]] * 4, "names": ["a", "b"]}, "names .* for 1 qualities"),
        (*GOOD, {"qualities": [[1.0]] * 4, "names": ["score"]}, "give a name of its own to each"),
        (*GOOD, {"qualities": [[5.0]] * 4, "names": ["duration"]}, "duration is 5 in all trials; leave it out"),
        (*GOOD, {"qualities": [[1.0], [2.0], [np.inf], [3.0]], "names": ["a"]}, "a of trial 2 is inf; mend it"),
        ([1, 1, 5, 5, 5, 5, 3], [0, 0, 0, 0, 1, 1, 1], {"false_acceptance_rates": [0.3]}, "give a higher rate"),
    ],
)
def test_what_can_not_be_fitted_is_refused(
    scores: list[float], labels: list[int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        Calibration.fit(scores, labels, **options)
    assert "\n" not in str(refusal.value)


def test_what_can_not_be_mapped_is_refused() -> None:
    scores, labels, qualities = noisy(300, 15)
    plain, aware = Calibration.fit(scores, labels), Calibration.fit(scores, labels, qualities, names=["cohort"])
    for found, given, message in (
        (plain, (scores, qualities), "give one score and 0 qualities"),
        (aware, (scores,), r"1 qualities \(cohort\)"),
        (aware, ([0.5, np.nan], qualities[:2]), "score of trial 1 is nan"),
    ):
        with pytest.raises(InputError, match=message):
            found.llr(*given)
    with pytest.raises(InputError, match="prior is 1"):
        plain.probability(0.5, prior=1)
    with pytest.raises(InputError, match=r"unknown threshold 'err' \(did you mean 'eer'\?\); valid: eer"):
        plain.accepts(0.5, threshold="err")
    with pytest.raises(InputError, match="depends on cohort"):
        aware.score_threshold()
    assert replace(plain, offset=0.0).score_threshold() == pytest.approx(plain.thresholds["eer"] / plain.weights[0])
