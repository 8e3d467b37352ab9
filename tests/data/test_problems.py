"""Problems collected, counted, refused or left out; and the lines of text files, whatever is wrong with them."""

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_speech.data.problems import KEPT, Problem, Problems, read_lines
from hf_speech.errors import InputError


def some(count: int, on_bad: str = "raise", first: int = 0) -> Problems:
    """So many problems, every third of another kind."""
    problems = Problems(on_bad)
    for i in range(first, first + count):
        problems.add("bad time" if i % 3 == 0 else "missing file", "list.txt", f"reason {i}; mend", i + 1)
    return problems


# --- collecting


def test_nothing_wrong_is_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    for on_bad in ("raise", "skip"):
        problems = Problems(on_bad)
        problems.settle("IEMOCAP")
        assert len(problems) == 0 and list(problems) == []
    assert caplog.records == []
    with pytest.raises(InputError, match="unknown answer to bad rows 'ignore'.*raise.*skip"):
        Problems("ignore")


def test_one_problem_is_one_line() -> None:
    problems = Problems()
    problems.add("not audio", Path("a.wav"), "is\nno\tsound;  leave it out")
    assert list(problems) == [Problem("not audio", "a.wav", None, "is no sound; leave it out")]
    with pytest.raises(InputError) as refused:
        problems.settle("VoxCeleb")
    assert str(refused.value) == (
        "VoxCeleb: not audio: 1 (go on without them: --on-bad-row skip): a.wav: is no sound; leave it out"
    )
    with pytest.raises(InputError) as refused:
        problems.settle("VoxCeleb", option=None)
    assert str(refused.value) == "a.wav: is no sound; leave it out"


@pytest.mark.parametrize("count", [2, 20, 21, KEPT, KEPT + 1, 3 * KEPT])
def test_twenty_are_listed_and_all_are_counted(count: int, caplog: pytest.LogCaptureFixture) -> None:
    problems = some(count)
    bad_times = len(range(0, count, 3))
    kinds = f"bad time: {bad_times}, missing file: {count - bad_times}"
    assert len(problems) == count and len(list(problems)) == min(count, KEPT)
    with pytest.raises(InputError) as refused:
        problems.settle("AISHELL-4", option="--on-bad-row")
    said = str(refused.value)
    assert said.startswith(f"AISHELL-4: {kinds} (go on without them: --on-bad-row skip): list.txt, line 1: reason 0;")
    assert said.count("list.txt, line ") == min(count, 20)
    rest = f"; and {count - 20} more"
    assert said.endswith(rest if count > 20 else f"reason {count - 1}; mend") and said.count(" more") == (count > 20)
    skipping = some(count, "skip")
    with caplog.at_level(logging.WARNING):
        skipping.settle("AISHELL-4")
    (record,) = caplog.records
    assert record.getMessage().startswith(f"AISHELL-4: left out: {kinds}: list.txt, line 1: ")


@pytest.mark.parametrize(("mine", "theirs"), [(0, 5), (3, 4), (KEPT - 2, 5), (KEPT, 5), (KEPT + 7, 2 * KEPT)])
def test_taking_over_is_as_if_found_here(mine: int, theirs: int) -> None:
    problems, other = some(mine), some(theirs, first=mine)
    problems.take(other)
    together = some(mine + theirs)
    assert problems.counts == together.counts
    if theirs <= KEPT:
        assert list(problems) == list(together)
    assert len(other) == theirs  # unchanged
    with pytest.raises(InputError, match=rf"reason 0; mend.*|and {mine + theirs - 20} more"):
        problems.settle("x")


@pytest.mark.parametrize("count", [0, 3, KEPT + 5])
def test_written_and_read_again(count: int) -> None:
    problems = some(count)
    problems.add("missing file", "ä.wav", "there is none", None)
    again = Problems.from_dict(json.loads(json.dumps(problems.to_dict())), "skip")
    assert again.on_bad == "skip" and not again.refuse
    assert again.counts == problems.counts and list(again) == list(problems) and len(again) == count + 1
    assert again.to_dict() == problems.to_dict()
    assert problems.to_dict()["count"] == count + 1
    again.add("bad time", "x", "more")
    assert len(problems) == count + 1


# --- lines of files


def lines_of(path: Path, encoding: str = "utf-8") -> tuple[list[tuple[int, str]], list[tuple[str, int | None]]]:
    problems = Problems("skip")
    found = list(read_lines(path, problems, encoding))
    assert all(problem.file == str(path) for problem in problems)
    return found, [(problem.kind, problem.line) for problem in problems]


LINES: dict[str, tuple[bytes, list[tuple[int, str]], list[tuple[str, int | None]]]] = {
    "plain": (b"a b\nc\n", [(1, "a b"), (2, "c")], []),
    "without a last line end": (b"a\nb", [(1, "a"), (2, "b")], []),
    "empty": (b"", [], []),
    "nothing but line ends": (b"\n\n \n\t\n", [], []),
    "empty lines count": (b"\n\na\n\n b \n", [(3, "a"), (5, "b")], []),
    "a byte order mark": (b"\xef\xbb\xbfa\nb\n", [(1, "a"), (2, "b")], [("byte order mark", 1)]),
    "a byte order mark alone": (b"\xef\xbb\xbf\na\n", [(2, "a")], [("byte order mark", 1)]),
    "a mark further on is text": (b"a\n\xef\xbb\xbfb\n", [(1, "a"), (2, "\ufeffb")], []),
    "Windows": (b"a\r\nb\r\n", [(1, "a"), (2, "b")], [("Windows line ends", 1)]),
    "Windows from line 3 on": (
        b"a\nb\nc\r\nd\r\n",
        [(1, "a"), (2, "b"), (3, "c"), (4, "d")],
        [("Windows line ends", 3)],
    ),
    "Windows, empty lines": (b"\r\n\r\n", [], [("Windows line ends", 1)]),
    "Windows with a mark": (
        b"\xef\xbb\xbfa\r\n",
        [(1, "a")],
        [("byte order mark", 1), ("Windows line ends", 1)],
    ),
    "not UTF-8": (b"a\nb\xe4\nc\nd\xff\n", [(1, "a"), (3, "c")], [("encoding", 2), ("encoding", 4)]),
    "UTF-8": ("语音\nä\n".encode(), [(1, "语音"), (2, "ä")], []),
    "other line ends are text": ("a\u2028b\x0bc\x85d\n".encode(), [(1, "a\u2028b\x0bc\x85d")], []),
    "a NUL": (b"a\x00b\n", [(1, "a\x00b")], []),
}


@pytest.mark.parametrize("case", LINES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_lines(tmp_path: Path, case: str, pack: Callable[[bytes], bytes]) -> None:
    content, wanted, problems = LINES[case]
    path = tmp_path / ("list.txt" if pack is bytes else "list.txt.gz")
    path.write_bytes(pack(content))
    assert lines_of(path) == (wanted, problems)


def test_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("Jürgen\nÆ\n".encode("latin-1"))
    assert lines_of(path, "latin-1") == ([(1, "Jürgen"), (2, "Æ")], [])
    assert lines_of(path) == ([], [("encoding", 1), ("encoding", 2)])
    path.write_bytes(b"\xef\xbb\xbf" + "Jürgen\n".encode("latin-1"))
    assert lines_of(path, "latin-1") == ([(1, "Jürgen")], [("byte order mark", 1)])


def test_where_a_byte_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"good\nabc\xff\n")
    problems = Problems()
    list(read_lines(path, problems))
    (problem,) = problems
    assert str(problem) == f"{path}, line 2: not utf-8 at byte 3 of the line; save the file as utf-8"


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("gone.txt", lambda path: None, "no such file; check the path"),
        ("gone.gz", lambda path: None, "no such file; check the path"),
        ("folder.txt", lambda path: path.mkdir(), "can't be read .*Is a directory"),
        ("plain.gz", lambda path: path.write_bytes(b"no gzip"), "can't be read .Not a gzipped file"),
        ("cut.gz", lambda path: path.write_bytes(gzip.compress(b"abc\n" * 999)[:-9]), "can't be read .Compressed file"),
        (
            "damaged.gz",
            lambda path: path.write_bytes(gzip.compress(b"abc\n")[:12] + b"\xff" * 9),
            "can't be read .*get the file again",
        ),
    ],
)
def test_a_file_that_can_not_be_read_stops_all(
    tmp_path: Path, name: str, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: {said}"):
        list(read_lines(tmp_path / name, Problems("skip")))


def test_a_long_file_is_not_held(tmp_path: Path) -> None:
    """Lines come one at a time: the first is there before the fault at the end is met."""
    path = tmp_path / "long.txt.gz"
    path.write_bytes(gzip.compress(b"word\n" * 200_000)[:-20])
    lines = read_lines(path, Problems())
    assert next(lines) == (1, "word")
    with pytest.raises(InputError, match="can't be read"):
        list(lines)
