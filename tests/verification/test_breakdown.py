"""Groups of trials counted by hand, and their numbers against those of the same trials alone."""

import logging
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hf_speech.errors import InputError
from hf_speech.metrics.bootstrap import bootstrap_trials
from hf_speech.metrics.numbers import verification_measure, verification_numbers, verification_units
from hf_speech.metrics.verification import eer, roc
from hf_speech.verification.breakdown import as_metrics, breakdown, groups_of, with_models
from hf_speech.verification.trials import TRIALS

FACTS = pa.table(
    {
        "id": ["a/1/x", "a/1/y", "a/2/z", "b/1/x", "b/1/y", "c/1/x", "d/1/x"],
        "gender": ["female", "female", "female", "male", "male", "female", None],
        "duration": [1.0, 2.0, 9.0, 4.0, 8.0, 3.0, 7.0],
        "language": ["en", "en", "en", "en", "en", "zh", "zh"],
    }
)
PAIRS = [
    (1, "a/1/x", "a/1/y"),  # one session, 1 s
    (1, "a/1/x", "a/2/z"),  # two sessions, 1 s
    (1, "b/1/y", "b/1/x"),  # one session, 4 s
    (0, "a/2/z", "c/1/x"),  # 3 s
    (0, "b/1/y", "a/2/z"),  # 8 s
    (0, "d/1/x", "b/1/y"),  # 7 s; one gender is not known
]


def trials_of(pairs: list[tuple[int, str, str]]) -> pa.Table:
    labels, left, right = zip(*pairs, strict=True)
    sides = [pa.array(side).dictionary_encode() for side in (left, right)]
    return pa.table([pa.array(labels, pa.int8()), *sides, pa.array(range(1, len(pairs) + 1), pa.int32())], TRIALS)


def members(groups: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()}


def test_groups_are_those_counted_by_hand() -> None:
    assert members(groups_of(trials_of(PAIRS), FACTS)) == {
        "both female": [0, 1, 3],
        "both male": [2],
        "same gender": [0, 1, 2, 3],
        "different genders": [4],
        "both in en": [0, 1, 2, 4],
        "different languages": [3, 5],
        "same session": [0, 2, 3, 4, 5],
        "cross session": [1, 3, 4, 5],
        "under 2 s": [0, 1],
        "2 to 4 s": [3],
        "4 to 8 s": [2, 5],
        "8 s and more": [4],
    }


def test_without_facts_sessions_are_in_the_ids() -> None:
    trials = trials_of(PAIRS)
    assert members(groups_of(trials)) == {"same session": [0, 2, 3, 4, 5], "cross session": [1, 3, 4, 5]}
    plain = trials_of([(label, one.replace("/", "-"), other.replace("/", "-")) for label, one, other in PAIRS])
    assert groups_of(plain) == {}  # no session in these ids


def test_a_column_of_sessions_stands_above_the_ids() -> None:
    sessions = FACTS.append_column("session_id", pa.array(["1", "2", "2", "1", "1", "1", "1"]))
    found = members(groups_of(trials_of(PAIRS), sessions.select(["id", "session_id"])))
    assert found == {"same session": [2, 3, 4, 5], "cross session": [0, 1, 3, 4, 5]}


def test_swapping_sides_and_chunks_changes_nothing() -> None:
    swapped = trials_of([(label, other, one) for label, one, other in PAIRS])
    chunked = pa.concat_tables([trials_of(PAIRS[:2]), trials_of(PAIRS[2:])])
    expected = members(groups_of(trials_of(PAIRS), FACTS))
    assert members(groups_of(swapped, FACTS)) == expected
    assert members(groups_of(chunked, FACTS.take([6, 5, 4, 3, 2, 1, 0]))) == expected


def test_of_many_languages_only_same_and_different_are_told() -> None:
    count = 13
    facts = pa.table({"id": [f"u{i}" for i in range(count)], "language": [f"l{i:02}" for i in range(count)]})
    pairs = [(1, f"u{i}", f"u{i}") for i in range(count)] + [(0, "u0", "u1")]
    assert members(groups_of(trials_of(pairs), facts)) == {
        "same language": list(range(count)),
        "different languages": [count],
    }


def test_utterances_without_facts_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = members(groups_of(trials_of(PAIRS), FACTS.slice(1)))
    assert "no facts of 1 utterances of the list, such as a/1/x" in caplog.text
    assert found["same gender"] == [2, 3] and "under 2 s" not in found


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (FACTS.drop_columns("id"), "no column 'id', only gender, duration, language"),
        (pa.concat_tables([FACTS, FACTS.slice(2, 1)]), "'a/2/z' more than once"),
        (FACTS.set_column(0, "id", pa.array([f"{i}.wav" for i in range(7)])), "none of the utterances .* a/1/x"),
    ],
)
def test_facts_that_are_none_are_refused(facts: pa.Table, message: str) -> None:
    with pytest.raises(InputError, match=message):
        groups_of(trials_of(PAIRS), facts)


def test_models_have_what_their_utterances_agree_on() -> None:
    found = with_models(FACTS, {"anna": ["a/1/x", "a/2/z"], "mixed": ["b/1/x", "c/1/x"], "a/1/x": ["b/1/y"]})
    rows = {row["id"]: row for row in found.to_pylist()}
    assert len(rows) == len(FACTS) + 2 and rows["a/1/x"]["gender"] == "female"
    assert rows["anna"] == {"id": "anna", "gender": "female", "duration": 5.0, "language": "en"}
    assert rows["mixed"] == {"id": "mixed", "gender": None, "duration": 3.5, "language": None}
    unknown = with_models(FACTS, {"anna": ["a/1/x", "nobody"]}).to_pylist()[-1]
    assert unknown == {"id": "anna", "gender": None, "duration": None, "language": None}


def scored(speakers: int = 14, utterances: int = 4, seed: int = 0) -> dict[str, Any]:
    """All pairs of utterances; speakers in turn of two kinds, the first of which is harder."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), utterances)
    left, right = np.triu_indices(len(who), 1)
    labels = (who[left] == who[right]).astype(int)
    first = (who[left] % 2 == 0) & (who[right] % 2 == 0)
    scores = rng.normal(np.where(first, 1.0, 2.5) * labels, 1.0)
    names = np.array([f"s{i:02}" for i in who], dtype=object)
    groups = {"first": first, "rest": ~first, "between": labels == 0, "none": np.zeros(len(labels), bool)}
    return {"labels": labels, "scores": scores, "groups": groups, "speakers": (names[left], names[right])}


@cache
def rows_of_scored() -> list[dict[str, Any]]:
    return breakdown(**scored())


def by_name(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {number["name"]: number for number in row["metrics"]}


def test_a_group_has_the_numbers_of_its_trials_alone() -> None:
    given = scored(speakers=22, utterances=3)
    rows = breakdown(**given, seed=3)
    assert [row["group"] for row in rows] == ["first", "rest", "between"]
    for row in rows[:2]:
        mask = given["groups"][row["group"]]
        sides = tuple(side[mask].tolist() for side in given["speakers"])
        alone = verification_numbers(given["labels"][mask], given["scores"][mask], sides, seed=3)
        assert [number["name"] for number in row["metrics"]] == [*verification_units(), "fnmr", "fmr"]
        for found, expected in zip(row["metrics"], alone, strict=False):
            assert found == pytest.approx(expected)
    assert by_name(rows[0])["eer"]["value"] == eer(
        given["labels"][mask := given["groups"]["first"]], given["scores"][mask]
    )


def test_rates_are_those_of_one_threshold() -> None:
    given = scored()
    threshold = roc(given["labels"], given["scores"]).eer_threshold
    targets, accepted = given["labels"] == 1, given["scores"] >= threshold
    for row in rows_of_scored()[:2]:
        mask, numbers = given["groups"][row["group"]], by_name(row)
        assert numbers["fnmr"]["value"] == pytest.approx((~accepted)[mask & targets].mean())
        assert numbers["fmr"]["value"] == pytest.approx(accepted[mask & ~targets].mean())
        for name in ("fnmr", "fmr"):
            assert numbers[name]["low"] < numbers[name]["value"] < numbers[name]["high"]
    first, rest = (by_name(row) for row in rows_of_scored()[:2])
    assert first["fnmr"]["low"] > rest["fnmr"]["high"]  # harder by construction
    everything = {**given, "groups": {"all": np.ones(len(targets), bool)}}
    numbers = by_name(breakdown(**everything)[0])
    assert numbers["fnmr"]["value"] == pytest.approx(numbers["eer"]["value"], abs=1 / targets.sum())
    assert numbers["fmr"]["value"] == pytest.approx(numbers["eer"]["value"], abs=1 / targets.sum())


def test_a_threshold_that_is_given_holds() -> None:
    numbers = by_name(breakdown(**scored(), threshold=-np.inf)[0])
    assert (numbers["fnmr"]["value"], numbers["fmr"]["value"]) == (0.0, 1.0)


def test_a_group_of_one_kind_has_only_the_rate_of_that_kind() -> None:
    given = scored()
    row = rows_of_scored()[2]
    numbers = by_name(row)
    assert (row["trials"], row["targets"], row["speakers"]) == (given["groups"]["between"].sum(), 0, 14)
    undefined = [number for name, number in numbers.items() if name != "fmr"]
    assert all((number["value"], number["low"], number["high"]) == (None, None, None) for number in undefined)
    assert 0 < numbers["fmr"]["low"] < numbers["fmr"]["value"] < numbers["fmr"]["high"] < 1


def test_trials_are_resampled_where_few_speakers_have_targets() -> None:
    given = scored()
    few = np.isin(given["speakers"][0], ["s00", "s01", "s02"]) | (given["labels"] == 0)
    rows = breakdown(**{**given, "groups": {"few": few, "first": given["groups"]["first"], "all": few | True}})
    assert [row["metrics"][0]["interval_unit"] for row in rows] == ["trial", "trial", "speaker"]
    assert rows[0]["speakers"] == 14 and rows[1]["speakers"] == 7
    assert breakdown(**{**given, "speakers": None})[0]["speakers"] is None


def test_the_smallest_group_has_numbers_and_intervals() -> None:
    given = scored()
    one = np.zeros(len(given["labels"]), bool)
    one[[np.argmax(given["labels"]), np.argmin(given["labels"])]] = True
    (row,) = breakdown(**{**given, "groups": {"one": one}})
    assert (row["trials"], row["targets"], row["nontargets"]) == (2, 1, 1)
    for number in row["metrics"]:
        assert None not in (number["value"], number["low"], number["high"])


def test_ratios_have_the_costs_of_their_decisions() -> None:
    given = scored(10, 2)
    row = breakdown(**given, llrs=given["scores"], p_target=0.1)[0]
    assert list(by_name(row)) == [*verification_units((0.1,), calibrated=True), "fnmr", "fmr"]


def test_the_order_of_the_trials_does_not_matter() -> None:
    given = scored()
    order = np.random.default_rng(1).permutation(len(given["labels"]))
    shuffled = {
        "labels": given["labels"][order],
        "scores": given["scores"][order],
        "groups": {name: mask[order] for name, mask in given["groups"].items()},
        "speakers": tuple(side[order] for side in given["speakers"]),
    }
    for found, expected in zip(breakdown(**shuffled), rows_of_scored(), strict=True):
        assert found["group"] == expected["group"]
        if found["metrics"][0]["interval_unit"] == "speaker":
            assert found == expected


def test_what_has_no_numbers_is_refused() -> None:
    given = scored()
    with pytest.raises(InputError, match="one kind of trials, so it has no EER"):
        breakdown(np.ones(3), np.arange(3.0), {"all": np.ones(3, bool)})
    with pytest.raises(InputError, match=r"group 'short' is \(2,\) for 1540 trials"):
        breakdown(**{**given, "groups": {"short": np.ones(2, bool)}})


def test_rows_for_results_name_the_group_in_the_split() -> None:
    rows = rows_of_scored()
    found = as_metrics(rows, dataset="list.txt", split="trials")
    assert len(found) == 3 * 5
    assert {number["split"] for number in found} == {"trials, first", "trials, rest", "trials, between"}
    assert found[0] == rows[0]["metrics"][0] | {
        "dataset": "list.txt",
        "split": "trials, first",
        "n": rows[0]["trials"],
        "fingerprint": None,
    }


@pytest.mark.parametrize(("most", "resamples"), [(300 * 1540, 300), (1540, 200)])
def test_a_large_group_has_fewer_resamples(most: int, resamples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = scored()
    monkeypatch.setattr("hf_speech.verification.breakdown.MOST_DRAWN", most)
    (row,) = breakdown(**{**given, "groups": {"all": np.ones(1540, bool)}}, p_target=0.05)
    order = np.argsort(given["scores"])
    measure = verification_measure(given["labels"][order], given["scores"][order], p_target=0.05)
    sides = tuple(side[order].tolist() for side in given["speakers"])
    interval = bootstrap_trials(measure.of, sides, repetitions=resamples)
    assert [number["low"] for number in row["metrics"][:2]] == pytest.approx(interval.low.tolist())
    assert [number["high"] for number in row["metrics"][:2]] == pytest.approx(interval.high.tolist())
