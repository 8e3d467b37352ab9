"""IEMOCAP: the paper's counts, folds and validation rules, votes by hand, bad input by line, what `prepare` writes."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from hf_speech.corpora.builder import Corpus
from hf_speech.corpora.options import builder_of, fit_options
from hf_speech.corpora.prepare import prepare
from hf_speech.data.label_files import labels_json_rows
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_iemocap
from hf_speech.testing.iemocap import text_of

from .iemocap import SPOILT, block_head
from .prepared import Find, read_elsewhere

Rows = dict[str, dict[str, Any]]

FOUR = {"ang": "anger", "hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral"}
ALL = FOUR | {"exc": "excited", "fru": "frustration", "fea": "fear", "sur": "surprise", "dis": "disgust"}
SPEAKERS = {f"Ses0{n}{letter}" for n in range(1, 6) for letter in "FM"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 sessions x 4 dialogues x 6 utterances."""
    return write_fake_iemocap(tmp_path_factory.mktemp("iemocap"), utterances=6, seconds=(0.1, 0.2))


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(tree, tmp_path / "copy"))


@pytest.fixture
def find(finder: Callable[[str], Find]) -> Find:
    return finder("iemocap")


def rows_of(corpus: Corpus, split: str = "train") -> Rows:
    return {row["id"]: row for row in corpus.splits[split].to_pylist()}


def codes_of(tree: Path) -> dict[str, str]:
    """Utterance -> code, by the plainest reading of the evaluation files."""
    files = [f for f in tree.glob("Session?/dialog/EmoEvaluation/Ses*.txt")]
    return {name: code for f in files for name, code in re.findall(r"\t(Ses\w+)\t(\w{3})\t", f.read_text("latin-1"))}


def evaluation(tree: Path, dialog: str = "Ses03M_script01_1") -> Path:
    return tree / f"Session{dialog[4]}" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"


# --- rows


def test_the_four_classes_have_the_counts_of_the_paper(tmp_path: Path, find: Find) -> None:
    labels = {"ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "fru": 50, "xxx": 50}
    corpus, problems = find(write_fake_iemocap(tmp_path / "full", labels=labels, seconds=(0.03, 0.03)))
    emotions = Counter(corpus.splits["train"]["emotion"].to_pylist())
    assert emotions == {"anger": 1103, "happy": 1636, "sad": 1084, "neutral": 1708} and emotions.total() == 5531
    assert corpus.facts["utterances by code, before any is left out"] == labels
    assert not len(problems)


@pytest.mark.parametrize(("config", "classes"), [("4class", FOUR), ("all", ALL | {"oth": "other", "xxx": None})])
def test_rows_are_what_the_tree_says(tree: Path, find: Find, config: str, classes: dict[str, str | None]) -> None:
    corpus, problems = find(tree, config)
    rows, codes = rows_of(corpus), codes_of(tree)
    assert len(codes) == 120 and set(codes.values()) == {*ALL, "oth", "xxx"} and not len(problems)
    assert {name: row["emotion"] for name, row in rows.items()} == {
        name: classes[code] for name, code in codes.items() if code in classes
    }
    assert list(rows) == sorted(rows)
    for name, row in rows.items():
        dialog, _, last = name.rpartition("_")
        path = tree / f"Session{name[4]}" / "sentences" / "wav" / dialog / f"{name}.wav"
        assert Path(row["path"]) == path and path.is_file()
        assert row["speaker_id"] == name[:5] + last[0]
        assert row["gender"] == {"F": "female", "M": "male"}[last[0]]
        assert (row["session_id"], row["fold"], row["recording_id"]) == (name[:5], name[4], dialog)
        assert row["part"] == ("improvised" if "impro" in name else "scripted")
        assert row["text"] == text_of(name) and row["text"].endswith("café.")
    # The letter of the dialogue is not the talker's.
    heard = {(name[5], row["gender"]) for name, row in rows.items()}
    assert heard == {("F", "female"), ("F", "male"), ("M", "female"), ("M", "male")}


def test_votes_and_ratings_by_hand(copy: Path, find: Find) -> None:
    evaluation(copy).write_bytes(
        b"% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        b"[6.2901 - 8.2357]\tSes03M_script01_1_F000\tang\t[1.5000, 4.0000, 4.3333]\n"
        b"C-E1:\tAnger;\t()\nC-E3:\tAnger; Frustration;\t(d\xe9\xe7u; not (quite) sad)\nC-E4:\tNeutral state;\t()\n"
        b"C-F1:\tSadness;\t()\nC-M1:\tSadness;\t()\nA-E3:\tval 2; act 4; dom  4;\t(threatening, belligerent)\n"
        b"A-M1:\tval 2; act ; dom  ;\t()\n\n"
        b"[10.0 - 11.0]\tSes03M_script01_1_M000\thap\t[4.0000, 3.0000, 2.5000]\n"
        b"C-E2:\tHappiness; Excited;\t()\nC-E4:\tExcited;\t()\n"
    )
    corpus, problems = find(copy)
    rows = {name: row for name, row in rows_of(corpus).items() if row["recording_id"] == "Ses03M_script01_1"}
    assert list(rows) == ["Ses03M_script01_1_F000", "Ses03M_script01_1_M000"] and not len(problems)
    anger, happy = rows.values()
    assert {k: v for k, v in anger["votes"].items() if v} == {"anger": 2, "frustration": 1, "neutral": 1}
    assert (anger["valence"], anger["activation"], anger["dominance"]) == (1.5, 4.0, 4.3333)
    assert {k: v for k, v in happy["votes"].items() if v} == {"happy": 1, "excited": 2}
    assert len(anger["votes"]) == 10
    # Four wav files of the dialogue are left without an evaluation: F001, F002, M001, M002.
    strays = corpus.facts["wav files without an evaluation"]
    assert strays["count"] == 4 and strays["first"][0] == "Ses03M_script01_1/Ses03M_script01_1_F001.wav"
    soft, _ = find(copy, soft_labels=True)
    assert json.loads(soft.files["labels.json"])["Train"]["Ses03M_script01_1_M000.wav"] == {"happy": 3}


@pytest.mark.parametrize(("part", "kinds"), [("improvised", {"impro"}), ("scripted", {"script"})])
def test_parts(tree: Path, find: Find, part: str, kinds: set[str]) -> None:
    ids = rows_of(find(tree, "all", part=part)[0])
    assert len(ids) == 60 and {re.sub(r"\d.*", "", name.split("_")[1]) for name in ids} == kinds


class Backwards:
    """What `os.scandir` gives, the other way round."""

    def __init__(self, entries: Iterator[Any]) -> None:
        with entries:  # type: ignore[attr-defined]
            self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __iter__(self) -> Iterator[Any]:
        return self.entries

    def __next__(self) -> Any:
        return next(self.entries)

    def __enter__(self) -> "Backwards":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_rows_do_not_depend_on_the_order_of_the_directories(
    tree: Path, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"fold": 4, "validation": "0.3", "labels_json": True}
    forwards, _ = find(tree, **options)
    scandir, listdir = os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda *path: Backwards(scandir(*path)))
    monkeypatch.setattr(os, "listdir", lambda *path: sorted(listdir(*path), reverse=True))
    assert [p.name for p in tree.glob("Session?")][0] == "Session5"
    backwards, _ = find(tree, **options)
    assert {k: t.to_pylist() for k, t in backwards.splits.items()} == {
        k: t.to_pylist() for k, t in forwards.splits.items()
    }
    assert backwards.files == forwards.files and backwards.facts == forwards.facts


# --- folds

FOLDS = [
    # fold, options, speakers of validation, speakers of test
    (1, {}, set(), {"Ses01F", "Ses01M"}),
    (5, {"validation": "none"}, set(), {"Ses05F", "Ses05M"}),
    (2, {"validation": "session"}, {"Ses03F", "Ses03M"}, {"Ses02F", "Ses02M"}),
    (5, {"validation": "session"}, {"Ses01F", "Ses01M"}, {"Ses05F", "Ses05M"}),
    (3, {"validation": "speaker"}, {"Ses03F"}, {"Ses03M"}),
    (3, {"validation": "speaker", "validation_speaker": "male"}, {"Ses03M"}, {"Ses03F"}),
]


@pytest.mark.parametrize(("fold", "options", "validation", "test"), FOLDS)
def test_folds(
    tree: Path, find: Find, fold: int, options: dict[str, Any], validation: set[str], test: set[str]
) -> None:
    corpus, _ = find(tree, fold=fold, **options)
    speakers = {split: set(table["speaker_id"].to_pylist()) for split, table in corpus.splits.items()}
    assert speakers == {
        "train": SPEAKERS - validation - test,
        **({"validation": validation} if validation else {}),
        "test": test,
    }
    assert sum(map(len, corpus.splits.values())) == len(find(tree)[0].splits["train"])


@pytest.mark.parametrize(("share", "count"), [("0.1", 1), (0.25, 2), ("0.5", 4)])
def test_a_share_is_of_the_training_speakers_and_drawn_by_the_seed(
    tree: Path, find: Find, share: str | float, count: int
) -> None:
    drawn = []
    for seed in (0, 0, 1, 2, 3):
        corpus, _ = find(tree, fold=1, validation=share, seed=seed)
        speakers = {split: set(table["speaker_id"].to_pylist()) for split, table in corpus.splits.items()}
        assert speakers["test"] == {"Ses01F", "Ses01M"} and len(speakers["validation"]) == count
        assert speakers["train"] == SPEAKERS - speakers["test"] - speakers["validation"]
        drawn.append(speakers["validation"])
    assert drawn[0] == drawn[1] and len(set(map(frozenset, drawn))) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": "session"}, "validation session: there is no test session to go with it; give --fold 1 to 5"),
        ({"validation": "0.1"}, "give --fold"),
        ({"fold": 1, "validation": "sessions"}, "unknown validation of IEMOCAP 'sessions'.*session, speaker"),
        ({"fold": 1, "validation": "1.5"}, "a share lies between 0 and 1"),
        ({"fold": 6}, "unknown fold of IEMOCAP.*1, 2, 3, 4, 5"),
        ({"part": "scripts"}, "unknown part of IEMOCAP 'scripts'.*scripted"),
        ({"config_name": "5class"}, "4class.*all"),
        ({"fold": 1, "validation": "speaker", "validation_speaker": "f"}, "unknown validation speaker.*female, male"),
    ],
)
def test_options_that_make_no_sense_are_refused(tree: Path, find: Find, options: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        find(tree, **options)


# --- label JSON


@pytest.mark.parametrize(
    ("options", "splits"), [({}, "Train"), ({"fold": 2, "validation": "session"}, "Train Val Test")]
)
def test_the_label_json_is_read_back_to_the_same_rows(
    tree: Path, find: Find, tmp_path: Path, options: dict[str, Any], splits: str
) -> None:
    corpus, _ = find(tree, labels_json=True, **options)
    text = corpus.files["labels.json"]
    content = json.loads(text)
    assert list(content) == ["Train", "Val", "Test"]
    assert [split for split in content if content[split]] == splits.split()
    (tmp_path / "labels.json").write_text(text, encoding="utf-8")
    problems = Problems()
    found = labels_json_rows(tmp_path / "labels.json", tree, problems, set(FOUR.values()))
    assert not len(problems)
    assert {s: [(row["audio"], row["emotion"]) for row in rows] for s, rows in found.items()} == {
        s: [(row["path"], row["emotion"]) for row in table.to_pylist()] for s, table in corpus.splits.items()
    }


def test_soft_labels_are_the_votes_for_the_classes(tree: Path, find: Find) -> None:
    codes = codes_of(tree)
    content = json.loads(find(tree, soft_labels=True)[0].files["labels.json"])["Train"]
    # Two evaluators name the emotion alone, the third names it and anger, or sadness beside anger.
    expected = {"anger": {"anger": 3, "sad": 1}, **{e: {"anger": 1, e: 3} for e in ("happy", "sad", "neutral")}}
    assert content == {f"{name}.wav": expected[FOUR[code]] for name, code in codes.items() if code in FOUR}
    everything = json.loads(find(tree, "all", soft_labels=True)[0].files["labels.json"])["Train"]
    assert len(everything) == 120
    assert everything[f"{min(n for n in codes if codes[n] == 'xxx')}.wav"] == {"anger": 1, "neutral": 1, "sad": 1}
    # Nobody agrees on xxx, so it has votes but no label.
    labels = json.loads(find(tree, "all", labels_json=True)[0].files["labels.json"])["Train"]
    assert len(labels) == 120 - Counter(codes.values())["xxx"]
    assert "labels.json" not in find(tree)[0].files


# --- bad input


@pytest.mark.parametrize(("spoil", "kind", "after", "message", "lost"), SPOILT)
def test_bad_lines_are_named_by_file_and_line_and_left_out(
    copy: Path, find: Find, spoil: Callable[[bytes], bytes], kind: str, after: int, message: str, lost: int
) -> None:
    whole = rows_of(find(copy, "all")[0])
    file = evaluation(copy)
    text = file.read_bytes()
    head, line = block_head(text)
    file.write_bytes(text.replace(head, spoil(head)))
    corpus, problems = find(copy, "all")
    assert dict(problems.counts) == {kind: 1}
    [problem] = problems
    assert (problem.kind, problem.file, problem.line) == (kind, str(file), line + after)
    assert re.search(message, problem.reason), problem.reason
    rows = rows_of(corpus)
    assert len(rows) == 120 - lost
    # In particular, the votes of a lost utterance do not go to the one before it.
    assert rows == {name: row for name, row in whole.items() if name in rows}


REMARKS = [
    # what is put behind the head line, and the lines of it that are no line of an evaluation
    ("C-F9:\tAnger;\t(she laughs,\nand he\ndoes not)\nA-F9:\tval 2;\t()", []),
    ("A-F9:\tval 2; act 2;\t(both (as it seems)\ntalk)", []),
    ("C-F9:\tAnger;\t(over)\nand out)", [2]),
    ("C-F9:\tAnger;\t(over\nand)\nout", [3]),
    ("C-F9:\tAnger;\t(over\nA-F9:\tval 2;\t()\nand out)", [3]),
    ("%\t(over\nand out)", [2]),
]


@pytest.mark.parametrize(("block", "bad"), REMARKS)
def test_a_remark_goes_on_until_its_parenthesis_is_closed(copy: Path, find: Find, block: str, bad: list[int]) -> None:
    whole = rows_of(find(copy, "all")[0])
    file = evaluation(copy)
    head, line = block_head(file.read_bytes())
    file.write_bytes(file.read_bytes().replace(head, head + b"\n" + block.encode("latin-1")))
    corpus, problems = find(copy, "all")
    assert [(p.kind, p.line) for p in problems] == [("malformed line", line + number) for number in bad]
    assert rows_of(corpus) == whole


def test_an_open_remark_ends_with_its_block(copy: Path, find: Find) -> None:
    file = evaluation(copy)
    head, line = block_head(file.read_bytes())
    file.write_bytes(file.read_bytes().replace(head, b"A-F9:\t(over\n\nand out)\n" + head))
    _, problems = find(copy, "all")
    assert [(p.kind, p.line) for p in problems] == [("malformed line", line + 2)]


def test_a_byte_order_mark_is_noted_and_does_no_harm(copy: Path, find: Find) -> None:
    file = evaluation(copy)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    corpus, problems = find(copy, "all")
    assert dict(problems.counts) == {"byte order mark": 1} and len(rows_of(corpus)) == 120


def test_every_problem_is_listed_before_a_fold_is_refused(copy: Path, find: Find) -> None:
    shutil.rmtree(copy / "Session2" / "sentences" / "wav" / "Ses02F_impro01")
    file = evaluation(copy)
    file.write_bytes(file.read_bytes().replace(b"\tSes03M_script01_1_M000\t", b"\tSes03M_script01_1_M000\tx"))
    _, problems = find(copy, "all", on_bad="raise", fold=2)
    assert dict(problems.counts) == {"missing file": 6, "unknown label": 1}
    with pytest.raises(InputError, match=r"IEMOCAP: missing file: 6, unknown label: 1 .*-row skip.*_M000 is 'x"):
        problems.settle("IEMOCAP")


def test_missing_transcriptions_leave_the_text_empty(copy: Path, find: Find) -> None:
    shutil.rmtree(copy / "Session1" / "dialog" / "transcriptions")
    rows = rows_of(find(copy)[0]).values()
    assert {row["session_id"] for row in rows if row["text"] is None} == {"Ses01"}


def test_another_folder_is_refused_with_the_one_that_is_meant(copy: Path, find: Find, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"no Session1 to Session5 in it; give {re.escape(str(copy))}"):
        find(tmp_path)
    with pytest.raises(InputError, match="give the folder that holds them, IEMOCAP_full_release"):
        find(copy / "Session1")
    shutil.rmtree(copy / "Session4" / "dialog" / "EmoEvaluation" / "Attribute")
    for file in (copy / "Session4" / "dialog" / "EmoEvaluation").glob("Ses*.txt"):
        file.unlink()
    with pytest.raises(InputError, match="Session4/dialog/EmoEvaluation: no evaluation files in it"):
        find(copy)


def test_a_part_of_the_corpus_will_do_and_is_said_to_be_one(
    copy: Path, find: Find, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 4, 5):
        shutil.rmtree(copy / f"Session{number}")
    corpus, _ = find(copy, "all")
    assert len(rows_of(corpus)) == 48 and corpus.facts["sessions"] == ["Session2", "Session3"]
    assert "only 2 of 5 sessions: Session2, Session3" in caplog.text
    with pytest.raises(InputError, match="no fold is 4; there are: 2; 3"):
        find(copy, "all", fold=4)


# --- what `prepare` writes


def test_prepared_rows_are_what_the_tree_holds_for_a_process_without_the_package(tree: Path, tmp_path: Path) -> None:
    kind, card = builder_of("iemocap")
    options = fit_options(kind, {"fold": 2, "validation": "speaker", "labels_json": True})
    prepare(kind, "iemocap", tree, tmp_path / "out", options, card=card, workers=1)
    found = read_elsewhere(tmp_path / "out", tmp_path / "cache")
    codes = {name: code for name, code in codes_of(tree).items() if code in FOUR}
    emotions = {row["id"]: row["emotion"] for rows in found.values() for row in rows}
    assert emotions == {name: FOUR[code] for name, code in codes.items()}
    assert {row["speaker_id"] for row in found["validation"]} == {"Ses02F"}
    assert {row["speaker_id"] for row in found["test"]} == {"Ses02M"}
    for row in found["test"]:
        file = tree / "Session2" / "sentences" / "wav" / row["recording_id"] / f"{row['id']}.wav"
        assert row["sha"] == hashlib.sha256(sf.read(file, dtype="int16")[0].tobytes()).hexdigest()
        assert row["length"] == sf.info(file).frames and sum(row["votes"].values()) == 4
    assert list(json.loads((tmp_path / "out" / "labels.json").read_text("utf-8"))) == ["Train", "Val", "Test"]
    written = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "license: other" in written and "busso2008iemocap" in written
