"""What splits of a run have in common: refused where new voices are meant, else said in log, results and card."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from datasets import Audio, Dataset

from hf_speech.data.audit import audit
from hf_speech.data.schema import item_ids
from hf_speech.data.several import TargetRule
from hf_speech.errors import InputError
from hf_speech.training.arguments import make_config
from hf_speech.training.config import DataArguments, SplitArguments
from hf_speech.training.rows import RunRows, read_rows

from .runs import TINY, read_results, read_table, refusal, train_tiny, write_table

Table = Callable[..., Path]


@pytest.fixture
def table(corpus: Path, tmp_path: Path) -> Table:
    """table(how) -> a csv of the corpus's clips: of each row and its number, `how` gives further columns, or None."""

    def write(how: Callable[[int, dict[str, str]], dict[str, Any] | None]) -> Path:
        rows = []
        for i, row in enumerate(read_table(corpus)):
            more = how(i, row)
            if more is not None:
                rows.append({**row, "path": str(corpus.parent / row["path"]), **more})
        return write_table(tmp_path / "table.csv", rows)

    return write


def by_speaker(number: int, row: dict[str, str]) -> dict[str, Any]:
    """Speakers 0 to 3 in train, 4 and 5 in test, but one clip of speaker 5 in train as well."""
    held_out = row["speaker_id"] in ("speaker04", "speaker05") and number != 21
    return {"split": "test" if held_out else "train", "emotion": row["label"], "gender": row["label"]}


def read(dataset: Path | str, target: str = "emotion", **fields: Any) -> RunRows:
    config = make_config({**TINY, "dataset": str(dataset), "target": target, **fields})
    kind = "regression" if target == "age" else "single_label_classification"
    return read_rows(config.data, config.split, {target: TargetRule(kind=kind)}, min_seconds=0.025)


@pytest.mark.parametrize("target", ["emotion", "gender", "age"])
def test_a_speaker_in_two_splits_stops_what_is_meant_for_new_voices(table: Table, target: str) -> None:
    with pytest.raises(InputError) as caught:
        read(table(by_speaker), target)
    said = str(caught.value)
    assert said.startswith(f"target {target} ")
    assert "1 of the 2 speakers in test is in train as well (speaker05)" in said
    assert "--group-by speaker_id" in said and "--speaker-independent false" in said


def test_other_targets_say_it_and_go_on(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    shared = {"between": ["train", "test"], "what": "speaker_id", "count": 1, "of": [5, 2], "examples": ["speaker05"]}
    path = table(by_speaker)
    with caplog.at_level(logging.WARNING, "hf_speech.training.audit"):
        assert read(path, "label").overlaps == [shared]
    said = [record.message for record in caplog.records if record.name == "hf_speech.training.audit"]
    assert said == ["1 of the 2 speakers in test is in train as well (speaker05)"]
    assert read(path, "emotion", speaker_independent=False).overlaps == [shared]
    with pytest.raises(InputError, match="target label is to be measured on new speakers"):
        read(path, "label", speaker_independent=True)


def test_who_speaks_is_learnt_from_speakers_in_all_splits(table: Table) -> None:
    path = table(lambda i, row: {"split": ("train", "train", "validation", "test")[i % 4]})
    rows = read(path, "speaker_id")
    assert rows.names is not None and len(rows.names) == 6 and rows.overlaps == []
    assert rows.compared == ["file"]  # speakers are the classes, sessions are not known
    with pytest.raises(InputError, match="speaker_independent can't hold where speakers are the classes"):
        make_config({"backbone": "x", "target": "speaker_id", "speaker_independent": True})


def test_what_is_asked_for_must_be_possible(table: Table, corpus: Path) -> None:
    path = table(by_speaker)
    with pytest.raises(InputError, match="speaker_independent, train: there is no column 'speaker_id'"):
        read(path, "label", columns={"spoken_by": "speaker_id"}, speaker_independent=True)
    streamed = DataArguments(dataset=str(corpus), streaming=True, labels=["low", "high"])
    with pytest.raises(InputError, match="speaker_independent can't be checked on a stream"):
        read_rows(
            streamed,
            SplitArguments(speaker_independent=True),
            {streamed.target: TargetRule(streamed.labels)},
            min_seconds=0.025,
        )


def test_sessions_recordings_and_files_are_compared(table: Table) -> None:
    def more(number: int, row: dict[str, str]) -> dict[str, Any]:
        split = "train" if number < 12 else "validation" if number < 16 else "test"
        return {"split": split, "session_id": f"day{number // 5}", "recording_id": f"tape{number % 14}"}

    path = table(more)
    lines = read_table(path)
    write_table(path, [*lines, {**lines[20], "split": "train", "speaker_id": "", "session_id": "", "recording_id": ""}])
    rows = read(path, "label")
    assert rows.compared == ["file"]  # of one row nothing else is known
    found = {(*o["between"], o["what"]): o for o in rows.overlaps or []}
    assert set(found) == {
        ("train", "validation", "session_id"),  # day 2 is of clips 10 to 14
        ("validation", "test", "session_id"),  # day 3: 15 to 19
        ("train", "validation", "recording_id"),  # 14 and 15 are 0 and 1
        ("train", "test", "recording_id"),  # 16 to 23 are 2 to 9
        ("train", "test", "file"),
    }
    assert found["train", "test", "recording_id"]["count"] == 8
    assert found["train", "test", "recording_id"]["of"] == [12, 8]
    # By its last name: where data lie is not told.
    assert found["train", "test", "file"]["examples"] == [Path(lines[20]["path"]).name]
    assert found["train", "test", "file"]["of"] == [13, 8]


def test_pieces_of_one_file_are_not_one_clip(table: Table) -> None:
    def pieces(number: int, row: dict[str, str]) -> dict[str, Any]:
        return {"split": "train" if number % 2 else "test", "start": "0.0", "end": "0.3"}

    path = table(pieces)
    lines = read_table(path)
    halves = [{**line, "split": "test" if line["split"] == "train" else "train", "start": "0.3", "end": "0.6"}
              for line in lines]  # fmt: skip
    write_table(path, [*lines, *halves])
    assert [o["what"] for o in read(path, "label").overlaps or []] == ["speaker_id"]
    write_table(path, [*lines, *halves, {**halves[0], "split": lines[0]["split"]}])
    found = (read(path, "label").overlaps or [])[1]
    assert found["what"] == "file" and found["examples"] == [f"{Path(lines[0]['path']).name}#t=0.3,0.6"]


def test_rows_without_a_target_do_not_count(table: Table) -> None:
    def more(number: int, row: dict[str, str]) -> dict[str, Any]:
        told = by_speaker(number, row)
        return {**told, "emotion": "" if number == 21 else told["emotion"]}

    rows = read(table(more))
    assert rows.unlabelled == 1 and rows.overlaps == []


def test_speakers_in_a_column_that_was_not_mapped_stop_what_is_meant_for_new_voices(table: Table) -> None:
    path = table(lambda i, row: {"emotion": row["label"]})
    path.write_text(path.read_text().replace("speaker_id", "speaker", 1))
    with pytest.raises(InputError, match="'speaker' seems to name them; map it: --columns speaker_id=speaker"):
        read(path, test="0.25")
    read(path, test="0.25", speaker_independent=False)
    read(path)  # nothing is held out, so there is nothing to compare
    rows = read(path, test="0.25", columns={"speaker_id": "speaker"})
    assert not set(rows.splits["train"]["speaker_id"]) & set(rows.splits["test"]["speaker_id"])


def test_single_rows_are_drawn_when_no_group_is_wanted(table: Table) -> None:
    rows = read(table(lambda i, row: {}), target="label", test="0.25", group_by="none")
    assert set(rows.splits["train"]["speaker_id"]) & set(rows.splits["test"]["speaker_id"])


def test_rows_that_name_no_speaker_are_told_of(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    path = table(lambda i, row: {**by_speaker(i, row), "speaker_id": "" if i == 21 else row["speaker_id"]})
    rows = read(path)
    assert rows.overlaps == [] and rows.compared == ["file"]  # not by speakers, as one is not known
    assert "train: 1 of 17 rows do not say who speaks: not compared" in caplog.text


def prepared(folder: Path, corpus: Path) -> Path:
    """Parquet splits train, dev and test, audio embedded; clip 0 is in train and dev, clip 1 in train and test."""
    lines = read_table(corpus)
    splits, content = {}, {}
    for name, numbers in (("train", [0, 1, 2, 3, 4, 5, 6, 7]), ("dev", [0, 12, 13]), ("test", [1, 20, 21])):
        files = [corpus.parent / lines[i]["path"] for i in numbers]
        rows = {
            "id": [f"{name}/{i:02d}" for i in numbers],
            "audio": [{"bytes": file.read_bytes(), "path": "utterance.wav"} for file in files],
            "label": [lines[i]["label"] for i in numbers],
            "speaker_id": [f"{name} {lines[i]['speaker_id']}" for i in numbers],
        }
        splits[name] = Dataset.from_dict(rows).cast_column("audio", Audio(decode=False))
        content[name] = np.array(numbers, np.uint64) + 1
        splits[name].to_parquet(str(folder / f"{name}-00000-of-00001.parquet"))
    files = [{"split": name, "path": f"{name}-*.parquet"} for name in splits]
    head = yaml.safe_dump({"configs": [{"config_name": "full", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{head}---\n", encoding="utf-8")
    told = {"config_name": "full", **audit(splits, content)}
    (folder / "audit.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def test_equal_audio_is_taken_over_from_the_data_set_s_audit(tmp_path: Path, corpus: Path) -> None:
    rows = read(prepared(tmp_path, corpus), "label")
    assert rows.overlaps == [
        {"between": ["train", "validation"], "what": "content", "count": 1, "of": [8, 3],
         "examples": [["train/00", "dev/00"]]},
        {"between": ["train", "test"], "what": "content", "count": 1, "of": [8, 3],
         "examples": [["train/01", "test/01"]]},
    ]  # fmt: skip
    assert rows.compared == ["speaker_id", "content"]  # embedded audio has no place
    assert item_ids(rows.splits["test"], str(tmp_path)) == ["test/01", "test/20", "test/21"]


def test_only_the_splits_in_use_are_told_of(tmp_path: Path, corpus: Path) -> None:
    prepared(tmp_path, corpus)
    assert read(tmp_path, "label", validation="none", test="none").overlaps == []
    drawn = read(tmp_path, "label", validation="0.5", test="dev")
    assert [(o["between"], o["what"], o["examples"]) for o in drawn.overlaps or []] == [
        (["train", "test"], "content", [["train/00", "dev/00"]])
    ]
    assert drawn.compared == ["speaker_id"]  # which audio went to validation is not told


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"overlaps": [{"between": ["train"]}]}', '{"overlaps": [3]}', '{"overlaps": null}']
)
def test_an_audit_that_is_none_is_passed_by_with_a_word(
    tmp_path: Path, corpus: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (prepared(tmp_path, corpus) / "audit.json").write_text(text, encoding="utf-8")
    assert read(tmp_path, "label").overlaps == []
    assert f"{tmp_path / 'audit.json'}: can't be read" in caplog.text
    (tmp_path / "audit.json").unlink()
    caplog.clear()
    assert read(tmp_path, "label").overlaps == [] and "audit.json" not in caplog.text


OFFLINE = """
from hf_speech.training.config import DataArguments
from hf_speech.training.audit import _audit_file
print(*(_audit_file(DataArguments(dataset=name)) for name in ("owner/name", "owner/other")))
"""


def test_the_audit_of_a_data_set_on_the_hub_is_looked_for_quietly(tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "datasets--owner--name"
    file = cache / "snapshots" / ("0" * 40) / "audit.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}", encoding="utf-8")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    settings = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, env=settings, check=True)
    assert run.stdout.split() == [str(file), "None"] and run.stderr == ""


def test_results_and_card_tell_what_was_found(table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(by_speaker)
    fields: dict[str, Any] = {"target": "emotion", "max_steps": 1, "num_train_epochs": None}
    folder = train_tiny(tmp_path / "model", path, "--speaker-independent", "false", **fields)
    assert [o["what"] for o in read_results(folder)["data"]["overlaps"]] == ["speaker_id"]
    assert "speaker_independent: false" in (folder / "train.yaml").read_text(encoding="utf-8")
    card = (folder / "README.md").read_text(encoding="utf-8")
    said = "1 of the 2 speakers in test is in train as well: on voices that it has not heard it may do worse."
    assert f"- {said}" in card.partition("## Limits")[2]
    assert read_results(folder)["data"]["compared"] == ["speaker_id", "file"]
    told = "Split audit: no file is in two splits (speakers and files were compared); sessions and recordings are not"
    assert told in card and "| train and test | speakers | 1 | 5 in train; 2 in test |" in card
    line = refusal(capsys, "train", tmp_path / "model.yaml", "--output-dir", tmp_path / "refused")
    assert "speaker05" in line and "--speaker-independent false" in line
    assert not (tmp_path / "refused").exists() or not list((tmp_path / "refused").iterdir())


def test_a_stream_is_said_not_to_be_looked_at(corpus: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"streaming": True, "labels": ["low", "high"], "max_steps": 1, "num_train_epochs": None}
    folder = train_tiny(tmp_path / "model", corpus, **fields)
    assert read_results(folder)["data"]["overlaps"] is None and "compared" not in read_results(folder)["data"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Whether the splits have speakers or recordings in common was not looked at" in card


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["x", "y"], ["x", "y"]),
        ([7, 8], ["7", "8"]),
        (["x", "x"], ["a.wav#t=0.5,2", "b.wav#t=1,"]),  # no name of a row: two have it
        (["x", None], ["a.wav#t=0.5,2", "b.wav#t=1,"]),
    ],
)
def test_an_id_names_a_row_only_where_each_has_its_own(tmp_path: Path, ids: list[Any], names: list[str]) -> None:
    audio = [{"bytes": None, "path": str(tmp_path / name)} for name in ("a.wav", "b.wav")]
    rows = Dataset.from_dict({"audio": audio, "id": ids, "start": [0.5, 1.0], "end": [2.0, None]})
    assert item_ids(rows, str(tmp_path)) == names
