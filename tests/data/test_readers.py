import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from hf_speech.audio import read_audio
from hf_speech.data.readers import load_rows
from hf_speech.errors import InputError

Writer = Callable[..., Path]


# --- class folders


def test_class_folders_are_classes_in_sorted_order(class_folders: Path) -> None:
    rows = load_rows(class_folders)["train"]
    assert rows["label"] == ["high", "high", "low", "low"]
    assert [Path(audio["path"]).name for audio in rows["audio"]] == [
        "speaker00_001.wav",
        "speaker01_001.wav",
        "speaker00_000.wav",
        "speaker01_000.wav",
    ]
    assert all(audio["bytes"] is None and os.path.isabs(audio["path"]) for audio in rows["audio"])
    assert load_rows(class_folders, columns={"emotion": "label"})["train"].column_names == ["audio", "emotion"]


def test_class_folders_are_searched_deeply_and_what_is_no_audio_is_counted(
    write_tone: Writer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("yes/a.WAV", "yes/deep/er/b.flac", "no/c.ogg", "no/._c.ogg", "no/.hidden/d.wav", "__MACOSX/no/e.wav"):
        write_tone(name)
    (tmp_path / "no" / "notes.txt").write_text("not audio")
    with caplog.at_level(logging.INFO):
        rows = load_rows(tmp_path)["train"]
    names = [Path(audio["path"]).name for audio in rows["audio"]]
    assert list(zip(rows["label"], names, strict=True)) == [("no", "c.ogg"), ("yes", "a.WAV"), ("yes", "b.flac")]
    assert "1 files are not audio and were left out (1 .txt)" in caplog.text


def test_split_folders_above_class_folders(write_tone: Writer, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        for label in ("a", "b"):
            write_tone(f"{split}/{label}/{split}.wav")
    splits = load_rows(tmp_path)
    assert {name: rows["label"] for name, rows in splits.items()} == dict.fromkeys(
        ["test", "train", "validation"], ["a", "b"]
    )
    assert list(load_rows(tmp_path, split="test")) == ["test"]
    with pytest.raises(InputError, match="unknown split of .* 'tests' .did you mean 'test'"):
        load_rows(tmp_path, split="tests")


def test_a_class_may_be_called_test(write_tone: Writer, tmp_path: Path) -> None:
    write_tone("test/a.wav"), write_tone("quiz/b.wav")
    assert load_rows(tmp_path)["train"]["label"] == ["quiz", "test"]


def test_an_empty_class_folder_is_named(write_tone: Writer, tmp_path: Path) -> None:
    write_tone("full/a.wav")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(InputError, match=f"{tmp_path}/hollow: no audio in this class folder"):
        load_rows(tmp_path)


def test_audio_outside_the_class_folders_is_named(write_tone: Writer, tmp_path: Path) -> None:
    write_tone("full/a.wav"), write_tone("stray.wav")
    with pytest.raises(InputError, match="outside the class folders: stray.wav"):
        load_rows(tmp_path)


# --- tables


def write_table(folder: Path, text: str, name: str = "rows.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_real_table_with_mapped_columns(speech: Path) -> None:
    rows = load_rows(speech / "emotion", columns={"speaker_id": "speaker"})["train"]
    assert len(rows) == 351 and "speaker" not in rows.column_names
    assert rows[0]["audio"] == {"bytes": None, "path": str(speech / "emotion" / "audio" / "03a01Fa.flac")}
    assert (rows[0]["speaker_id"], rows[0]["emotion"], rows[0]["age"]) == ("emodb_03", "happiness", 31.0)


def test_bom_windows_lines_tabs_quotes_and_empty_cells(tmp_path: Path) -> None:
    text = 'filename\tage\ttext\r\na.wav\t\t"one\ttwo"\r\n\r\n/abs/b.wav\t41.5\tJürgen\r\n'
    rows = load_rows(write_table(tmp_path, text, "rows.TSV", "utf-8-sig"))["train"]
    assert [audio["path"] for audio in rows["audio"]] == [str(tmp_path / "a.wav"), "/abs/b.wav"]
    assert rows["age"] == [None, 41.5] and rows["text"] == ["one\ttwo", "Jürgen"]


def test_a_split_column_makes_splits_in_order(tmp_path: Path) -> None:
    table = write_table(tmp_path, "file,split\na.wav,train\nb.wav,test\nc.wav,train\n")
    splits = load_rows(table)
    assert list(splits) == ["train", "test"]
    assert [Path(a["path"]).name for a in splits["train"]["audio"]] == ["a.wav", "c.wav"]
    assert splits["test"].column_names == ["audio"]


def test_a_mapped_column_takes_the_place_of_its_namesake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write_table(tmp_path, "wav,emotion,arousal\na.wav,calm,high\n")
    rows = load_rows(table, columns={"path": "wav", "emotion": "arousal"})["train"]
    assert rows.column_names == ["audio", "emotion"] and rows["emotion"] == ["high"]
    assert "mapped columns take the place of its own: emotion" in caplog.text


def test_a_column_like_one_of_the_schema_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_rows(write_table(tmp_path, "path,Speaker\na.wav,x\n"))
    assert "if column 'Speaker' means 'speaker_id', map it: --columns speaker_id=Speaker" in caplog.text


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("wav,age\na.wav,1\n", {}, "no path column; columns: wav, age; map one"),
        ("path,age\na.wav,1\n", {"emotion": "mood"}, "no column 'mood' to use as 'emotion'; columns: path, age"),
        ("path,age\na.wav,1\n", {"path": "wav"}, "no column 'wav' to use as 'audio'"),
        ("path,age\na.wav,1\nb.wav,old\n", {}, "rows.csv, line 3: 'age' must be a number, not 'old'"),
        ("path,start\na.wav,nan\n", {}, "rows.csv, line 2: 'start' must be a number, not 'nan'"),
        ("path,years\na.wav,x\n", {"age": "years"}, "line 2: 'age' must be a number"),
        ("path,age\na.wav,1\n,2\n", {}, "line 3: the path is empty"),
        ("path,split\na.wav,train\nb.wav,\n", {}, "line 3: the column 'split' is empty"),
        ("path,text\na.wav,one, two\n", {}, "line 2: 3 fields, the header has 2"),
        ("path,age,age\na.wav,1,2\n", {}, "the column 'age' stands twice"),
        ("path,age\n", {}, "no rows"),
        ("", {}, "no rows"),
    ],
)
def test_a_table_at_fault_is_named(tmp_path: Path, text: str, columns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_rows(write_table(tmp_path, text), columns=columns)
    assert str(tmp_path / "rows.csv") in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_in_latin_1_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows.csv: not UTF-8 at byte 16"):
        load_rows(write_table(tmp_path, "path,text\na.wav,ü\n", encoding="latin-1"))


# --- data sets


def check_embedded(rows: Dataset, embedded: Dataset) -> None:
    assert rows["mood"] == ["sad", "glad"] * 3
    assert rows["speaker_id"] == ["x", "x", "y", "y", "z", "z"]
    assert rows[0]["audio"]["path"] == "speaker00_000.wav"
    assert len(read_audio(rows[0]["audio"])) > 9_000
    assert "torchcodec" not in sys.modules


def test_parquet_folder(embedded: Dataset, tmp_path: Path) -> None:
    embedded.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    embedded.select([0]).to_parquet(str(tmp_path / "test-00000-of-00001.parquet"))
    splits = load_rows(tmp_path, columns={"speaker_id": "speaker"})
    check_embedded(splits["train"], embedded)
    assert len(splits["test"]) == 1
    assert splits.class_names == {"mood": ["sad", "glad"]}


def test_parquet_folder_as_a_stream(embedded: Dataset, tmp_path: Path) -> None:
    embedded.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    splits = load_rows(tmp_path, columns={"speaker_id": "speaker"}, streaming=True)
    rows = list(splits["train"])
    assert not isinstance(splits["train"], Dataset)
    check_embedded(Dataset.from_list(rows), embedded)
    assert splits["train"].column_names == ["audio", "mood", "speaker_id"]


def test_save_to_disk(embedded: Dataset, tmp_path: Path) -> None:
    embedded.save_to_disk(tmp_path / "one")
    DatasetDict({"train": embedded, "dev": embedded}).save_to_disk(tmp_path / "two")
    check_embedded(load_rows(tmp_path / "one", columns={"speaker_id": "speaker"})["train"], embedded)
    assert list(load_rows(tmp_path / "two")) == ["train", "dev"]


def test_unknown_classes_are_empty(embedded: Dataset, tmp_path: Path) -> None:
    hidden = embedded.select_columns(["clip", "mood"]).select([0, 1])
    hidden = hidden.remove_columns("mood").add_column("mood", [-1, None], feature=embedded.features["mood"])
    hidden.to_parquet(str(tmp_path / "test.parquet"))
    assert load_rows(tmp_path)["test"]["mood"] == [None, None]


def test_audio_folder_of_the_hub_without_torchcodec(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus.parent / "audio", tmp_path / "data")
    names = [path.name for path in sorted((tmp_path / "data").iterdir())]
    (tmp_path / "data" / "metadata.csv").write_text(
        "file_name,mood\n" + "".join(f"{name},m{name[9]}\n" for name in names)
    )
    rows = load_rows(tmp_path, reader="dataset")["train"]
    assert len(rows) == len(names) == 24
    moods = {Path(row["audio"]["path"]).name: row["mood"] for row in rows}
    assert moods == {name: f"m{name[9]}" for name in names}


def test_audio_folder_with_a_table_in_each_split(write_tone: Writer, tmp_path: Path) -> None:
    for split, mood in (("train", "calm"), ("test", "angry")):
        write_tone(f"{split}/a.wav")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,mood\na.wav,{mood}\n")
    splits = load_rows(tmp_path, columns={"emotion": "mood"})
    assert {name: rows["emotion"][0] for name, rows in splits.items()} == {"train": "calm", "test": "angry"}
    assert len(read_audio(splits["test"][0]["audio"])) == 16_000


def test_zipped_audio_folder_as_a_stream(corpus: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "train"), "zip", corpus.parent / "audio")
    row = next(iter(load_rows(tmp_path, reader="dataset", streaming=True)["train"]))
    name = Path(row["audio"]["path"].split("::")[0]).name
    assert row["audio"]["bytes"] == (corpus.parent / "audio" / name).read_bytes()


def test_a_table_as_a_stream(corpus: Path) -> None:
    rows = load_rows(corpus, streaming=True)["train"]
    assert not isinstance(rows, Dataset)
    assert next(iter(rows))["speaker_id"] == "speaker00"


def test_data_sets_at_fault_are_named(embedded: Dataset, tmp_path: Path) -> None:
    embedded.to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match="can't be loaded as a data set: BuilderConfig 'nope' not found. Available"):
        load_rows(tmp_path, config_name="nope")
    with pytest.raises(InputError, match="no column 'emo' to use as 'emotion'; columns: clip, mood, speaker"):
        load_rows(tmp_path, columns={"emotion": "emo"})
    (tmp_path / "mute").mkdir()
    embedded.remove_columns("clip").to_parquet(str(tmp_path / "mute" / "train.parquet"))
    with pytest.raises(InputError, match="no audio column; columns: mood, speaker; map one: columns audio=NAME"):
        load_rows(tmp_path / "mute")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no file in it; give a folder of recordings, a .csv file, or a list"):
        load_rows(tmp_path / "empty")
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / "model" / name).write_text("{}")
    with pytest.raises(InputError, match="model: is a model's folder, no recordings; give the data"):
        load_rows(tmp_path / "model")


def test_two_audio_columns_ask_which(embedded: Dataset, tmp_path: Path) -> None:
    both = embedded.add_column("second", embedded.with_format("arrow")[:]["clip"].to_pylist())
    both.cast_column("second", embedded.features["clip"]).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=r"several audio columns \(clip, second\)"):
        load_rows(tmp_path)
    rows = load_rows(tmp_path, columns={"path": "second"})["train"]
    assert rows[1]["audio"]["path"] == rows[1]["clip"]["path"] == "speaker00_001.wav"
    stream = load_rows(tmp_path, columns={"path": "second"}, streaming=True)["train"]
    assert next(iter(stream)) == rows[0]


@pytest.mark.parametrize("source", ["/no/such/folder", "missing.csv", "labelled.cvs", "a/b/c", "./rows"])
def test_a_source_that_is_not_there(source: str) -> None:
    with pytest.raises(InputError, match=f"^{source}: there is no such file or folder"):
        load_rows(source)


def test_a_file_that_is_no_table_and_an_unknown_reader(write_tone: Writer) -> None:
    with pytest.raises(InputError, match="a.wav: neither .csv nor .tsv"):
        load_rows(write_tone("a.wav"))
    with pytest.raises(InputError, match="unknown reader 'excel'; valid: csv, dataset, folder"):
        load_rows("x", reader="excel")


def test_a_table_is_no_list_of_paths(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metadata.csv: is a table \(.csv\), not a list of paths; leave --reader out"):
        load_rows(corpus, reader="path-list")
    names = sorted(file.name for file in (corpus.parent / "audio").glob("*.wav"))
    (tmp_path / "paths.csv").write_text("\n".join(names))  # a list, whatever it is called
    assert len(load_rows(tmp_path / "paths.csv", reader="path-list", audio_root=corpus.parent / "audio")["train"]) > 3


def test_a_name_on_the_hub_that_can_not_be_reached_is_one_line() -> None:
    program = """
from hf_speech.data.readers import load_rows
for name in ("my-recordngs", "nobody/nothing"):
    try:
        load_rows(name)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    bare, owned = done.stdout.splitlines()
    assert bare.startswith(
        "InputError: my-recordngs: there is no such file or folder here, and it can't be loaded as a data set: "
    )
    assert owned.startswith("InputError: nobody/nothing: can't be loaded as a data set: ")


def test_a_quote_that_is_not_closed_is_found_where_it_opens(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('path,label\na.wav,x\n"b.wav,x\nc.wav,x\nd.wav,x\n')
    with pytest.raises(InputError, match="table.csv, lines 3 to 5: a quote is opened and not closed"):
        load_rows(table)
