"""Which folds a data set gives, and which are refused before anything is trained."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.experiments.folds import Folds, folds_of
from hf_speech.testing import write_fake_corpus
from hf_speech.training.arguments import make_config

from ..training.runs import TINY, command, refusal, write_yaml


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers with four clips each, two "low" and two "high"; meetings of two speakers."""
    table = write_fake_corpus(tmp_path_factory.mktemp("folds"), speakers=6, per_speaker=4)
    return rewritten(table, table, lambda i, row: {"recording_id": f"m{int(row['speaker_id'][-2:]) // 2}"})


def rewritten(table: Path, to: Path, more: Any) -> Path:
    """A table with other cells in some columns."""
    rows = list(csv.DictReader(table.open(newline="")))
    rows = [{**row, **more(i, row)} for i, row in enumerate(rows)]
    with to.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return to


def folds(dataset: Path, folds: str | None = None, within: str | None = None, **fields: Any) -> Folds:
    config = make_config({**TINY, "dataset": str(dataset), "validation": "none", "test": "none", **fields})
    return folds_of(config, folds, within)


def test_each_value_is_held_out_once(corpus: Path) -> None:
    found = folds(corpus, "speaker_id")
    assert [fold.fields for fold in found.folds] == [{"test": f"speaker_id=speaker0{i}"} for i in range(6)]
    assert [fold.name for fold in found.folds] == [f"speaker0{i}" for i in range(6)] and found.shares_labels


def test_groups_are_even_and_leave_nobody_out(corpus: Path, tmp_path: Path) -> None:
    """Speaker 0 has 4 rows, the others 4 as well but speaker 5 only 1: 21 rows in 3 groups."""
    table = rewritten(corpus, corpus.with_name("fewer.csv"), lambda i, row: {})
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-3]) + "\n")
    found = folds(table, "speaker_id/3")
    groups = [fold.fields["test"].partition("=")[2].split(",") for fold in found.folds]
    assert sorted(sum(groups, [])) == [f"speaker0{i}" for i in range(6)]
    assert sorted(sum(1 if name == "speaker05" else 4 for name in group) for group in groups) == [5, 8, 8]


def test_folds_are_made_of_the_rows_that_have_the_target(corpus: Path) -> None:
    """Three of six speakers tell an age in half of their rows."""
    table = rewritten(
        corpus,
        corpus.with_name("few.csv"),
        lambda i, row: {"age": str(20 + i) if i % 2 and row["speaker_id"] < "speaker03" else ""},
    )
    found = folds(table, "speaker_id", target="age", loss="mse")
    assert [fold.name for fold in found.folds] == ["speaker00", "speaker01", "speaker02"]
    none = rewritten(corpus, corpus.with_name("none.csv"), lambda i, row: {"age": ""})
    with pytest.raises(InputError, match="target: not one of the 24 rows has a value in age; name another"):
        folds(none, "speaker_id", target="age", loss="mse")


def test_label_files_are_folds(corpus: Path) -> None:
    rows = list(csv.DictReader(corpus.open(newline="")))
    names = []
    for held_out in ("speaker00", "speaker01"):
        split = {"Train": {}, "Val": {}, "Test": {}}
        for row in rows:
            split["Test" if row["speaker_id"] == held_out else "Train"][row["path"]] = row["label"]
        path = corpus.with_name(f"label_{held_out}.json")
        path.write_text(json.dumps(split))
        names.append(str(path))
    found = folds(corpus, ",".join(names), target="emotion", test=None)
    assert [fold.name for fold in found.folds] == ["label_speaker00", "label_speaker01"]
    assert found.folds[0].fields == {"dataset": names[0], "reader": "labels-json"} and found.shares_labels


def test_a_model_for_each_meeting_and_those_with_too_little_are_named(corpus: Path) -> None:
    table = rewritten(
        corpus,
        corpus.with_name("meetings.csv"),
        lambda i, row: {"recording_id": "alone"} if row["speaker_id"] == "speaker05" else
        {"recording_id": "single"} if row["speaker_id"] == "speaker04" or i == 0 else {},
    )  # fmt: skip
    found = folds(table, within="recording_id", target="speaker_id", group_by="none", test="0.25")
    assert [fold.fields for fold in found.folds] == [{"only": "recording_id=m0"}, {"only": "recording_id=m1"}]
    assert found.skipped["alone"] == "has one speaker_id"
    assert "speaker00" in found.skipped["single"] and "no row in test" in found.skipped["single"]
    assert not found.shares_labels


def test_real_meetings_that_are_too_small_are_named(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-dir", speech / "meeting", "--rttm-dir", speech / "meeting/rttm", "--output-dir", tmp_path / "own"]
    assert command("prepare", "aishell4", *where) == 0
    config = write_yaml(tmp_path / "run.yaml", target="speaker_id", group_by="none", validation="none")
    words = ["crossval", config, "--dataset", tmp_path / "own", "--within", "recording_id"]
    said = refusal(capsys, *words, "--output-dir", tmp_path / "table")
    with (speech / "meeting/metadata.csv").open(newline="") as file:
        names = {Path(row["path"]).stem for row in csv.DictReader(file)}
    names.remove("trn02")  # its one turn is shorter than what preparation takes
    assert len(names) == 13 and all(f"{name}: " in said for name in names)
    assert "trn01: has one speaker_id" in said and not (tmp_path / "table").exists()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "give --folds, such as --folds speaker_id"),
    "both": ({"folds": "speaker_id", "within": "recording_id"}, "give --folds, such as --folds speaker_id"),
    "no column": ({"folds": "session_id"}, "there is no column 'session_id'"),
    "a misspelt target": (
        {"folds": "speaker_id", "target": "lable"},
        "target: there is no column 'lable' (did you mean 'label'?); columns: ",
    ),
    "more than there are": ({"folds": "speaker_id/9"}, "speaker_id has 6 values, too few for 9 folds"),
    "one fold": ({"folds": "speaker_id/1"}, "write a column and a number of folds from 2 on"),
    "no file": ({"folds": "nowhere.json"}, "there is no file nowhere.json"),
    "what is predicted": ({"folds": "label"}, "--folds label: is what is predicted: a fold would lack a class"),
    "several columns": ({"folds": "label,speaker_id"}, "is several columns; give one"),
    "a class that is one fold": (
        {"folds": "recording_id", "target": "speaker_id", "group_by": "none"},
        "fold m0: ",
    ),
    "labels that training lacks": (
        {"folds": "speaker_id", "labels": ["low", "high", "mid"]},
        "no training row has label mid",
    ),
    "meetings without test rows": ({"within": "recording_id"}, "give --test, such as --test 0.2"),
    "a stream": ({"folds": "speaker_id", "streaming": True, "max_steps": 1, "labels": ["low", "high"]}, "streaming"),
    "too little everywhere": (
        {"within": "speaker_id", "target": "speaker_id", "group_by": "none", "test": "0.25"},
        "no value has enough to learn from and to test on: speaker00: has one speaker_id; speaker01: has one",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folds_that_cannot_be_are_refused_by_name(corpus: Path, case: str) -> None:
    fields, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        folds(corpus, **fields)
    assert words in str(caught.value)
