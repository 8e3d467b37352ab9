"""RTTM: turns by line, overlaps by an independent count, and every kind of bad line by name."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hf_speech.data.problems import Problems
from hf_speech.data.rttm import Turn, overlap_seconds, read_rttm
from hf_speech.errors import InputError


def rastered_overlaps(turns: list[Turn], step: float = 0.001) -> list[float]:
    """Seconds of each turn in which anybody else of its recording speaks, on a grid of milliseconds."""
    totals = []
    for turn in turns:
        first, last = round(turn.start / step), round((turn.start + turn.duration) / step)
        others = np.zeros(last - first, bool)
        for other in turns:
            if other.speaker != turn.speaker and other.recording == turn.recording:
                a, b = round(other.start / step), round((other.start + other.duration) / step)
                others[max(0, a - first) : max(0, b - first)] = True
        totals.append(others.sum() * step)
    return totals


def test_a_turn_is_named_by_its_line_whatever_stands_before(tmp_path: Path):
    path = tmp_path / "m.rttm"
    path.write_text(
        ";; made by hand\n"
        "SPKR-INFO m 1 <NA> <NA> <NA> unknown 001-M <NA> <NA>\n"
        "\n"
        "SPEAKER m 1 0.1 0.2 <NA> <NA> 001-M <NA> <NA>\n"
        "LEXEME m 1 0.1 0.2 word lex 001-M 0.9 <NA>\n"
        "SPEAKER m 2 33.6354 2.3550 <NA> <NA> 002-F <NA> <NA>\n"
    )
    problems, others = Problems(), Counter()
    first, second = read_rttm(path, problems, others)
    assert (first.index, first.line, first.end) == (3, 4, 0.3)
    assert second == Turn(6, "m", 33.6354, 2.355, "002-F", "2") and second.end == 35.9904
    assert others == {"comment": 1, "SPKR-INFO": 1, "LEXEME": 1} and not len(problems)


BAD = [
    ("SPEAKER m 1 0.5 1.0 <NA> <NA> a <NA>", "malformed line", "9 fields"),
    ("SPEAKER m 1 0.5 1.0 <NA> <NA> Ann Lee <NA> <NA>", "malformed line", "11 fields"),
    ("SPAEKER m 1 0.5 1.0 <NA> <NA> a <NA> <NA>", "malformed line", "'SPAEKER'"),
    ("SPEAKER m 1 -0.5 1.0 <NA> <NA> a <NA> <NA>", "bad time", "-0.5"),
    ("SPEAKER m 1 0.5 -1.0 <NA> <NA> a <NA> <NA>", "bad time", "-1.0"),
    ("SPEAKER m 1 0.5 0 <NA> <NA> a <NA> <NA>", "bad time", "above 0"),
    ("SPEAKER m 1 nan 1.0 <NA> <NA> a <NA> <NA>", "bad time", "nan"),
    ("SPEAKER m 1 0.5 inf <NA> <NA> a <NA> <NA>", "bad time", "inf"),
    ("SPEAKER m 1 <NA> 1.0 <NA> <NA> a <NA> <NA>", "bad time", "must be numbers"),
]


@pytest.mark.parametrize(("bad", "kind", "words"), BAD)
def test_a_bad_line_is_named_and_left_out(tmp_path: Path, bad: str, kind: str, words: str):
    path = tmp_path / "m.rttm"
    good = "SPEAKER m 1 {} 1.0 <NA> <NA> a <NA> <NA>\n"
    path.write_text(good.format(0) + bad + "\n" + good.format(5))
    problems = Problems()
    assert [turn.index for turn in read_rttm(path, problems)] == [0, 2]
    (problem,) = problems
    assert (problem.kind, problem.file, problem.line) == (kind, str(path), 2)
    assert words in problem.reason and "; " in problem.reason


def test_a_byte_order_mark_and_windows_line_ends_are_told_and_read(tmp_path: Path):
    path = tmp_path / "m.rttm"
    path.write_bytes(
        "\ufeffSPEAKER m 1 0 1 <NA> <NA> a <NA> <NA>\r\nSPEAKER m 1 1 1 <NA> <NA> b <NA> <NA>\r\n".encode()
    )
    problems = Problems()
    assert [(turn.speaker, turn.line) for turn in read_rttm(path, problems)] == [("a", 1), ("b", 2)]
    assert problems.counts == {"byte order mark": 1, "Windows line ends": 1}


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no\.rttm: no such file"):
        read_rttm(tmp_path / "no.rttm", Problems())


# (speaker, start, duration) of each turn, and its overlap worked out by hand.
OVERLAPS = {
    "apart, touching": ([("a", 0, 2), ("b", 2, 2)], [0, 0]),
    "the end of one": ([("a", 0, 5), ("b", 4, 3)], [1, 1]),
    "one within another": ([("a", 0, 10), ("b", 3, 2)], [2, 2]),
    "two at once count once": ([("a", 0, 10), ("b", 2, 4), ("c", 4, 4)], [6, 4, 4]),
    "the same speaker twice": ([("a", 0, 5), ("a", 4, 3)], [0, 0]),
    "twice the same, and another": ([("a", 0, 5), ("a", 3, 4), ("b", 4, 2)], [1, 2, 2]),
    "the same time": ([("a", 1, 2), ("b", 1, 2), ("c", 1, 2)], [2, 2, 2]),
    "times that floats round": ([("a", 0.1, 0.2), ("b", 0.3, 0.1)], [0, 0]),
}


@pytest.mark.parametrize("case", OVERLAPS)
@pytest.mark.parametrize("backwards", [False, True])
def test_overlaps_worked_out_by_hand(case: str, backwards: bool):
    spans, expected = OVERLAPS[case]
    turns = [Turn(i + 1, "m", start, duration, who, "1") for i, (who, start, duration) in enumerate(spans)]
    if backwards:
        turns, expected = turns[::-1], expected[::-1]
    assert overlap_seconds(turns) == expected


def test_overlaps_of_many_turns_are_those_counted_on_a_grid():
    generator = np.random.default_rng(3)
    turns = [
        Turn(i + 1, f"m{i % 3}", round(s, 3), round(d, 3), f"s{w}", "1")
        for i, (s, d, w) in enumerate(
            zip(
                generator.uniform(0, 300, 400),
                generator.uniform(0.01, 9, 400),
                generator.integers(0, 6, 400),
                strict=True,
            )
        )
    ]
    np.testing.assert_allclose(overlap_seconds(turns), rastered_overlaps(turns), atol=1e-9)


def test_overlaps_of_real_meetings_are_those_counted_on_a_grid(speech: Path):
    problems, total = Problems(), 0.0
    files = sorted((speech / "meeting" / "rttm").glob("*.rttm"))
    for path in files:
        turns = read_rttm(path, problems)
        assert len(turns) == len(path.read_text().splitlines())
        overlaps = overlap_seconds(turns)
        np.testing.assert_allclose(overlaps, rastered_overlaps(turns), atol=1e-9)
        total += sum(overlaps)
    assert len(files) == 14 and not len(problems) and total > 10
