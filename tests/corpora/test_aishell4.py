"""AISHELL-4: segments of fake and of real meetings against counts made here, splits, lists, and bad input by line."""

import io
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from sklearn.model_selection import train_test_split

from hf_speech.corpora.builder import Corpus
from hf_speech.corpora.prepare import prepare
from hf_speech.corpora.scripts import load_builder
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_aishell4
from hf_speech.testing.aishell4 import LOUDER, speaker_frequency

from .meetings import rttm_lines, shared_milliseconds
from .prepared import Find

Rows = list[dict[str, Any]]
EVERY_SET = ["train_L", "train_S", "test"]  # of `tree`


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two meetings of train_L, one of train_S, one of test, with eight channels."""
    folder = tmp_path_factory.mktemp("aishell4")
    return write_fake_aishell4(folder, meetings={"train_L": 2, "train_S": 1, "test": 1}, speakers=3, turns=40)


@pytest.fixture
def find(finder: Callable[[str], Find]) -> Find:
    return finder("aishell4")


def rows_of(corpus: Corpus) -> Rows:
    return [row for table in corpus.splits.values() for row in table.to_pylist()]


def refused(problems: Problems) -> list[tuple[str, str, int | None]]:
    return [(p.kind, Path(p.file).name, p.line) for p in problems]


def test_names_and_columns(find: Find, tree: Path):
    corpus, problems = find(tree, split="none", sets=EVERY_SET)
    rows = {row["id"]: row for row in rows_of(corpus)}
    assert not len(problems) and list(corpus.splits) == ["train"] and corpus.parts == "session_id"
    row = rows["20200601_L_R001S01C01_001-M_0000"]
    audio = tree / "train_L" / "wav" / "20200601_L_R001S01C01.flac"
    _, start, end, _ = rttm_lines(tree / "train_L" / "TextGrid" / "20200601_L_R001S01C01.rttm")[0]
    assert row == {
        "id": "20200601_L_R001S01C01_001-M_0000",
        "path": str(audio),
        "start": start,
        "end": end,
        "channel": None,
        "speaker_id": "20200601_L_R001S01C01_001-M",
        "recording_id": "20200601_L_R001S01C01",
        "session_id": "20200601_L_R001S01C01",
        "gender": "male",
        "room": "L",
        "set": "train_L",
        "overlap": None,
    }
    assert {(row["session_id"], row["room"], row["set"]) for row in rows.values()} == {
        ("20200601_L_R001S01C01", "L", "train_L"),
        ("20200601_L_R001S02C01", "L", "train_L"),
        ("20200701_S_R002S01C01", "S", "train_S"),
        ("L_R003S01C01", "L", "test"),
    }
    assert {row["gender"] for row in rows.values() if row["speaker_id"].endswith("002-F")} == {"female"}


@pytest.mark.parametrize("shortest", [0.0, 1.5, 2.25])
@pytest.mark.parametrize("overlap", ["keep", "drop", "mark"])
def test_real_meetings_are_segmented_as_counted_here(find: Find, speech: Path, shortest: float, overlap: str):
    """Counts, spans and overlaps of AMI excerpts and of simulated Mandarin meetings, from the RTTM files alone."""
    corpus, problems = find(speech / "meeting", min_duration=shortest, overlap=overlap, split="none")
    expected = {}
    for path in sorted((speech / "meeting" / "rttm").glob("*.rttm")):
        lines = rttm_lines(path)
        shared = shared_milliseconds(lines)
        for i, start, end, who in lines:
            if round(end - start, 6) >= shortest and not (overlap == "drop" and shared[i]):
                expected[f"{path.stem}_{who}_{i:04d}"] = (start, end, shared[i] / 1000)
    found = {row["id"]: row for row in rows_of(corpus)}
    assert not len(problems) and len(corpus.facts["segmentation"]["meetings without test rows"]) == 0
    assert list(found) == list(expected) and len(found) >= 8
    for name, (start, end, shared) in expected.items():
        assert (found[name]["start"], found[name]["end"]) == (start, end)
        assert found[name]["overlap"] == (pytest.approx(shared, abs=1e-9) if overlap == "mark" else None)
    if overlap == "mark" and not shortest:
        assert len(found) == 117 and sum(row["overlap"] > 0 for row in found.values()) > 20


def test_what_is_left_out_is_counted(find: Find, tree: Path):
    lines = [line for path in sorted(tree.rglob("*.rttm")) for line in rttm_lines(path)]
    short = sum(round(end - start, 6) < 1.5 for _, start, end, _ in lines)
    corpus, _ = find(tree, split="none", overlap="drop", sets=EVERY_SET)
    facts = corpus.facts["segmentation"]
    assert facts["meetings"] == 4 and facts["turns"] == len(lines) == 160
    assert facts["turns left out"]["shorter than min_duration"] == short > 10
    assert facts["turns left out"]["others speak"] == 160 - short - len(rows_of(corpus)) > 10


@pytest.mark.parametrize("longest", [1.7, 2.0, 3.1])
def test_long_turns_are_cut_into_equal_pieces(find: Find, tree: Path, longest: float):
    whole = {row["id"]: row for row in rows_of(find(tree, overlap="mark", split="none")[0])}
    pieces: dict[str, Rows] = {}
    corpus, _ = find(tree, overlap="mark", split="none", max_duration=longest)
    for row in rows_of(corpus):
        pieces.setdefault(re.sub(r"-\d+$", "", row["id"]), []).append(row)
    assert list(pieces) == list(whole)
    for name, parts in pieces.items():
        lengths = [part["end"] - part["start"] for part in parts]
        assert max(lengths) <= longest + 1e-6 and max(lengths) - min(lengths) < 2e-6
        assert len(parts) == np.ceil((whole[name]["end"] - whole[name]["start"]) / longest - 1e-6)
        assert [part["start"] for part in parts] == [whole[name]["start"], *(part["end"] for part in parts[:-1])]
        assert parts[-1]["end"] == whole[name]["end"]
        assert sum(part["overlap"] for part in parts) == pytest.approx(whole[name]["overlap"], abs=1e-5)
        assert [part["id"] for part in parts] == (
            [f"{name}-{k + 1}" for k in range(len(parts))] if parts[1:] else [name]
        )
    cut = sum(len(parts) > 1 for parts in pieces.values())
    assert corpus.facts["segmentation"]["turns cut into pieces"] == cut > 10


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_the_random_split_is_scikit_learns_inside_each_meeting(find: Find, tree: Path, share: float):
    corpus, _ = find(tree, split="random", test_share=share)
    every = rows_of(find(tree, split="none")[0])
    test = {row["id"] for row in corpus.splits["test"].to_pylist()}
    assert test | {row["id"] for row in corpus.splits["train"].to_pylist()} == {row["id"] for row in every}
    for meeting in {row["session_id"] for row in every}:
        mine = [row for row in every if row["session_id"] == meeting]
        speakers = [row["speaker_id"] for row in mine]
        drawn = train_test_split([row["id"] for row in mine], test_size=share, stratify=speakers, random_state=42)[1]
        assert test & {row["id"] for row in mine} == set(drawn)
    other, _ = find(tree, split="random", test_share=share, seed=1)
    assert {row["id"] for row in other.splits["test"].to_pylist()} != test


def test_pieces_of_a_turn_stay_together(find: Find, tree: Path):
    for split in ("random", "contiguous"):
        corpus, _ = find(tree, split=split, max_duration=1.6)
        # <meeting>_<speaker>_<iiii>, without the -1, -2, ... of a piece (speakers end in -M or -F).
        turns = [{re.sub(r"-\d+$", "", name) for name in table["id"].to_pylist()} for table in corpus.splits.values()]
        assert len(turns) == 2 and not turns[0] & turns[1]


def test_a_speaker_with_one_turn_trains_and_so_does_a_meeting_that_is_too_small(find: Find, tmp_path: Path):
    lines = ["001-M"] * 6 + ["002-F"] * 6 + ["003-M"]
    write_meeting(tmp_path, "m", [(2 * i, 2, who) for i, who in enumerate(lines)])
    write_meeting(tmp_path, "tiny", [(2 * i, 2, who) for i, who in enumerate(["001-M", "002-F"] * 2)])
    corpus, problems = find(tmp_path, test_share=0.2)
    test = Counter(row["speaker_id"] for row in corpus.splits["test"].to_pylist())
    # 0.2 of the 12 turns of speakers with several is 2.4, which scikit-learn rounds up to 3.
    assert not len(problems) and test.total() == 3 and set(test) == {"m_001-M", "m_002-F"}
    assert corpus.facts["segmentation"]["meetings without test rows"] == ["tiny"]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_contiguous_split_has_no_audio_on_both_sides(find: Find, tree: Path, share: float):
    corpus, _ = find(tree, split="contiguous", test_share=share)
    facts, total = corpus.facts["segmentation"]["turns left out"], 0
    for meeting in {row["session_id"] for row in rows_of(corpus)}:
        train, test = (
            [r for r in corpus.splits[s].to_pylist() if r["session_id"] == meeting] for s in ("train", "test")
        )
        assert max(row["end"] for row in train) <= min(row["start"] for row in test)
        assert {row["speaker_id"] for row in test} <= {row["speaker_id"] for row in train}
        mine = len(train) + len(test)
        assert abs(len(test) - share * mine) <= 3
        total += mine
    every = len(rows_of(find(tree, split="none")[0]))
    out = facts.get("across the boundary", 0) + facts.get("speaker not heard before the boundary", 0)
    assert total + out == every


def test_turns_across_the_boundary_worked_out_by_hand(find: Find, tmp_path: Path):
    # Five turns, 0.4 of them test: the boundary is where the fourth begins, at 8 s. The third is not over by then, and
    # 002-F is not heard before.
    spans = [(0, 3, "001-M"), (3, 3, "003-M"), (6, 3, "003-M"), (8, 2, "001-M"), (10, 2, "002-F")]
    write_meeting(tmp_path, "m", spans)
    corpus, _ = find(tmp_path, split="contiguous", test_share=0.4)
    names = {split: [row["id"] for row in table.to_pylist()] for split, table in corpus.splits.items()}
    assert names == {"train": ["m_001-M_0000", "m_003-M_0001"], "test": ["m_001-M_0003"]}
    left_out = corpus.facts["segmentation"]["turns left out"]
    assert left_out == {"across the boundary": 1, "speaker not heard before the boundary": 1}


def write_meeting(folder: Path, name: str, spans: list[tuple[float, float, str]], seconds: float = 40.0) -> Path:
    """A mono meeting of noise, and its RTTM file, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(folder / f"{name}.flac", np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * 16_000)), 16_000)
    path = folder / f"{name}.rttm"
    path.write_text("".join(f"SPEAKER {name} 1 {a} {d} <NA> <NA> {who} <NA> <NA>\n" for a, d, who in spans))
    return path


def test_ids_do_not_depend_on_the_order_of_folders_or_on_where_they_lie(find: Find, tree: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    for path in sorted(tree.rglob("*.*"), reverse=True):  # made in another order
        target = moved / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (moved / "train_L" / "wav" / "._20200601_L_R001S01C01.flac").write_bytes(b"what macOS leaves behind")
    (moved / "train_L" / "TextGrid" / "._20200601_L_R001S01C01.rttm").write_bytes(b"\x00\xff")
    first, again, other = find(tree)[0], find(tree)[0], find(moved)[0]
    for split in ("train", "test"):
        assert first.splits[split].equals(again.splits[split])
        assert first.splits[split].drop_columns("path").equals(other.splits[split].drop_columns("path"))


def test_sets_meetings_and_an_rttm_folder_of_its_own(find: Find, tree: Path, tmp_path: Path):
    assert {row["set"] for row in rows_of(find(tree, sets=["train_S", "test"])[0])} == {"train_S", "test"}
    corpus, problems = find(tree, meeting="20200601_L_R001S02C01")
    assert {row["session_id"] for row in rows_of(corpus)} == {"20200601_L_R001S02C01"} and not len(problems)
    for path in [*tree.rglob("*.flac"), *tree.rglob("*.rttm")]:
        target = tmp_path / ("rttm" if path.suffix == ".rttm" else f"audio/{path.parts[-3]}/wav") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    apart, problems = find(tmp_path / "audio", rttm_dir=str(tmp_path / "rttm"))
    assert not len(problems) and [r["id"] for r in rows_of(apart)] == [r["id"] for r in rows_of(find(tree)[0])]
    # RTTM files of sets that are not taken, by default test or by name, are nobody's fault.
    assert not len(find(tmp_path / "audio", rttm_dir=str(tmp_path / "rttm"), sets=["train_L"])[1])


def test_the_official_test_set_is_taken_only_where_it_is_asked_for(find: Find, tree: Path, tmp_path: Path):
    corpus, problems = find(tree)
    assert {row["set"] for row in rows_of(corpus)} == {"train_L", "train_S"} and not len(problems)
    assert corpus.facts["segmentation"]["sets"] == ["train_L", "train_S"]
    assert {row["set"] for row in rows_of(find(tree, sets=EVERY_SET)[0])} == set(EVERY_SET)
    assert {row["set"] for row in rows_of(find(tree, meeting="L_R003S01C01")[0])} == {"test"}
    who = rttm_lines(tree / "test" / "TextGrid" / "L_R003S01C01.rttm")[0][3]
    (tmp_path / "list.csv").write_text(f"path,label\nL_R003S01C01_{who}_0000.wav,L_R003S01C01_{who}\n")
    (row,) = rows_of(find(tree, segment_list=str(tmp_path / "list.csv"), split="none")[0])
    assert (row["id"], row["set"]) == (f"L_R003S01C01_{who}_0000", "test")
    shutil.copytree(tree / "test", tmp_path / "alone" / "test")
    assert {row["set"] for row in rows_of(find(tmp_path / "alone")[0])} == {"test"}


@pytest.mark.parametrize("name", ["all", "default", "a b", "-a", "a=b"])
def test_a_meeting_that_can_be_no_configuration_is_named(find: Find, tmp_path: Path, name: str):
    write_meeting(tmp_path, name, [(0, 2, "x")])
    write_meeting(tmp_path, "all-day_1.b", [(0, 2, "x")])
    corpus, problems = find(tmp_path, split="none")
    assert {row["session_id"] for row in rows_of(corpus)} == {"all-day_1.b"}
    assert refused(problems) == [("unsafe name", f"{name}.flac", None)]


def test_a_segment_list_takes_exactly_what_it_names(find: Find, tree: Path, tmp_path: Path):
    """The list names lines of RTTM files, skipped ones counted; short turns are taken as well."""
    meeting = "20200601_L_R001S01C01"
    lines = rttm_lines(tree / "train_L" / "TextGrid" / f"{meeting}.rttm")
    short = next(line for line in lines if line[2] - line[1] < 1.5)
    wanted = [lines[30], short, lines[3]]
    table = tmp_path / "data.csv"
    rows = [f"./data/segments/{meeting}_{who}_{i:04d}.wav,{meeting}_{who}\n" for i, _, _, who in wanted]
    table.write_text("path,label\n" + "".join(rows))
    corpus, problems = find(tree, segment_list=str(table), split="none")
    assert not len(problems) and list(corpus.splits) == ["train"]
    assert [(row["id"], row["start"], row["end"]) for row in rows_of(corpus)] == [
        (f"{meeting}_{who}_{i:04d}", start, end) for i, start, end, who in wanted
    ]


def test_names_of_a_segment_list_that_do_not_resolve_are_listed(find: Find, tree: Path, tmp_path: Path):
    meeting = "20200601_L_R001S01C01"
    who = rttm_lines(tree / "train_L" / "TextGrid" / f"{meeting}.rttm")[5][3]
    other = "002-F" if who != "002-F" else "003-M"
    bad = [
        (f"{meeting}_{who}_0005.wav,{meeting}_{who}", None),
        (f"{meeting}_{who}_0040.wav,{meeting}_{who}", "unknown segment"),  # lines 0 to 39
        (f"{meeting}_{other}_0005.wav,{meeting}_{other}", "unknown segment"),
        (f"20990101_L_R001S01C01_{who}_0005.wav,20990101_L_R001S01C01_{who}", "unknown segment"),
        (f"{meeting}_{who}_0005.wav,{meeting}_{who}", "duplicate id"),
        (f"{meeting}_{who}_0006.wav,{who}", "unknown label"),
        (f"{meeting}_{who}_0007.wav", "malformed line"),
        (f"{who}.wav,{who}", "malformed line"),
    ]
    table = tmp_path / "data.csv"
    table.write_text("path,label\n" + "".join(f"{line}\n" for line, _ in bad))
    corpus, problems = find(tree, segment_list=str(table), split="none")
    assert [row["id"] for row in rows_of(corpus)] == [f"{meeting}_{who}_0005"]
    expected = [(kind, "data.csv", line) for line, (_, kind) in enumerate(bad, start=2) if kind]
    assert sorted(refused(problems)) == sorted(expected)


BAD_MEETINGS = {
    "9 fields": ("SPEAKER m 1 0.5 2.0 <NA> <NA> a <NA>\n", ("malformed line", "m.rttm", 2)),
    "a negative time": ("SPEAKER m 1 -0.5 2.0 <NA> <NA> a <NA> <NA>\n", ("bad time", "m.rttm", 2)),
    "past the end": ("SPEAKER m 1 8.0 2.03 <NA> <NA> a <NA> <NA>\n", ("bad time", "m.rttm", 2)),
    "after the end": ("SPEAKER m 1 10.0 0.01 <NA> <NA> a <NA> <NA>\n", ("bad time", "m.rttm", 2)),
    "of another recording": ("SPEAKER n 1 0.5 2.0 <NA> <NA> a <NA> <NA>\n", ("unknown recording", "m.rttm", 2)),
}


@pytest.mark.parametrize("case", BAD_MEETINGS)
def test_a_bad_rttm_line_is_named_by_file_and_line(find: Find, tmp_path: Path, case: str):
    path = write_meeting(tmp_path, "m", [(0, 2, "a")], seconds=10.0)
    bad, expected = BAD_MEETINGS[case]
    path.write_text(path.read_text() + bad + "SPEAKER m 1 8.0 2.02 <NA> <NA> a <NA> <NA>\n")
    corpus, problems = find(tmp_path, split="none")
    assert refused(problems) == [expected]
    # Two hundredths of a second past the end are a matter of rounding.
    assert [row["id"] for row in rows_of(corpus)] == ["m_a_0000", "m_a_0002"]


def test_what_lacks_its_other_half_or_is_no_audio(find: Find, tmp_path: Path):
    write_meeting(tmp_path, "a", [(0, 2, "x")])
    write_meeting(tmp_path, "b", [(0, 2, "x")]).unlink()
    write_meeting(tmp_path, "c", [(0, 2, "x")])
    write_meeting(tmp_path, "d", [(0, 2, "x")])
    write_meeting(tmp_path / "again", "a", [(0, 2, "x")])
    (tmp_path / "c.flac").unlink()
    (tmp_path / "d.flac").write_bytes(b"not sound")
    corpus, problems = find(tmp_path)
    assert [row["id"] for row in rows_of(corpus)] == ["a_x_0000"]
    assert sorted(refused(problems), key=str) == sorted(
        [
            ("duplicate id", "a.flac", None),
            ("duplicate id", "a.rttm", None),
            ("missing file", "b.flac", None),
            ("missing file", "c.rttm", None),
            ("not audio", "d.flac", None),
        ],
        key=str,
    )


def test_a_channel_that_a_file_lacks_is_named(find: Find, tree: Path, tmp_path: Path):
    assert not len(find(tree, channel=7)[1]) and not len(find(tree, channel="7")[1])
    write_meeting(tmp_path, "m", [(0, 2, "a")])
    problems = Problems("raise")
    builder = load_builder("aishell4")(cache_dir=str(tmp_path / "cache"), data_dir=str(tmp_path), channel=1)
    builder.find_rows(problems)
    assert refused(problems) == [("unknown channel", "m.flac", None)]


OPTIONS = {
    "sideways": ({"split": "sideways"}, "unknown split 'sideways'"),
    "hide": ({"overlap": "hide"}, "unknown overlap 'hide'"),
    "whole": ({"test_share": 1.0}, "test_share 1.0"),
    "backwards": ({"min_duration": 3.0, "max_duration": 2.0}, "min-duration 3.0"),
    "left": ({"channel": "left"}, "channel 'left'"),
    "no such set": ({"sets": ["train_XL"]}, "unknown set in .* 'train_XL'"),
    "no such meeting": ({"meeting": "20200601_L_R001S03C01"}, r"did you mean '20200601_L_R001S0[12]C01'"),
    "nothing left": ({"min_duration": 60.0}, "no turn is left"),
    "two masters": ({"segment_list": "x.csv", "overlap": "drop"}, "leave one of them out"),
    "no list": ({"segment_list": "nowhere.csv"}, "nowhere.csv: no such file"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_make_no_sense_are_refused(find: Find, tree: Path, case: str):
    options, message = OPTIONS[case]
    with pytest.raises(InputError, match=message):
        find(tree, **options)


def test_a_list_with_another_header_is_refused(find: Find, tree: Path, tmp_path: Path):
    (tmp_path / "list.csv").write_text("file,speaker\na.wav,b\n")
    with pytest.raises(InputError, match="write path,label"):
        find(tree, segment_list=str(tmp_path / "list.csv"))


@pytest.mark.parametrize("channel", ["mean", 3])
def test_prepared_rows_hold_the_turn_of_their_speaker(tree: Path, tmp_path: Path, channel: int | str):
    """What was written by hand, cut out here with soundfile alone, is what Parquet gives back."""
    from datasets import Audio, load_dataset

    prepare(
        load_builder("aishell4"), "aishell4", tree, tmp_path / "out", {"channel": channel, "sets": ["train_L", "test"]}
    )
    splits = load_dataset(str(tmp_path / "out"), "all", cache_dir=str(tmp_path / "cache"))
    gains = 1 / (1 + LOUDER * np.arange(8))
    gain = gains.mean() if channel == "mean" else gains[channel]
    seen = 0
    for rows in splits.values():
        for row in rows.cast_column("audio", Audio(decode=False)):
            sound, rate = sf.read(io.BytesIO(row["audio"]["bytes"]))
            first, last = (round(row[name] * 16_000) for name in ("segment_start", "segment_end"))
            assert rate == 16_000 and len(sound) == last - first == row["length"]
            file = next(tree.rglob(f"{row['session_id']}.flac"))
            written = sf.read(file, start=first, stop=last)[0]
            expected = written.mean(axis=1) if channel == "mean" else written[:, channel]
            np.testing.assert_allclose(sound, expected, atol=1 / 32_768)
            # A tone of amplitude 0.15 at the speaker's own frequency and at the channel's own gain.
            time = np.arange(len(sound)) / rate
            wave = np.exp(-2j * np.pi * speaker_frequency(int(row["speaker_id"][-5:-2]) - 1) * time)
            assert 2 * abs(np.mean(sound * wave)) == pytest.approx(0.15 * gain, rel=0.05)
            seen += 1
    assert seen > 60
    one = load_dataset(str(tmp_path / "out"), "20200601_L_R001S02C01", cache_dir=str(tmp_path / "cache"))
    assert {row for rows in one.values() for row in rows["session_id"]} == {"20200601_L_R001S02C01"}
