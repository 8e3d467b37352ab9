"""Label lists and label JSON: rows by hand, every bad line by its number, and a JSON that is read back as written."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hf_speech.data.label_files import label_list_rows, labels_json_rows, path_list_rows, render_labels_json
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """wav/a.wav b.flac c.wav c.mp3 d.1.wav E.WAV, and deep/er/f.wav, twice g.wav, and a `._` twin; never opened."""
    names = "wav/a.wav wav/b.flac wav/c.wav wav/c.mp3 wav/d.1.wav wav/E.WAV wav/._x.wav wav/a.txt"
    for name in [*names.split(), "deep/er/f.wav", "deep/g.wav", "wav/g.wav"]:
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "corpus"


def listed(root: Path, text: str | bytes) -> tuple[list[tuple[str, str]], list[tuple[str, int | None]], Problems]:
    """(path in the root, label) of every row, (kind, line) of every problem, and the problems."""
    (root / "list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    problems = Problems("skip")
    splits = label_list_rows(root / "list.txt", None, problems)
    assert list(splits) == ["train"]
    lines = [line.split() for line in (root / "list.txt").read_text("utf-8-sig").splitlines()]
    for row in splits["train"]:
        assert list(row) == ["audio", "label", "list_file", "list_line"] and row["list_file"] == str(root / "list.txt")
        assert lines[row["list_line"] - 1][1] == row["label"]
    rows = [(Path(row["audio"]).relative_to(root).as_posix(), row["label"]) for row in splits["train"]]
    return rows, [(problem.kind, problem.line) for problem in problems], problems


def test_a_list_with_and_without_extensions_and_third_field(root: Path) -> None:
    text = f"wav/a.wav 30 -1\nwav/b\told\n\n  wav/../deep/er/f   31 -1  \n{root}/wav/E 7\nwav/d.1 x -1\nwav/c.mp3 y\n"
    rows, problems, _ = listed(root, text)
    files = ["wav/a.wav", "wav/b.flac", "deep/er/f.wav", "wav/E.WAV", "wav/d.1.wav", "wav/c.mp3"]
    assert rows == list(zip(files, ["30", "old", "31", "7", "x", "y"], strict=True)) and not problems


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("wav/a.wav", "malformed line", "has 1 fields; write `path label` or `path label -1`"),
        ("wav/my voice.wav 3 -1", "malformed line", "has 4 fields"),
        ("wav/z.wav 3 -1", "missing file", "there is no wav/z.wav in "),
        ("wav/a.mp3 3 -1", "missing file", "there is no wav/a.mp3"),
        ("nowhere/a 3 -1", "missing file", "there is no nowhere/a"),
        ("wav/._x 3 -1", "missing file", "there is no wav/._x"),
        ("f.wav 3 -1", "missing file", "there is no f.wav"),
        ("wav/c 3 -1", "ambiguous file", "wav/c may be wav/c.mp3; wav/c.wav; write the one that is meant"),
        ("wav/b.flac 3 -1", "duplicate id", "wav/b.flac is in line 1 already; remove one"),
    ],
)
def test_bad_lines_are_named_and_left_out(root: Path, line: str, kind: str, message: str) -> None:
    rows, kinds, problems = listed(root, f"wav/b 1 -1\n\n{line}\nwav/a 2 -1\n")
    assert rows == [("wav/b.flac", "1"), ("wav/a.wav", "2")] and kinds == [(kind, 3)]
    assert message in str(next(iter(problems))) and str(root / "list.txt") in str(next(iter(problems)))


def test_windows_line_ends_byte_order_mark_and_gzip(root: Path) -> None:
    rows, kinds, _ = listed(root, b"\xef\xbb\xbfwav/a 1 -1\r\nwav/b 2 -1\r\n")
    assert rows == [("wav/a.wav", "1"), ("wav/b.flac", "2")]
    assert kinds == [("byte order mark", 1), ("Windows line ends", 1)]
    (root.parent / "list.gz").write_bytes(gzip.compress(b"wav/a 1 -1\n"))
    [row] = label_list_rows(root.parent / "list.gz", root, Problems())["train"]
    where = {"list_file": str(root.parent / "list.gz"), "list_line": 1}
    assert row == {"audio": str(root / "wav" / "a.wav"), "label": "1"} | where


def test_a_file_added_after_a_reading_is_found_by_the_next(root: Path) -> None:
    assert listed(root, "wav/new 1\n")[1] == [("missing file", 1)]
    (root / "wav" / "new.wav").touch()
    assert listed(root, "wav/new 1\n")[0] == [("wav/new.wav", "1")]


# --- label JSON


def read(root: Path, content: Any, **options: Any) -> tuple[dict[str, list[dict[str, Any]]], Problems]:
    """The rows of a JSON beside the corpus, audio by its path in the root; without their lines, which are checked."""
    path = root.parent / "labels.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=0).encode())
    problems = Problems("skip")
    splits = labels_json_rows(path, root, problems, **options)
    lines = path.read_text("utf-8-sig").splitlines()
    for rows in splits.values():
        for row in rows:
            row["audio"] = Path(row["audio"]).relative_to(root).as_posix()
            assert row.pop("list_file") == str(path)
            assert f"{Path(row['audio']).stem}" in lines[row.pop("list_line") - 1]
    return splits, problems


def test_splits_votes_and_files_at_any_depth(root: Path) -> None:
    content = {
        "Test": {"wav/g.wav": "sad"},
        "Train": {"a.wav": "anger", "f": {"sad": 1, "anger": 2.5}, "b.flac": {"sad": 1, "happy": 1}},
        "Val": {},
    }
    splits, problems = read(root, content)
    assert not len(problems) and list(splits) == ["train", "test"]
    assert splits == {
        "train": [
            {"audio": "wav/a.wav", "emotion": "anger"},
            {"audio": "deep/er/f.wav", "emotion": "anger", "votes": {"sad": 1, "anger": 2.5}},
            {"audio": "wav/b.flac", "emotion": None, "votes": {"sad": 1, "happy": 1}},
        ],
        "test": [{"audio": "wav/g.wav", "emotion": "sad"}],
    }


def test_a_flat_file_is_all_training(root: Path) -> None:
    splits, problems = read(root, {"a.wav": "neu", "f.wav": 3})
    assert not len(problems)
    assert splits == {"train": [{"audio": "wav/a.wav", "emotion": "neu"}, {"audio": "deep/er/f.wav", "emotion": "3"}]}


@pytest.mark.parametrize(
    ("entry", "kind", "message"),
    [
        ('"z.wav": "anger"', "missing file", "there is no z.wav in "),
        ('"g.wav": "anger"', "ambiguous file", "g.wav may be deep/g.wav; wav/g.wav"),
        ('"a.wav": "joy"', "unknown label", "a.wav is 'joy'; labels are anger, sad: map it or remove it"),
        ('"a.wav": {"sad": 2, "glee": 1}', "unknown label", "a.wav is 'glee'"),
        ('"a.wav": ""', "malformed line", "a.wav has no label; write a label or {label: votes}"),
        ('"a.wav": null', "malformed line", "has no label"),
        ('"a.wav": ["sad"]', "malformed line", "has no label"),
        ('"a.wav": {}', "malformed line", "has no label"),
        ('"a.wav": {"sad": 0}', "malformed line", "has no label"),
        ('"a.wav": {"sad": -1, "anger": 2}', "malformed line", "has no label"),
        ('"a.wav": {"sad": "2"}', "malformed line", "has no label"),
        ('"f.wav": "sad"', "duplicate id", "f.wav is in Train already; remove one"),
        ('"deep/er/f": "sad"', "duplicate id", "deep/er/f is in Train already"),
    ],
)
def test_bad_entries_are_named_by_line(root: Path, entry: str, kind: str, message: str) -> None:
    text = f'{{"Train": {{\n"f.wav": "anger"}},\n\n"Val": {{"wav/c.wav": "sad",\n{entry}}},\n"Test": {{}}}}'
    splits, problems = read(root, text.encode(), labels=["sad", "anger"])
    assert {split: [row["audio"] for row in rows] for split, rows in splits.items()} == {
        "train": ["deep/er/f.wav"],
        "validation": ["wav/c.wav"],
    }
    [problem] = problems
    assert (problem.kind, problem.line) == (kind, 5) and message in problem.reason


def test_a_file_twice_in_one_split_is_not_lost_in_silence(root: Path) -> None:
    splits, problems = read(root, b'{"a.wav": "sad",\n"a.wav": "anger"}')
    assert splits == {"train": [{"audio": "wav/a.wav", "emotion": "sad"}]}
    assert [(p.kind, p.line) for p in problems] == [("duplicate id", 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"Train": {\n"a.wav": "sad",\n}}', r"labels.json, line \d: is not JSON \(.*\); mend the file"),
        (b'{"a.wav": "sad"', "line 1: is not JSON"),
        (b"", "line 1: is not JSON"),
        (b'["a.wav"]', "holds no labels; write"),
        (b"{}", "holds no labels"),
        (b'{"Train": {}, "train": {}}', "has one of Train, Val, Test twice"),
    ],
)
def test_what_is_no_label_file_is_refused(root: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(root, content)
    with pytest.raises(InputError, match=r"no such file; check the path"):
        labels_json_rows(root / "none.json", None, Problems())


def test_marks_of_other_systems_are_noted_and_do_no_harm(root: Path) -> None:
    splits, problems = read(root, b'\xef\xbb\xbf{"Train": {\r\n"a.wav": "sad"}}\r\n')
    assert splits == {"train": [{"audio": "wav/a.wav", "emotion": "sad"}]}
    assert dict(problems.counts) == {"byte order mark": 1, "Windows line ends": 1}


def test_what_is_rendered_is_read_back_with_a_line_for_each_file(root: Path) -> None:
    written = {"test": {"f.wav": {"sad": 2, "angst \u00e9": 1}}, "train": {"a.wav": "anger", "b.flac": "sad"}}
    text = render_labels_json(written)
    assert json.loads(text) == {
        "Train": {"a.wav": "anger", "b.flac": "sad"},
        "Val": {},
        "Test": {"f.wav": {"sad": 2, "angst \u00e9": 1}},
    }
    assert list(json.loads(text)) == ["Train", "Val", "Test"]
    assert [line for line in text.splitlines() if ".wav" in line or ".flac" in line][1] == '"b.flac": "sad"'
    splits, problems = read(root, text.encode())
    assert not len(problems)
    assert [row["emotion"] for row in splits["train"]] == ["anger", "sad"]
    assert splits["test"][0]["votes"] == {"sad": 2, "angst \u00e9": 1}
    assert json.loads(render_labels_json({})) == {"Train": {}, "Val": {}, "Test": {}}
    with pytest.raises(InputError, match="unknown split of a label JSON 'val'; valid: test, train, validation"):
        render_labels_json({"val": {}})


def test_a_key_beside_the_splits_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"Train": {"a.wav": "anger"}, "Dev": {"b.wav": "sad"}}')
    with pytest.raises(InputError, match="labels.json: 'Dev' is none of its splits; they are Train, Val and Test"):
        labels_json_rows(path, None, Problems())


def test_a_list_of_paths_alone(root: Path) -> None:
    (root / "wav" / "my voice.wav").touch()
    (root / "wav_path").write_text(f"wav/a.wav\n\nwav/my voice.wav\n{root}/wav/E.WAV\nwav/none.wav\nwav/a\nwav/c\n")
    problems = Problems("skip")
    (rows,) = path_list_rows(root / "wav_path", None, problems).values()
    assert [Path(row["audio"]).name for row in rows] == ["a.wav", "my voice.wav", "E.WAV"]
    assert [row["list_line"] for row in rows] == [1, 3, 4] and all(
        set(row) == {"audio", "list_file", "list_line"} for row in rows
    )
    assert [(one.kind, one.line) for one in problems] == [
        ("missing file", 5),
        ("duplicate id", 6),
        ("ambiguous file", 7),
    ]
