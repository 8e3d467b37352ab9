"""One's own tables and lists through `prepare`: which ids rows get, which splits, what is said of a line at fault."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from datasets.naming import _split_re

from hf_speech.cli import main
from hf_speech.data.readers import load_rows
from hf_speech.data.tables import SPLIT_NAME
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_iemocap

from .prepared import Run, read_elsewhere

Sounds = Callable[..., Path]


@pytest.fixture
def sounds(tmp_path: Path) -> Sounds:
    """sounds(*names, folder="data", channels=1) -> the folder, with half a second of noise under each name."""

    def write(*names: str, folder: str = "data", channels: int = 1) -> Path:
        for i, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sf.write(path, np.random.default_rng(i).normal(0, 0.1, (8_000, channels)), 16_000)
        return tmp_path / folder

    return write


def table(folder: Path, text: str, name: str = "metadata.csv") -> Path:
    (folder / name).write_text(text)
    return folder


def ids_of(folder: Path) -> dict[str, list[str]]:
    """Split -> its ids, in the order of the rows."""
    return {p.name.partition("-")[0]: pq.read_table(p)["id"].to_pylist() for p in sorted(folder.glob("*.parquet"))}


def refused(run: Run, corpus: str, folder: Path, **options: Any) -> str:
    """What is said, in one line."""
    with pytest.raises(InputError) as caught:
        run(corpus, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def skipped(run: Run, corpus: str, folder: Path, **options: Any) -> list[tuple[str, str, int | None]]:
    """Kind, file and line of all that is left out."""
    found = run(corpus, folder, "skipped", on_bad_row="skip", **options)["problems"]["rows"]
    return [(problem["kind"], problem["file"], problem["line"]) for problem in found]


# --- one set of features


def test_splits_with_other_votes_have_the_votes_of_all(sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = sounds("a.wav", "b.wav", "c.wav", "d.wav")
    votes = {
        "Train": {"a.wav": {"sad": 2, "anger": 1}, "b.wav": "joy"},
        "Val": {"c.wav": {"joy": 3}},
        "Test": {"d.wav": "sad"},
    }
    (folder / "labels.json").write_text(json.dumps(votes, indent=0))
    run("labels-json", folder, label_file=str(folder / "labels.json"))
    found = read_elsewhere(tmp_path / "out", tmp_path / "cache")
    told = {split: [(row["id"], row["emotion"], row["votes"]) for row in rows] for split, rows in found.items()}
    assert told == {
        "train": [("a", "sad", {"anger": 1.0, "joy": 0.0, "sad": 2.0}), ("b", "joy", None)],
        "validation": [("c", "joy", {"anger": 0.0, "joy": 3.0, "sad": 0.0})],
        "test": [("d", "sad", None)],
    }
    names = {tuple(pq.read_schema(path).names) for path in (tmp_path / "out").glob("*.parquet")}
    assert names == {("id", "audio", "length", "duration", "emotion", "votes")}


def test_what_iemocap_writes_is_read_again(run: Run, tmp_path: Path) -> None:
    folder = write_fake_iemocap(tmp_path / "iemocap")
    before = run("iemocap", folder, "first", config_name="all", fold=1, soft_labels=True)
    labels = tmp_path / "first" / "labels.json"
    given = json.loads(labels.read_text())
    classes = {split: {name for votes in rows.values() for name in votes} for split, rows in given.items()}
    audit = run("labels-json", folder, "second", label_file=str(labels))
    assert {split: facts["rows"] for split, facts in audit["splits"].items()} == {
        split: facts["rows"] for split, facts in before["splits"].items()
    }
    for split, key in (("train", "Train"), ("test", "Test")):
        rows = load_rows(tmp_path / "second")[split]
        assert set(rows.features["votes"]) == set.union(*classes.values())
        for row in rows:
            told = given[key][f"{Path(row['id']).name}.wav"]
            told = {name: count for name, count in told.items() if count}
            assert {name: count for name, count in row["votes"].items() if count} == told


# --- names of splits


SPLITS = ["train-clean", "../../../evil", "all", "two words", "a/b", ".hidden", "a..b", "x.", "a:b", "*", ""]


@pytest.mark.parametrize("name", SPLITS)
def test_what_can_be_no_split_is_named_by_its_line(name: str, sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = table(sounds("a.wav", "b.wav"), f"path,split\na.wav,train\nb.wav,{name}\n")
    said = refused(run, "csv", folder)
    assert "metadata.csv, line 3: " in said and "malformed line: 1" in said
    assert skipped(run, "csv", folder) == [("malformed line", "metadata.csv", 3)]
    assert ids_of(tmp_path / "skipped") == {"train": ["a"]}
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("name", ["dev_other", "test.clean", "fold1", "Übung", "2"])
def test_splits_of_other_names(name: str, sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = table(sounds("a.wav", "b.wav"), f"path,split\na.wav,train\nb.wav,{name}\n")
    run("csv", folder)
    found = read_elsewhere(tmp_path / "out", tmp_path / "cache")
    assert {split: [row["id"] for row in rows] for split, rows in found.items()} == {"train": ["a"], name: ["b"]}


def test_a_split_is_what_datasets_takes_for_one() -> None:
    names = [*SPLITS, "train", "a.b", "a.b.c", "ä", "1", "a_b", "-", "a\nb", "a b", "test-", "_"]
    assert [SPLIT_NAME.fullmatch(name) is None for name in names] == [re.match(_split_re, n) is None for n in names]


# --- ids


def test_channels_of_a_file_are_rows_of_their_own(sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = table(
        sounds("call.wav", channels=2),
        "path,speaker_id,channel,start\ncall.wav,ann,0,\ncall.wav,ben,1.0,\ncall.wav,ben,1,0.25\ncall.wav,,,\n",
    )
    run("csv", folder)
    written = sf.read(folder / "call.wav", dtype="int16")[0]
    rows = {row["id"]: row for row in read_elsewhere(tmp_path / "out", tmp_path / "cache")["train"]}
    assert list(rows) == ["call#channel=0", "call#channel=1", "call#t=0.25,#channel=1", "call"]
    assert [row["length"] for row in rows.values()] == [8_000, 8_000, 4_000, 8_000]
    cells = pq.read_table(next((tmp_path / "out").glob("*.parquet")))["audio"].to_pylist()
    for cell, channel in zip(cells[:2], (0, 1), strict=True):
        (tmp_path / "heard.flac").write_bytes(cell["bytes"])
        assert np.array_equal(sf.read(tmp_path / "heard.flac", dtype="int16")[0], written[:, channel])


def test_files_that_differ_by_their_ending_alone_keep_it(sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = sounds("x/a.wav", "x/a.flac", "x/b.wav", "y/a.wav", "y/c.wav", "y/c.wav.flac", "y/c.ogg")
    run("folder", folder)
    wanted = ["x/a.flac", "x/a.wav", "x/b", "y/a", "y/c.ogg", "y/c.wav", "y/c.wav.flac"]
    assert ids_of(tmp_path / "out") == {"train": wanted}


def test_files_alike_in_two_splits_keep_their_ending(sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = table(sounds("a.wav", "a.flac"), "path,split\na.wav,train\n./b/../a.flac,test\n")
    (folder / "b").mkdir()
    run("csv", folder)
    assert ids_of(tmp_path / "out") == {"train": ["a.wav"], "test": ["a.flac"]}


@pytest.mark.parametrize(
    ("inside", "outside", "wanted"),
    [
        (["a.wav"], ["b.wav", "s/c.wav"], ["a", "b", "c"]),
        (["a.wav"], ["s1/1.wav", "s2/1.wav"], ["a", "s1/1", "s2/1"]),
        (["a.wav"], ["a.wav"], ["a", "other/a"]),
        ([], ["s1/1.wav", "s1/1.flac", "s2/2.wav"], ["1.flac", "1.wav", "2"]),
    ],
)
def test_no_id_holds_where_the_machine_keeps_its_files(
    inside: list[str], outside: list[str], wanted: list[str], sounds: Sounds, run: Run, tmp_path: Path
) -> None:
    elsewhere = sounds(*outside, folder="other")
    folder = sounds(*inside)
    folder.mkdir(exist_ok=True)
    lines = [*inside, *(f"{elsewhere}/{name}" for name in outside[1:]), f"../other/{outside[0]}"]
    run("csv", table(folder, "path\n" + "".join(f"{line}\n" for line in lines)))
    assert sorted(ids_of(tmp_path / "out")["train"]) == wanted


# --- numbers


@pytest.mark.parametrize("cell", ["left", "1.5", "nan", "1e30", "0x1"])
def test_a_channel_is_a_whole_number(cell: str, sounds: Sounds, run: Run) -> None:
    folder = table(sounds("a.wav", "b.wav"), f"path,channel\na.wav,0\nb.wav,{cell}\n")
    assert f"metadata.csv, line 3: 'channel' must be a whole number, not '{cell}'" in refused(run, "csv", folder)
    assert skipped(run, "csv", folder) == [("malformed line", "metadata.csv", 3)]


def test_what_is_measured_is_not_read(sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = table(sounds("a.wav"), "path,length,duration\na.wav,long,about a minute\n")
    run("csv", folder)
    [row] = read_elsewhere(tmp_path / "out", tmp_path / "cache")["train"]
    assert (row["length"], row["duration"]) == (8_000, 0.5)
    with pytest.raises(InputError, match="line 2: 'length' must be a whole number, not 'long'"):
        load_rows(folder)


def test_columns_called_as_ours_are_kept(sounds: Sounds, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    folder = table(sounds("a.wav"), "path,size,offset\na.wav,XL,7\n")
    run("csv", folder)
    rows = load_rows(folder.parent / "out")["train"]
    assert (rows["size_"][:], rows["offset_"][:]) == (["XL"], ["7"])
    assert "columns named size, offset are ours: yours are called size_, offset_" in caplog.text
    table(folder, "path,list_line\na.wav,7\n")
    assert "metadata.csv: a column can't be called 'list_line' here" in refused(run, "csv", folder, output="b")


# --- faults of the audio, by the line that names it


def test_times_channels_and_sounds_at_fault_are_named_by_line(sounds: Sounds, run: Run, tmp_path: Path) -> None:
    folder = sounds("a.wav")
    (folder / "words.wav").write_text("this is no sound")
    lines = ["a.wav,0,9,", "a.wav,0.4,0.5,0", "words.wav,,,", "words.wav,1,2,", "a.wav,,,1", "a.wav,0,0.01,"]
    table(folder, "path,start,end,channel\n" + "".join(f"{line}\n" for line in lines), "pieces.csv")
    said = refused(run, "csv", folder, label_file="pieces.csv")
    for part in (
        "pieces.csv, line 2: a#t=0,9: end 9 s is beyond the file's 0.500 s",
        f"pieces.csv, line 4: {folder}/words.wav: not audio",
        "pieces.csv, line 6: a#channel=1: no channel 1, it has 1",
        "pieces.csv, line 7: a#t=0,0.01: 0.0100 s long",
    ):
        assert part in said
    assert skipped(run, "csv", folder, label_file="pieces.csv") == [
        ("not audio", "pieces.csv", 4),
        ("bad time", "pieces.csv", 2),
        ("unknown channel", "pieces.csv", 6),
        ("too short", "pieces.csv", 7),
    ]
    assert ids_of(tmp_path / "skipped") == {"train": ["a#t=0.4,0.5#channel=0"]}


LISTS: dict[str, tuple[dict[str, str], str, list[tuple[str, str, int]]]] = {
    "kaldi": (
        {"wav.scp": "r0 a.wav\nr1 words.wav\nr2 sph2pipe -c 3 b.wav |\n"},
        "",
        [("not audio", "wav.scp", 2), ("unknown channel", "wav.scp", 3)],
    ),
    "kaldi with segments": (
        {
            "wav.scp": "r0 a.wav\nr1 words.wav\n",
            "segments": "u0 r0 0 0.5\n\nu1 r1 0 1\nu2 r0 0 9\nu3 r1 1 2\nu4 r0 0 0.5 2\n",
        },
        "",
        [("not audio", "segments", 3), ("bad time", "segments", 4), ("unknown channel", "segments", 6)],
    ),
    "label-list": ({"list.txt": "a.wav 1\n\nwords.wav 2\nb.wav 3\n"}, "list.txt", [("not audio", "list.txt", 3)]),
    "labels-json": (
        {"l.json": '{"Train": {"a.wav": "sad",\n"b.wav": "sad"},\n"Val": {"words.wav": "joy"}, "Test": {}}\n'},
        "l.json",
        [("not audio", "l.json", 3)],
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_named_with_its_line(name: str, sounds: Sounds, run: Run) -> None:
    files, label_file, wanted = LISTS[name]
    folder = sounds("a.wav", "b.wav")
    (folder / "words.wav").write_text("this is no sound")
    for file, text in files.items():
        (folder / file).write_text(text)
    options = {"label_file": str(folder / label_file)} if label_file else {}
    corpus = name.split()[0]
    said = refused(run, corpus, folder, **options)
    assert all(f"{file}, line {line}: " in said for _, file, line in wanted)
    assert skipped(run, corpus, folder, **options) == wanted


# --- where the table is looked for


def test_the_table_lies_here_or_in_the_data_folder(
    sounds: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = table(sounds("a.wav", "b.wav"), "path\na.wav\n", "there.csv")
    here = tmp_path / "here"
    here.mkdir()
    table(here, "path\na.wav\nb.wav\n", "mine.csv")
    monkeypatch.chdir(here)
    for dry in (["--dry-run"], ["--output-dir", "out", "--overwrite"]):
        words = ["prepare", "csv", "--data-dir", str(folder), *dry, "--label-file"]
        assert main([*words, "mine.csv"]) == 0 and "train: 2 rows" in capsys.readouterr().out
        assert main([*words, "there.csv"]) == 0 and "train: 1 rows" in capsys.readouterr().out
        assert main([*words, "nowhere.csv"]) == 2
        said = capsys.readouterr().err
        assert f"--label-file nowhere.csv: there is no {here}/nowhere.csv and no {folder}/nowhere.csv" in said
        assert main([*words, "/nowhere.csv"]) == 2
        assert "there is no /nowhere.csv; check the path" in capsys.readouterr().err
    table(folder, "path\na.wav\n", "mine.csv")
    assert main([*words, "mine.csv"]) == 0 and "train: 2 rows" in capsys.readouterr().out
