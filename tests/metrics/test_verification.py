"""EER and minDCF: by hand, against a transcription of their definition, and what must not change them."""

from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from hf_speech.metrics import bootstrap_trials, verification_numbers
from hf_speech.metrics.ranking import Ranking
from hf_speech.metrics.verification import eer, min_dcf, ranked_roc, roc


def trials(count: int, seed: int, levels: int | None = None) -> tuple[NDArray, NDArray]:
    """Labels and scores of normal scores one and a half deviations apart; rounded to few levels, most of them tie."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(int)
    labels[:2] = 0, 1
    scores = rng.normal(size=count) + 1.5 * labels
    return labels, scores if levels is None else np.round(scores * levels / 6) * 6 / levels


def points_by_definition(labels: NDArray, scores: NDArray) -> list[tuple[Fraction, Fraction]]:
    """(FNMR, FMR) at every distinct score as threshold, then where all is refused; exact."""
    targets, others = scores[labels == 1].tolist(), scores[labels == 0].tolist()
    return [
        (
            Fraction(sum(s < threshold for s in targets), len(targets)),
            Fraction(sum(s >= threshold for s in others), len(others)),
        )
        for threshold in [*sorted({*targets, *others}), float("inf")]
    ]


def eer_by_definition(labels: NDArray, scores: NDArray) -> Fraction:
    """Where the straight lines between neighbouring points meet FNMR = FMR; every line that does, does at one place."""
    points = points_by_definition(labels, scores)
    met = set()
    for (miss, alarm), (next_miss, next_alarm) in zip(points, points[1:], strict=False):
        before, after = miss - alarm, next_miss - next_alarm
        if before <= 0 <= after:
            part = -before / (after - before)
            met.add(miss + part * (next_miss - miss))
    (only,) = met
    return only


@pytest.mark.parametrize(
    ("labels", "scores", "wanted"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 1),
        ([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], 1 / 2),
        # FNMR goes 0, 1/2 at the crossing while FMR stays 1/3: a vertical piece, met at FMR.
        ([0, 0, 1, 0, 1], [1, 2, 3, 4, 5], 1 / 3),
        # Both move at the tie: from (0, 1/2) to (1/2, 0); x = 1/2 - x.
        ([0, 0, 1, 1], [1, 2, 2, 3], 1 / 4),
        # From (0, 2/3) to (1/2, 0): the line x -> 2/3 - 4/3 x meets x at 2/7.
        ([0, 0, 0, 1, 1], [1, 2, 2, 2, 3], 2 / 7),
    ],
)
def test_eer_by_hand(labels: list[int], scores: list[float], wanted: float) -> None:
    assert eer(labels, scores) == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("levels", [None, 40, 7, 2])
@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_definition(levels: int | None, seed: int) -> None:
    labels, scores = trials(20 + 13 * seed, seed, levels)
    points = points_by_definition(labels, scores)
    curve = roc(labels, scores)
    np.testing.assert_allclose(np.stack([curve.fnmr, curve.fmr], 1), np.array(points, dtype=float), atol=1e-15)
    assert curve.thresholds.tolist() == [*sorted(set(scores)), np.inf]
    assert curve.eer == pytest.approx(float(eer_by_definition(labels, scores)), abs=1e-14)
    costs = [Fraction(1, 20) * 10 * miss + Fraction(19, 20) * alarm for miss, alarm in points]
    assert min_dcf(labels, scores, p_target=0.05, c_miss=10) == pytest.approx(float(min(costs) * 2), abs=1e-14)
    if levels is None:
        # scikit-learn's curve, met by a root finder, as is common; it leaves out points, so ties may move it a little.
        fmr, tpr, _ = roc_curve(labels, scores)
        assert curve.eer == pytest.approx(brentq(lambda x: 1 - x - interp1d(fmr, tpr)(x), 0, 1), abs=1e-9)


@pytest.mark.parametrize("levels", [None, 7])
def test_what_changes_nothing(levels: int | None) -> None:
    labels, scores = trials(500, 1, levels)
    numbers = eer(labels, scores), min_dcf(labels, scores)
    order = np.random.default_rng(2).permutation(500)
    assert (eer(labels[order], scores[order]), min_dcf(labels[order], scores[order])) == numbers
    for transform in (np.exp, np.arctan, lambda s: 5 * s - 3):
        assert (eer(labels, transform(scores)), min_dcf(labels, transform(scores))) == numbers
    assert eer(1 - labels, -scores) == pytest.approx(numbers[0], abs=1e-14)
    assert min_dcf(1 - labels, -scores, p_target=0.99) == pytest.approx(numbers[1], abs=1e-14)
    assert eer(labels.astype(bool), scores.astype(np.float64).tolist()) == numbers[0]
    assert eer(np.tile(labels, 3), np.tile(scores, 3)) == pytest.approx(numbers[0], abs=1e-14)


def test_weights_are_repetitions() -> None:
    labels, scores = trials(300, 3, 30)
    weights = np.random.default_rng(4).integers(0, 4, 300)
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    assert eer(labels, scores, weights) == pytest.approx(eer(*repeated), abs=1e-14)
    assert min_dcf(labels, scores, weights) == pytest.approx(min_dcf(*repeated), abs=1e-14)
    assert eer(labels, scores, weights * 0.5) == pytest.approx(eer(*repeated), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 30, 4])
def test_corners_have_the_numbers_of_the_whole_curve(levels: int | None) -> None:
    labels, scores = trials(400, 5, levels)
    ranking = Ranking.of(labels, scores)
    corners = ranking.corners()
    assert len(corners.scores) < len(ranking.scores) or levels == 4
    for weights in (None, *np.random.default_rng(6).integers(0, 3, (20, 400))):
        whole, short = ranked_roc(ranking, weights), ranked_roc(corners, weights)
        assert short.eer == pytest.approx(whole.eer, abs=1e-14)
        assert short.min_dcf(0.05) == pytest.approx(whole.min_dcf(0.05), abs=1e-14)


def test_eer_of_two_normal_distributions() -> None:
    """Targets N(d, 1), non-targets N(0, 1): the rates meet at d / 2, where both are the tail beyond it."""
    rng = np.random.default_rng(7)
    scores = np.concatenate([rng.normal(2, 1, 500_000), rng.normal(0, 1, 500_000)])
    curve = roc(np.repeat([1, 0], 500_000), scores)
    assert curve.eer == pytest.approx(NormalDist().cdf(-1), abs=1e-3)
    assert curve.eer_threshold == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("labels", "scores", "wanted"),
    [
        ([0, 1], [0.2, 0.8], 0.5),  # in the middle of the room between them
        ([0, 0, 1, 0, 1, 1], [1, 2, 3, 4, 5, 6], 3.5),  # (1/3, 1/3)
        ([1, 0], [0.5, 0.5], 0.5),  # all are accepted
        ([0, 0, 0, 1, 1], [1, 2, 2, 2, 3], 2.5),  # (1/2, 0) is nearer to equal than (0, 2/3)
        ([0, 1], [1.0, np.nextafter(1.0, 2)], np.nextafter(1.0, 2)),  # there is nothing between them
    ],
)
def test_threshold_by_hand(labels: list[int], scores: list[float], wanted: float) -> None:
    assert roc(labels, scores).eer_threshold == pytest.approx(wanted, abs=1e-16, rel=0)


@pytest.mark.parametrize("seed", range(5))
def test_threshold_decides_as_its_point_of_the_curve(seed: int) -> None:
    labels, scores = trials(200, seed, 60)
    curve = roc(labels, scores)
    accepted = scores >= curve.eer_threshold
    gap = abs(np.mean(~accepted[labels == 1]) - np.mean(accepted[labels == 0]))
    assert gap == pytest.approx(np.abs(curve.fnmr - curve.fmr).min(), abs=1e-15)


def test_min_dcf_by_hand() -> None:
    """Points (FNMR, FMR): (0, 1), (0, 1/2), (1/2, 1/2), (1/2, 0), (1, 0)."""
    labels, scores = [0, 1, 0, 1], [1, 2, 3, 4]
    # p 0.01: at (1/2, 0) 0.01 / 2 = 0.005, of 0.01; at (0, 1/2) 0.495.
    assert min_dcf(labels, scores, p_target=0.01) == pytest.approx(0.5)
    # p 0.6: at (1/2, 0) 0.3, at (0, 1/2) 0.2, of 0.4.
    assert min_dcf(labels, scores, p_target=0.6) == pytest.approx(0.5)
    # costs 1 and 4 at p 0.5: at (1/2, 0) 0.25, at (0, 1/2) 1, of 0.5.
    assert min_dcf(labels, scores, p_target=0.5, c_fa=4) == pytest.approx(0.5)
    assert min_dcf([0, 1], [1, 2]) == 0
    assert min_dcf([1, 0], [1, 2]) == 1


def test_without_targets_or_non_targets_there_is_no_rate() -> None:
    for labels in ([1, 1], [0, 0]):
        curve = roc(labels, [0.1, 0.2])
        assert np.isnan([curve.eer, curve.eer_threshold, curve.min_dcf()]).all()


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "N at least 1"),
        ([0, 1], [0.1], r"labels are \(2,\) and scores \(1,\)"),
        ([0, 2], [0.1, 0.2], "label 2 of item 1 is neither 0 nor 1"),
        ([0, 1], [0.1, np.nan], "score nan of item 1 is not finite"),
        ([0, 1], [np.inf, 0.1], "score inf of item 0 is not finite"),
    ],
)
def test_wrong_trials_are_named(labels: list, scores: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eer(labels, scores)


@pytest.mark.parametrize("options", [{"p_target": 0.0}, {"p_target": 1.0}, {"c_miss": 0.0}, {"c_fa": -1.0}])
def test_wrong_costs_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        min_dcf([0, 1], [0.1, 0.2], **options)


def crossed(speakers: int, rng: np.random.Generator) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Six targets a speaker and every pair once as non-target; speakers differ: labels, scores, left, right.

    Targets are N(3, 2): variance 1 of the speaker, 1 of the trial; non-targets N(0, 2): 0.5 of each speaker, 1 of the
    trial.
    """
    hard, alike = rng.normal(0, 1, speakers), rng.normal(0, np.sqrt(0.5), speakers)
    own = np.repeat(np.arange(speakers), 6)
    first, second = np.triu_indices(speakers, 1)
    left, right = np.concatenate([own, first]), np.concatenate([own, second])
    means = np.concatenate([3 + hard[own], alike[first] + alike[second]])
    return (left == right).astype(int), means + rng.normal(size=len(means)), left, right


def test_each_copy_of_a_speaker_brings_its_own_trials() -> None:
    """Speakers drawn (m_0, m_1, ...) times: a target of i counts m_i times, a non-target of i and j m_i * m_j times."""
    labels, _, left, right = crossed(12, np.random.default_rng(8))
    seen: list[NDArray] = []
    bootstrap_trials(lambda weights: float(seen.append(weights) or 0), (left, right), repetitions=2000)
    weights = np.array(seen[:2000])
    times = weights[:, labels == 1][:, ::6]
    assert (times.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(weights[:, labels == 1], np.repeat(times, 6, axis=1))
    others = labels == 0
    np.testing.assert_array_equal(weights[:, others], times[:, left[others]] * times[:, right[others]])
    # Counts are multinomial(12, 1/12): variance 1 - 1/12, and E[m_i m_j] = 12 * 11 / 12^2.
    assert times.var() == pytest.approx(11 / 12, rel=0.05)
    assert weights[:, others].mean() == pytest.approx(11 / 12, rel=0.05)


@pytest.mark.parametrize(
    ("left", "right", "unit"),
    [
        ([f"s{i % 10}" for i in range(20)], [f"s{i % 5}" for i in range(20)], "speaker"),
        ([f"s{i % 9}" for i in range(20)], [f"s{i % 5}" for i in range(20)], "trial"),
        ([f"s{i % 10}" for i in range(20)], [None, *[f"s{i % 5}" for i in range(19)]], "trial"),
    ],
)
def test_unit_says_what_was_resampled(left: list, right: list, unit: str) -> None:
    assert bootstrap_trials(lambda weights: float(weights[0]), (left, right), repetitions=10).unit == unit


def test_speaker_interval_covers_the_truth_where_trial_interval_does_not() -> None:
    """Where targets are N(3, 2) and non-targets N(0, 2), the EER is the normal tail beyond 3 / (2 sqrt 2)."""
    truth = NormalDist().cdf(-3 / (2 * np.sqrt(2)))
    rng = np.random.default_rng(9)
    covered = {"speaker": 0, "trial": 0}
    for draw in range(100):
        labels, scores, left, right = crossed(40, rng)
        corners = Ranking.of(labels, scores).corners()
        for speakers in ((left, right), len(labels)):
            interval = bootstrap_trials(
                lambda w, corners=corners: ranked_roc(corners, w).eer, speakers, repetitions=200, seed=draw
            )
            covered[interval.unit] += interval.low <= truth <= interval.high
    assert covered["speaker"] >= 88
    assert covered["trial"] <= 75


def test_numbers_of_a_list_do_not_depend_on_its_order() -> None:
    labels, scores, left, right = crossed(15, np.random.default_rng(10))
    scores = np.round(scores, 1)
    names = np.array([f"speaker {i}" for i in range(15)])
    numbers = verification_numbers(labels, scores, (names[left], names[right]))
    assert [number["name"] for number in numbers] == ["eer", "min_dcf", "min_dcf_0.05"]
    units = ["fraction", "cost at p_target 0.01", "cost at p_target 0.05"]
    assert [number["unit"] for number in numbers] == units
    assert {number["interval_unit"] for number in numbers} == {"speaker"}
    values = eer(labels, scores), min_dcf(labels, scores), min_dcf(labels, scores, p_target=0.05)
    assert [number["value"] for number in numbers] == pytest.approx(values, abs=1e-14)
    assert all(number["low"] < number["value"] <= number["high"] for number in numbers)
    order = np.random.default_rng(11).permutation(len(labels))
    shuffled = (names[right[order]].tolist(), names[left[order]].tolist())
    assert verification_numbers(labels[order], scores[order], shuffled) == numbers
    assert verification_numbers(labels, scores, (names[left], names[right]), seed=1) != numbers


def test_numbers_without_speakers_resample_trials_and_take_costs() -> None:
    labels, scores = trials(400, 12)
    _, cost = verification_numbers(labels, scores, p_target=0.05, c_miss=2)
    assert (cost["interval_unit"], cost["unit"]) == ("trial", "cost at p_target 0.05")
    assert cost["value"] == min_dcf(labels, scores, p_target=0.05, c_miss=2)


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ((["a", "b"], ["a"]), "2 trials, 2 left and 1 right speakers"),
        ((["a", "b"], ["b", "b"]), "trial 0 is a target, but its speakers are 'a' and 'b'"),
        ((["a", "b"], ["a", "b"]), "trial 1 is a non-target, but its speakers are 'b' and 'b'"),
    ],
)
def test_speakers_that_do_not_fit_the_trials_are_refused(speakers: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verification_numbers([1, 0], [0.9, 0.1], speakers)
