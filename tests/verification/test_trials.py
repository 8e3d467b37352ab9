import gzip
import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from hf_speech.data.problems import KEPT, Problems
from hf_speech.errors import InputError
from hf_speech.verification import (
    check_trials,
    count_trials,
    fingerprint,
    make_trials,
    read_trials,
    speakers_of,
    utterances_of,
    write_trials,
)
from hf_speech.verification.trials import most_trials

LIST = """\
1 id10270/aaaaaaaaaaa/00001.wav id10270/aaaaaaaaaaa/00002.wav
0 id10270/aaaaaaaaaaa/00001.wav id10300/ccccccccccc/00001.wav
1 id10270/aaaaaaaaaaa/00002.wav id10270/bbbbbbbbbbb/00001.wav
"""
IDS = [
    "id10270/aaaaaaaaaaa/00001",
    "id10270/aaaaaaaaaaa/00002",
    "id10270/bbbbbbbbbbb/00001",
    "id10300/ccccccccccc/00001",
]


def strict() -> Problems:
    return Problems("raise")


def utterances(voices: dict[str, list[int]], genders: dict[str, str | None] | None = None) -> pa.Table:
    """Rows of speakers, given by the sizes of their sessions."""
    rows = [
        {"id": f"{speaker}/{session}/{k}", "speaker_id": speaker, "session_id": f"{speaker}/{session}"}
        | ({"gender": genders[speaker]} if genders else {})
        for speaker, sizes in voices.items()
        for session, size in enumerate(sizes)
        for k in range(size)
    ]
    return pa.Table.from_pylist(rows)


def pairs(trials: pa.Table, label: int) -> list[tuple[str, str]]:
    return [(row["left"], row["right"]) for row in trials.to_pylist() if row["label"] == label]


@pytest.mark.parametrize("packed", [False, True])
def test_a_list_is_read_and_written_back_as_it_was(tmp_path, packed):
    path = tmp_path / ("list.txt.gz" if packed else "list.txt")
    path.write_bytes(gzip.compress(LIST.encode()) if packed else LIST.encode())
    trials = read_trials(path, strict())
    assert trials["label"].to_pylist() == [1, 0, 1]
    assert trials["left"].to_pylist() == [IDS[0], IDS[0], IDS[1]]
    assert trials["right"].to_pylist() == [IDS[1], IDS[3], IDS[2]]
    assert count_trials(trials) == {"trials": 3, "targets": 2, "nontargets": 1, "same_session_targets": 1}
    write_trials(trials, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_text() == LIST


def test_the_fingerprint_is_of_labels_and_ids_in_order(tmp_path):
    def of(text: str) -> str:
        (tmp_path / "list.txt").write_text(text)
        return fingerprint(read_trials(tmp_path / "list.txt", strict()))

    assert of(LIST) == hashlib.sha256(LIST.replace(".wav", "").encode()).hexdigest()
    assert of(LIST.replace(".wav", ".m4a")) == of(LIST.replace(".wav", "")) == of(LIST)
    assert of(LIST.replace(" ", "   ").replace("\n", "\n\n")) == of(LIST)
    lines = LIST.splitlines(keepends=True)
    assert of("".join(lines[::-1])) != of(LIST)
    assert of(LIST.replace("0 id", "1 id")) != of(LIST)


def test_a_long_list_has_the_same_fingerprint_as_its_text(tmp_path):
    """Longer than one piece of the text that is made at a time."""
    text = "".join(f"{k % 2} a/b/{k} a/c/{k}\n" for k in range(120_001))
    (tmp_path / "list.txt").write_text(text)
    trials = read_trials(tmp_path / "list.txt", strict())
    assert fingerprint(trials) == hashlib.sha256(text.encode()).hexdigest()


def test_an_id_with_a_dot_that_is_no_extension_stays_whole(tmp_path):
    (tmp_path / "list.txt").write_text("1 a/v1.2 a/v1.3.flac\n")
    trials = read_trials(tmp_path / "list.txt", strict())
    assert trials.to_pylist()[0] == {"label": 1, "left": "a/v1.2", "right": "a/v1.3", "line": 1}


def test_malformed_lines_are_named_and_left_out(tmp_path):
    text = "2 a/b/c a/b/d\n1 a/b/c\n1 a/b/c a/b/d\n\nmaybe a b\n0 a b c\n"
    (tmp_path / "list.txt").write_text(text)
    problems = Problems("skip")
    assert read_trials(tmp_path / "list.txt", problems)["line"].to_pylist() == [3]
    assert [(p.kind, p.line) for p in problems] == [("malformed line", line) for line in (1, 2, 5, 6)]


def test_an_empty_list_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="holds no trial"):
        read_trials(tmp_path / "list.txt", strict())


def test_missing_files_and_false_labels_are_found_with_their_lines(tmp_path):
    wrong = f"0 {IDS[0]} {IDS[1]}\n1 {IDS[0]} {IDS[3]}\n0 spk/a spk/b\n0 gone/1 gone/2\n"
    (tmp_path / "list.txt").write_text(LIST + wrong)
    problems = Problems("skip")
    trials = read_trials(tmp_path / "list.txt", problems)
    kept = check_trials(trials, pa.array([*IDS[:2], IDS[3], "spk/a", "spk/b"]), tmp_path / "list.txt", problems)
    # Ids that are not VoxCeleb's have no speaker in them: line 6 stays.
    assert kept["line"].to_pylist() == [1, 2, 6]
    assert [(p.kind, p.line) for p in problems] == [
        ("missing file", 3),
        ("wrong label", 4),
        ("wrong label", 5),
        ("missing file", 7),
        ("missing file", 7),
    ]
    assert IDS[2] in next(iter(problems)).reason


def test_of_a_list_without_its_audio_all_is_counted_and_the_first_is_remembered(tmp_path):
    """Three of four trials lack a file or two; what is remembered is what one at a time would have left."""
    known = [f"a/b/{k}" for k in range(0, 8_000, 4)]
    text = "".join(f"1 a/b/{k} a/b/{(k + k % 4 // 2) if k % 4 > 1 else (k + 4) % 8_000}\n" for k in range(8_000))
    (tmp_path / "list.txt").write_text(text)
    there = set(known)
    lines = enumerate(text.splitlines(), start=1)
    expected = [(line, name) for line, row in lines for name in row.split()[1:] if name not in there]
    problems = Problems("skip")
    problems.add("other", "before.txt", "stands first; keep it")
    trials = check_trials(
        read_trials(tmp_path / "list.txt", problems), pa.array(known), tmp_path / "list.txt", problems
    )
    assert len(trials) == 2_000 and len(expected) == 2_000 * (2 + 2 + 1) + 1  # the last asks for 8000
    assert problems.counts == {"other": 1, "missing file": len(expected)}
    found = [(p.line, p.reason) for p in list(problems)[1:]]
    assert len(found) == KEPT - 1
    assert found == [(line, f"there is no audio {name}; add it or remove the line") for line, name in expected[:999]]
    with pytest.raises(InputError, match="missing file: 10001"):
        refusing = Problems("raise")
        check_trials(read_trials(tmp_path / "list.txt", refusing), pa.array(known), "list.txt", refusing)
        refusing.settle("the list")


def test_no_more_problems_are_put_into_words_than_are_remembered():
    worded = []

    def words():
        for line in range(10 * KEPT):
            worded.append(line)
            yield "missing file", "list.txt", "two\nlines", line

    problems = Problems("skip")
    for _ in range(2):
        problems.add_many({"missing file": 10 * KEPT}, words())
    assert worded == list(range(KEPT)) and len(problems) == 20 * KEPT
    assert [p.line for p in problems] == worded and "\n" not in next(iter(problems)).reason


def test_a_name_with_a_blank_is_not_written_where_blanks_part_names(tmp_path):
    (tmp_path / "list.csv").write_text("label,left,right\n1,a b/1,a/2\n")
    trials = read_trials(tmp_path / "list.csv")
    with pytest.raises(InputError, match="the name 'a b/1' has a blank in it"):
        write_trials(trials, tmp_path / "list.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["list.csv"]


def test_the_utterances_of_a_list_are_each_named_once(tmp_path):
    (tmp_path / "list.txt").write_text("1 b a\n0 c b\n1 b d.wav\n")
    assert utterances_of(read_trials(tmp_path / "list.txt")) == ["b", "c", "a", "d"]


def test_the_speakers_of_a_list(tmp_path):
    (tmp_path / "list.txt").write_text(LIST + "0 spk/a spk/b\n1 id1027/a/b id10271/a\n")
    assert speakers_of(read_trials(tmp_path / "list.txt", strict())) == ["id10270", "id10300"]


GENDERS = {"a": "female", "b": "female", "c": "male", "d": "male", "e": "male", "f": None, "g": None}
VOICES = {"a": [3, 2], "b": [1, 4], "c": [5], "d": [2, 2, 2], "e": [6, 1], "f": [2, 3], "g": [1, 1, 1, 1]}


def test_made_trials_are_true_alternate_and_do_not_repeat():
    trials = make_trials(utterances(VOICES, GENDERS), 60, seed=1)
    assert trials["label"].to_pylist() == [0, 1] * 30
    assert all(left[0] == right[0] and left != right for left, right in pairs(trials, 1))
    for left, right in pairs(trials, 0):
        assert left[0] != right[0] and GENDERS[left[0]] == GENDERS[right[0]]
    for label in (0, 1):
        assert len({frozenset(pair) for pair in pairs(trials, label)}) == 30
    # Seven speakers take turns, so of 30 targets each has 4 or 5; g has 6 pairs, enough.
    assert set(Counter(left[0] for left, _ in pairs(trials, 1)).values()) == {4, 5}


def test_a_speaker_without_further_pairs_is_passed_over():
    trials = make_trials(utterances({"a": [2], "b": [5], "c": [1]}), 16, seed=0)
    assert Counter(left[0] for left, _ in pairs(trials, 1)) == {"a": 1, "b": 7}


def test_targets_of_one_session_are_counted_and_can_be_forbidden():
    rows = utterances(VOICES, GENDERS)
    trials = make_trials(rows, 60, seed=1)
    within = sum(left.rpartition("/")[0] == right.rpartition("/")[0] for left, right in pairs(trials, 1))
    assert count_trials(trials)["same_session_targets"] == within > 0
    apart = make_trials(rows, 60, seed=1, different_session=True)
    assert count_trials(apart) == {"trials": 60, "targets": 30, "nontargets": 30, "same_session_targets": 0}
    assert "c" not in {left[0] for left, _ in pairs(apart, 1)}


def test_as_many_as_there_are_can_be_made_and_not_one_more():
    # Targets: 1 + 3 = 4, apart 0 + 2; non-targets: 2 x 3 = 6.
    rows = utterances({"a": [2], "b": [1, 2]})
    assert (most_trials(rows), most_trials(rows, different_session=True)) == (8, 4)
    assert len({frozenset(pair) for pair in pairs(make_trials(rows, 9, seed=0), 1)}) == 4
    with pytest.raises(InputError, match="5 targets were asked for, the rows allow 4"):
        make_trials(rows, 10, seed=0)
    with pytest.raises(InputError, match="3 targets"):
        make_trials(rows, 6, seed=0, different_session=True)
    lone = utterances({"a": [4], "b": [4]}, {"a": "female", "b": "male"})
    with pytest.raises(InputError, match="non-targets were asked for, the rows allow 0"):
        make_trials(lone, 2, seed=0)


def test_every_non_target_pair_is_found_when_all_are_asked_for():
    trials = make_trials(utterances({"a": [5], "b": [1]}), 10, seed=4)
    assert {frozenset(pair) for pair in pairs(trials, 0)} == {frozenset({f"a/0/{k}", "b/0/0"}) for k in range(5)}


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_rows():
    rows = utterances(VOICES, GENDERS)
    shuffled = rows.take(pa.array(np.random.default_rng(3).permutation(len(rows))))
    assert fingerprint(make_trials(rows, 40, seed=7)) == fingerprint(make_trials(shuffled, 40, seed=7))
    assert fingerprint(make_trials(rows, 40, seed=7)) != fingerprint(make_trials(rows, 40, seed=8))


def test_speakers_with_few_non_targets_are_preferred():
    """Of three speakers each non-target leaves one out: with equal weights 30 of them have a variance of 30 * 2/9."""
    rows = utterances({"a": [60], "b": [60], "c": [60]})
    deviations = []
    for seed in range(500):
        uses = Counter(name[0] for pair in pairs(make_trials(rows, 60, seed=seed), 0) for name in pair)
        deviations += [uses[speaker] - 20 for speaker in "abc"]
    # The mean of 1,000 independent squares is known to 4.5 %.
    assert np.mean(np.square(deviations)) < 0.8 * 30 * 2 / 9


@pytest.mark.parametrize(
    ("name", "targets", "same_session"), [("val_trials", 15_000, 10_043), ("val_trials_tiny_few", 1_000, 462)]
)
def test_the_published_validation_lists(voxceleb_lists, tmp_path, name, targets, same_session):
    """How many targets share a session was counted apart from this, with awk."""
    source = voxceleb_lists / f"{name}.txt.gz"
    trials = read_trials(source, strict())
    expected = {"targets": targets, "nontargets": targets, "same_session_targets": same_session}
    assert count_trials(trials) == {"trials": 2 * targets, **expected}
    known = pa.concat_arrays([trials[side].cast(pa.string()).unique() for side in ("left", "right")])
    assert len(check_trials(trials, known, source, strict())) == 2 * targets
    write_trials(trials, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == gzip.decompress(source.read_bytes())
