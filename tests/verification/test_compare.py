"""Two runs on the same items: by hand, by construction, either way round, and what can't be compared."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from hf_speech.errors import InputError
from hf_speech.metrics import classification_numbers, eer, verification_numbers
from hf_speech.results import Results, metric_rows, run_facts
from hf_speech.verification.compare import compare, compare_trials, told, write
from hf_speech.verification.written import read_scores

KEYS = ["name", "a", "b", "difference", "low", "high", "unit", "interval_unit"]
Trials = tuple[NDArray, NDArray, NDArray]


def trials(speakers: int = 20) -> Trials:
    """Four targets a speaker and every pair once as non-target: labels, left and right speakers."""
    first, second = np.triu_indices(speakers, 1)
    own = np.repeat(np.arange(speakers), 4)
    left, right = np.concatenate([own, first]), np.concatenate([own, second])
    return (left == right).astype(int), left, right


def scored(found: Trials, gap: float, seed: int) -> NDArray:
    """Normal scores, targets so much higher."""
    return np.random.default_rng(seed).normal(size=len(found[0])) + gap * found[0]


def write_trials(
    folder: Path, found: Trials, scores: NDArray, llrs: NDArray | None = None, order: NDArray | None = None
) -> Path:
    """A folder as `hf-speech verify` leaves it, but for pictures and results.json."""
    folder.mkdir()
    labels, left, right = found
    copies = np.arange(len(labels))
    names = [[f"s{speaker:02}/{side}{copy}" for speaker, copy in zip(sides, copies, strict=True)]
             for side, sides in (("a", left), ("b", right))]  # fmt: skip
    table = pa.table(
        {
            "label": pa.array(labels, pa.int8()),
            "left": pa.array(names[0]).dictionary_encode(),
            "right": pa.array(names[1]).dictionary_encode(),
            "left_speaker": pa.array([f"s{speaker:02}" for speaker in left]).dictionary_encode(),
            "right_speaker": pa.array([f"s{speaker:02}" for speaker in right]).dictionary_encode(),
            "score": scores,
            "llr": pa.nulls(len(labels), pa.float64()) if llrs is None else llrs,
        }
    )
    table = table if order is None else table.take(order)
    pq.write_table(table, folder / "trials.parquet")
    rows = table.to_pylist()
    lines = [f"{row['label']} {row['left']}.wav {row['right']}.wav {row['score']!r}\n" for row in rows]
    (folder / "scores.txt").write_text("".join(lines))
    return folder


def test_a_run_against_itself_differs_by_nothing(tmp_path: Path) -> None:
    found = trials()
    one = write_trials(tmp_path / "one", found, scored(found, 2, 0))
    other = write_trials(tmp_path / "other", found, scored(found, 2, 0))
    comparison = compare(one, other)
    assert comparison["counts"] == {"trials": 270, "targets": 80, "speakers": 20}
    assert [row["name"] for row in comparison["differences"]] == ["eer", "min_dcf", "min_dcf_0.05"]
    for row in comparison["differences"]:
        assert [row[key] for key in ("difference", "low", "high")] == [0, 0, 0]
        assert row["a"] == row["b"] and row["interval_unit"] == "speaker" and row["n"] == 270


def test_numbers_are_those_of_either_run_by_hand() -> None:
    """Of two targets and two non-targets: A has them in order, B one pair the wrong way round, from 0 to 1/2."""
    rows = compare_trials([0, 0, 1, 1], [1, 2, 3, 4], [1, 3, 2, 4], p_target=[0.5])
    assert [list(row) for row in rows] == [KEYS] * 2
    rate, cost = rows
    assert (rate["a"], rate["b"], rate["difference"]) == (0, 0.5, 0.5)
    # The lowest cost of B: one of two targets refused, or one of two non-targets accepted; a half of a blind decision.
    assert (cost["a"], cost["b"], cost["difference"]) == (0, 0.5, 0.5)
    assert (rate["unit"], rate["interval_unit"], cost["unit"]) == ("fraction", "trial", "cost at p_target 0.5")
    # Where the pair that B turns round was not drawn, nor one of it twice against the other, nothing differs.
    assert rate["low"] == 0 and rate["high"] > 0.5


def test_what_is_better_by_construction_is_told_apart(tmp_path: Path) -> None:
    found = trials()
    one = write_trials(tmp_path / "one", found, scored(found, 1.0, 1))
    other = write_trials(tmp_path / "other", found, scored(found, 3.0, 2))
    comparison = compare(one, other)
    for row in comparison["differences"]:
        assert row["low"] <= row["difference"] <= row["high"] < 0
    lines = told(comparison).splitlines()
    assert lines[:3] == [f"A: {one}", f"B: {other}", "the same 270 trials, resampled together by speaker"]
    rate = comparison["differences"][0]
    assert lines[4].split()[:2] == ["eer", f"{100 * rate['a']:.2f}"]
    assert all(line.endswith("B is lower") for line in lines[4:])


def test_pairs_are_told_apart_better_than_two_intervals_side_by_side() -> None:
    """B is A with a tenth of it noise: what makes a trial hard is common to both."""
    found = trials(40)
    labels, *speakers = found
    one = scored(found, 1.0, 3)
    other = one + 0.3 * labels + 0.1 * scored(found, 0, 4)
    sides = (speakers[0], speakers[1])
    paired = compare_trials(labels, one, other, sides)[0]
    alone = [verification_numbers(labels, scores, sides)[0] for scores in (one, other)]
    assert paired["high"] < 0
    assert alone[1]["high"] > alone[0]["low"]
    assert paired["high"] - paired["low"] < 0.6 * (alone[0]["high"] - alone[0]["low"])


def test_turned_round_the_difference_changes_its_sign(tmp_path: Path) -> None:
    """And neither the order of the trials nor that of their sides matters."""
    found = trials()
    labels, left, right = found
    one = write_trials(tmp_path / "one", found, scored(found, 1.5, 5))
    order = np.random.default_rng(6).permutation(len(labels))
    other = write_trials(tmp_path / "other", found, scored(found, 1.8, 7), order=order)
    table = pq.read_table(other / "trials.parquet")
    names = ["label", "right", "left", "right_speaker", "left_speaker", "score", "llr"]
    turned = [table[name] for name in names]
    pq.write_table(pa.table(dict(zip(table.column_names, turned, strict=True))), other / "trials.parquet")
    forth, back = compare(one, other)["differences"], compare(other, one)["differences"]
    assert forth[0]["b"] == pytest.approx(eer(labels, scored(found, 1.8, 7)))
    for row, turned_row in zip(forth, back, strict=True):
        assert [turned_row[key] for key in ("difference", "low", "high")] == pytest.approx(
            [-row[key] for key in ("difference", "high", "low")], abs=1e-12
        )


def test_ratios_are_compared_by_what_they_cost_where_both_are_calibrated(tmp_path: Path) -> None:
    found = trials()
    scores = scored(found, 4, 8)
    # Of normal scores 4 apart 4 s - 8 is the ratio; half of it is too timid.
    sure = write_trials(tmp_path / "sure", found, scores, 4 * scores - 8)
    timid = write_trials(tmp_path / "timid", found, scores, 2 * scores - 4)
    raw = write_trials(tmp_path / "raw", found, scores)
    comparison = compare(sure, timid)
    rows = {row["name"]: row for row in comparison["differences"]}
    assert comparison["calibrated"] == [True, True]
    assert rows["cllr"]["low"] > 0 and rows["cllr"]["unit"] == "bits"
    assert rows["eer"]["difference"] == rows["min_cllr"]["difference"] == 0
    assert [row["name"] for row in compare(sure, raw)["differences"]] == ["eer", "min_dcf", "min_dcf_0.05"]


def test_scores_alone_are_resampled_by_trial_and_it_is_said(tmp_path: Path) -> None:
    found = trials()
    folders = [write_trials(tmp_path / str(seed), found, scored(found, 2, seed)) for seed in (9, 10)]
    (folders[1] / "trials.parquet").unlink()
    assert compare(*folders)["differences"][0]["interval_unit"] == "speaker"  # the first one knows them
    (folders[0] / "trials.parquet").unlink()
    comparison = compare(*folders)
    assert comparison["counts"] == {"trials": 270, "targets": 80, "speakers": None}
    assert comparison["differences"][0]["interval_unit"] == "trial"
    assert "resampled together by trial; their speakers are not known" in told(comparison)


def test_other_trials_and_other_labels_are_refused(tmp_path: Path) -> None:
    found = trials()
    labels, left, right = found
    one = write_trials(tmp_path / "one", found, scored(found, 2, 11))
    fewer = write_trials(tmp_path / "fewer", found, scored(found, 2, 11), order=np.arange(2, 270))
    with pytest.raises(
        InputError, match=r"trials that are not in both: of \S+one\S+ 2, such as s00/a0 s00/b0; compare"
    ):
        compare(one, fewer)
    table = pq.read_table(one / "trials.parquet").to_pydict()
    table["label"][0] = 0
    other = tmp_path / "other"
    other.mkdir()
    pq.write_table(pa.table(table), other / "trials.parquet")
    with pytest.raises(
        InputError, match="have other labels for 1 trials: s00/a0 s00/b0 is 1 and 0; score the same list"
    ):
        compare(one, other)
    with pytest.raises(InputError, match="trial 0 is a non-target, but its speakers are 's00' and 's00'"):
        compare(other, other)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 a b", r"scores.txt:2: '1 a b' is not 'label path1 path2 score'"),
        ("2 a b 0.1", "'2 a b 0.1' is not"),
        ("1 a b high", "'1 a b high' is not"),
        ("1 a b nan", r"scores.txt: the score of a and b is not finite"),
    ],
)
def test_lines_that_are_no_scores_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "scores.txt").write_text(f"0 a c 0.3\n{line}\n")
    with pytest.raises(InputError, match=message):
        compare(tmp_path, tmp_path)


def of_columns(**changed: object) -> dict[str, pa.Array]:
    """Two trials, and what is another way in them."""
    columns = {"label": [1, 0], "left": ["a", "a"], "right": ["b", "c"], "score": [0.5, 0.3], "llr": [1.0, -1.0]}
    columns |= {"left_speaker": ["s", "s"], "right_speaker": ["s", "t"]}
    return {name: pa.array(values) for name, values in (columns | changed).items()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": ["1", "0"]}, "the column label holds string, and no numbers"),
        ({"label": [1, 2]}, "the label of trial 1 is 2; give 1 or 0"),
        ({"label": [1, -1]}, "the label of trial 1 is -1"),
        ({"label": [0.5, 0.0]}, "the label of trial 0 is 0.5"),
        ({"label": [float("nan"), 0.0]}, "the label of trial 0 is nan"),
        ({"label": [1, None]}, "trial 1 has no label"),
        ({"label": [[1], [0]]}, "the column label holds list<.*>, and no numbers"),
        ({"score": ["0.5", "0.3"]}, "the column score holds string, and no numbers"),
        ({"score": [None, 0.3]}, "trial 0 has no score"),
        ({"score": [None, None]}, "the column score holds null, and no numbers"),
        ({"score": [0.5, float("inf")]}, "the score of a and c is not finite"),
        ({"llr": ["1", "2"]}, "the column llr holds string, and no numbers"),
        ({"llr": [1.0, float("nan")]}, "the llr of a and c is not finite"),
        ({"left": ["a", None]}, "trial 1 has no left"),
        ({"right": [None, None]}, "trial 0 has no right"),
        ({"right": [["b"], ["c"]]}, "the column right holds list<.*>, and no texts"),
        ({"right": [b"\xff", b"c"]}, "the column right holds binary, and no texts"),
        (
            {"left": ["a", "\x1b[2J\n"], "score": [0.5, float("nan")]},
            r"the score of '\\x1b\[2J\\n' and c is not finite",
        ),
        ({"left_speaker": [{"a": 1}, {"a": 2}]}, "the column left_speaker holds struct<.*>, and no texts"),
    ],
)
def test_columns_that_hold_something_else_are_named(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    path = tmp_path / "trials.parquet"
    pq.write_table(pa.table(of_columns()), path)
    found = read_scores(tmp_path)
    assert (found.labels.tolist(), found.scores.tolist()) == ([1, 0], [0.5, 0.3])
    pq.write_table(pa.table(of_columns(**changed)), path)
    with pytest.raises(InputError, match=message) as refused:
        compare(tmp_path, tmp_path)
    assert str(refused.value).startswith(f"{path}: ") and str(refused.value).isprintable()


def test_names_that_can_not_be_printed_are_escaped(tmp_path: Path) -> None:
    for name, left in (("one", ["a", "a\x1b[2J"]), ("other", ["a", "b\n"])):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(of_columns(left=left)), tmp_path / name / "trials.parquet")
    with pytest.raises(InputError, match=r"such as 'a\\x1b\[2J c'; of \S+ 1, such as 'b\\n c'; compare") as refused:
        compare(tmp_path / "one", tmp_path / "other")
    assert str(refused.value).isprintable()


def test_columns_of_other_programs_are_read(tmp_path: Path) -> None:
    """Truth values and whole numbers in another type, texts in any form; a column twice is not."""
    path, wanted = tmp_path / "trials.parquet", of_columns()
    for label in (pa.bool_(), pa.uint8(), pa.float32()):
        for text in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
            sides = {name: wanted[name].cast(text) for name in ("left", "right")}
            labels = wanted["label"].cast(label)
            pq.write_table(pa.table(wanted | sides | {"label": labels}), path)
            found = read_scores(tmp_path)
            assert found.labels.tolist() == [1, 0] and found.sides.tolist() == [["a", "b"], ["a", "c"]]
    twice = pa.Table.from_arrays([*wanted.values(), wanted["score"]], names=[*wanted, "score"])
    pq.write_table(twice, path)
    with pytest.raises(InputError, match="trials.parquet: "):
        read_scores(tmp_path)


def test_trials_of_one_kind_have_no_rate_to_compare(tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("1 a b 0.5\n1 a c 0.3\n")
    with pytest.raises(InputError, match="all trials are of one kind; the EER is not defined"):
        compare(tmp_path, tmp_path)


LABELS = ("angry", "calm", "sad")
Evaluated = Callable[..., Path]


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    """Writes a folder as `hf-speech evaluate` does, of 60 utterances of 12 speakers: wrong every so often."""

    def write_folder(name: str, wrong: int, *, turned: bool = False, skip: int = 0, relabel: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = []
        for i in range(skip, 60):
            label = LABELS[(i + (i < relabel)) % 3]
            predicted = LABELS[(i + ((i + i // 12) % wrong == 0)) % 3]
            rows.append({"id": f"u{i:02}", "speaker_id": f"s{i % 12}", "label": label, "predicted": predicted})
        rows = rows[::-1] if turned else rows
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        labels, guesses = ([LABELS.index(row[key]) for row in rows] for key in ("label", "predicted"))
        numbers = classification_numbers(labels, guesses, 3, [row["speaker_id"] for row in rows])
        kind: dict[str, Any] = {
            "problem_type": "single_label_classification",
            "labels": list(LABELS),
            "head": "linear",
            "loss": "ce",
        }
        model: dict[str, Any] = {
            "name": name,
            "task": "audio-classification",
            "backbone": "tiny",
            "parameters": 1,
            "layer": None,
        }
        model |= {"pooling": None, "sample_rate": 16_000, "architecture": "Tiny"} | kind
        data: dict[str, Any] = {
            "name": "made",
            "target": "emotion",
            "synthetic": True,
            "language": [],
            "license": None,
            "splits": {},
        }
        data |= {"split_rule": {}, "left_out": [], "unlabelled": 0}
        ids = [row["id"] for row in rows]
        metrics = metric_rows(numbers, dataset="made", split="test", ids=ids)
        Results(model, data, metrics, None, run_facts(0, device="cpu")).write(folder)
        return folder

    return write_folder


def test_classes_of_the_same_utterances(evaluated: Evaluated) -> None:
    """A is wrong for 7 of 60 utterances and B for 20; B's stand in another order."""
    comparison = compare(evaluated("a", 10), evaluated("b", 3, turned=True))
    rows = {row["name"]: row for row in comparison["differences"]}
    assert list(rows) == ["uar", "accuracy", "macro_f1"]
    accuracy = rows["accuracy"]
    assert [accuracy[key] for key in ("a", "b", "difference")] == pytest.approx([53 / 60, 40 / 60, -13 / 60])
    assert accuracy["high"] < 0 and accuracy["interval_unit"] == "speaker" and accuracy["n"] == 60
    assert comparison["what"] == "utterances" and comparison["counts"] == {"utterances": 60}
    assert told(comparison).splitlines()[-1].endswith("B is lower")


def test_the_same_predictions_in_another_order_differ_by_nothing(evaluated: Evaluated) -> None:
    for row in compare(evaluated("a", 4), evaluated("b", 4, turned=True))["differences"]:
        assert [row[key] for key in ("difference", "low", "high")] == [0, 0, 0]


def test_costs_are_compared_at_the_priors_that_both_runs_have(evaluated: Evaluated, tmp_path: Path) -> None:
    content = json.loads((evaluated("any", 3) / "results.json").read_text())
    folders = [write_trials(tmp_path / str(seed), trials(), scored(trials(), 2, seed)) for seed in (13, 14)]
    for priors, wanted in [([0.1], [0.1]), ([0.2], [0.01, 0.05])]:
        for folder, own in zip(folders, ([0.1], priors), strict=True):
            content["run"]["arguments"] = {"p_target": own}
            (folder / "results.json").write_text(json.dumps(content))
        _, *costs = compare(*folders)["differences"]
        assert [cost["unit"] for cost in costs] == [f"cost at p_target {prior}" for prior in wanted]


def test_what_can_not_be_compared_is_refused(evaluated: Evaluated, tmp_path: Path) -> None:
    one = evaluated("one", 3)
    with pytest.raises(InputError, match="utterances that are not in both: of .*one 2, such as u00; compare runs on"):
        compare(one, evaluated("fewer", 3, skip=2))
    with pytest.raises(InputError, match="have other labels for 1 utterances: u00 is angry and calm"):
        compare(one, evaluated("other", 3, relabel=1))
    of_trials = write_trials(tmp_path / "trials", trials(), scored(trials(), 2, 12))
    with pytest.raises(InputError, match=r"trials holds scores of trials and \S+one predictions"):
        compare(one, of_trials)
    with pytest.raises(InputError, match=r"nowhere: holds neither scores.txt nor predictions.csv; give a folder"):
        compare(tmp_path / "nowhere", one)


def test_what_is_written_is_what_was_found(evaluated: Evaluated, tmp_path: Path) -> None:
    comparison = compare(evaluated("a", 5), evaluated("b", 4), seed=3)
    content = json.loads(write(comparison, tmp_path / "comparison").read_text())
    run = content.pop("run")
    assert (content.pop("a"), content.pop("b")) == tuple(Path(comparison.pop(side)).name for side in ("a", "b"))
    assert content == comparison and (run["seed"], content["seed"]) == (3, 3)
    assert "hf_speech" in run["versions"]
