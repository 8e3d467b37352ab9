"""VoxCeleb: what is found in archives and trees, lists and metadata, on made-up corpora in the real layouts."""

import re
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hf_speech.corpora.lengths import measure
from hf_speech.corpora.listing import list_audio
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_voxceleb

from .voxceleb import SUBSETS, build, ids, listing_of


def test_full_divides_voxceleb2_dev_and_tests_on_the_listed_part_of_voxceleb1(fake, members):
    corpus = build(fake)
    found = ids(corpus)
    assert sorted(found["train"] + found["validation"]) == members["vox2_dev"]
    lists = [(fake / "meta" / name).read_text().split() for name in ("veri_test2.txt", "list_test_all2.txt")]
    lists.append((fake / "meta" / "list_test_hard2.txt").read_text().split())
    named = {word.removesuffix(".wav") for words in lists for word in words if len(word) > 1}
    assert found["test"] == sorted(named)
    unused = len(members["vox1_dev"] + members["vox1_test"]) - len(named)
    assert corpus.facts["passed_over"] == {
        "other names": 0,
        "VoxCeleb2 test": len(members["vox2_test"]),
        "VoxCeleb1 in no trial list": unused,
    }
    assert corpus.facts["voxceleb2_sets"] == {"metadata": 19, "folder or archive": 0, "nothing (taken for dev)": 0}


def test_a_row_says_who_speaks_where_and_of_what_gender(fake):
    corpus = build(fake)
    meta = (fake / "meta" / "vox2_meta.csv").read_text().splitlines()[1:]
    genders = {line.split()[0]: {"f": "female", "m": "male"}[line.split(",")[2].strip()] for line in meta}
    assert set(genders.values()) == {"female", "male"}
    for row in corpus.splits["train"].to_pylist():
        speaker, video, _ = row["id"].split("/")
        assert (row["speaker_id"], row["recording_id"]) == (speaker, video)
        assert row["session_id"] == f"{speaker}/{video}"
        assert (row["source"], row["gender"], row["nationality"]) == ("voxceleb2", genders[speaker], None)
        assert row["path"] == f"{fake}/vox2_dev_aac.zip/dev/aac/{row['id']}.m4a"
    meta = (fake / "meta" / "vox1_meta.csv").read_text().splitlines()[1:]
    nations = {line.split("\t")[0]: line.split("\t")[3] for line in meta}
    for row in corpus.splits["test"].to_pylist():
        assert (row["source"], row["nationality"]) == ("voxceleb1", nations[row["speaker_id"]])


def test_every_file_has_a_header_that_can_be_read(fake):
    rows = build(fake).splits["train"]
    measured = measure(rows, Problems("raise"), workers=1)
    assert len(measured) == len(rows)
    assert all(0.1 <= seconds <= 0.4 for seconds in measured["duration"].to_pylist())


@pytest.mark.parametrize("config", ["full", *SUBSETS, "identification"])
def test_archives_and_trees_of_any_format_give_the_same_rows(fake, tmp_path, config):
    speakers = {"vox1_dev": 4, "vox1_test": 4, "vox2_dev": 16, "vox2_test": 3}
    expected = build(fake, config)
    for layout, suffix in (("zip", "wav"), ("tree", "m4a"), ("tree", "wav")):
        other = tmp_path / f"{layout}_{suffix}"
        write_fake_voxceleb(
            other, speakers=speakers, utterances=(2, 6), seconds=(0.1, 0.3), layout=layout, format=suffix
        )
        corpus = build(other, config)
        assert ids(corpus) == ids(expected)
        assert (corpus.files, corpus.facts) == (expected.files, expected.facts)


@pytest.mark.parametrize("config", ["full", *SUBSETS, "identification"])
def test_the_order_of_the_listing_changes_nothing(fake, config):
    listing = list_audio(fake, Problems("raise"))
    shuffled = listing.take(pa.array(np.random.default_rng(0).permutation(len(listing))))
    assert ids(build(fake, config, listing=shuffled)) == ids(build(fake, config))


def write_list(path: Path, *lines: str) -> str:
    path.write_text("utterance_key;shard_dix;set_name\n" + "".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_list_replaces_the_rules_and_leaves_the_test_rows(fake, members, tmp_path):
    keys = members["vox2_dev"]
    path = write_list(tmp_path / "list.csv", f"{keys[5]};0;train", f"{keys[0]};0;val", f"{keys[2]};1;train")
    corpus = ids(build(fake, "tiny_few", utterance_list=path))
    assert (corpus["train"], corpus["validation"]) == ([keys[2], keys[5]], [keys[0]])
    assert corpus["test"] == ids(build(fake))["test"]


def test_what_is_wrong_in_a_list_is_named_by_line(fake, members, tmp_path):
    key = members["vox2_dev"][0]
    path = write_list(
        tmp_path / "list.csv", f"{key};0;train", "id00012/x/1;0;train", f"{key};0;val", f"{key};0", "a;0;b"
    )
    problems = Problems("skip")
    assert ids(build(fake, problems=problems, utterance_list=path))["train"] == [key]
    found = sorted((p.line, p.kind) for p in problems)
    assert found == [(3, "missing file"), (4, "duplicate id"), (5, "malformed line"), (6, "malformed line")]


def test_a_speaker_to_test_on_is_not_learned_from(fake, tmp_path):
    tested = ids(build(fake))["test"][0]
    path = write_list(tmp_path / "list.csv", f"{tested};0;train")
    with pytest.raises(InputError, match=f"1 speakers are in train and in test: {tested[:7]}"):
        build(fake, utterance_list=path)


def test_identification_divides_voxceleb1_by_its_list(fake):
    expected = defaultdict(list)
    for line in (fake / "meta" / "iden_split.txt").read_text().splitlines():
        part, path = line.split()
        expected[{"1": "train", "2": "validation", "3": "test"}[part]].append(path.removesuffix(".wav"))
    corpus = build(fake, "identification")
    assert ids(corpus) == {split: sorted(names) for split, names in expected.items()}
    assert set(corpus.splits) == {"train", "validation", "test"} and not corpus.facts["trials"]


def test_the_test_lists_come_out_as_they_went_in(fake):
    corpus = build(fake)
    names = {"original": "veri_test2.txt", "extended": "list_test_all2.txt", "hard": "list_test_hard2.txt"}
    facts = {entry["name"]: entry for entry in corpus.facts["trials"]}
    assert list(facts) == [*names, "validation"]
    for name, file in names.items():
        text = (fake / "meta" / file).read_text()
        assert corpus.files[f"trials/{name}.txt"] == text
        targets = sum(line.startswith("1") for line in text.splitlines())
        counts = (facts[name]["file"], facts[name]["targets"], facts[name]["nontargets"], facts[name]["left_out"])
        assert counts == (file, targets, len(text.splitlines()) - targets, 0)


def test_the_uncleaned_list_serves_where_the_cleaned_one_is_absent(fake, members, tmp_path):
    (tmp_path / "veri_test.txt").write_text(f"1 {members['vox1_test'][0]}.wav {members['vox1_test'][1]}.wav\n")
    corpus = build(tmp_path, listing=list_audio(fake, Problems()))
    assert corpus.facts["trials"][0]["file"] == "veri_test.txt"
    assert ids(corpus)["test"] == members["vox1_test"][:2]


def test_a_trial_without_its_audio_is_a_problem(fake, members, tmp_path):
    present = members["vox1_test"][:2]
    text = f"1 {present[0]}.wav {present[1]}.wav\n1 {present[0]}.wav {present[0][:-5]}99999.wav\n"
    (tmp_path / "veri_test2.txt").write_text(text)
    problems = Problems("skip")
    corpus = build(fake, problems=problems, metadata_dir=str(tmp_path))
    assert [(p.kind, p.line, Path(p.file).name) for p in problems] == [("missing file", 2, "veri_test2.txt")]
    (found, *_) = corpus.facts["trials"]
    assert (found["name"], found["trials"], found["left_out"]) == ("original.partial", 1, 1)
    assert corpus.files["trials/original.partial.txt"] == text.splitlines(keepends=True)[0]
    assert "trials/original.txt" not in corpus.files


@pytest.fixture
def tested_only(fake, tmp_path) -> Path:
    """VoxCeleb1's test speakers, and all three lists: what one has who is only after the original one."""
    folder = tmp_path / "tested_only"
    shutil.copytree(fake / "meta", folder / "meta")
    shutil.copy(fake / "vox1_test_wav.zip", folder)
    return folder


def test_a_list_with_a_speaker_without_audio_is_not_taken(tested_only, members, caplog):
    text = (tested_only / "meta" / "list_test_all2.txt").read_text()
    speakers = set(re.findall(r"id\d{5}", text))
    silent = speakers - {name[:7] for name in members["vox1_test"]}
    assert 0 < len(silent) < len(speakers)
    corpus = build(tested_only)
    assert [(entry["name"], entry["left_out"]) for entry in corpus.facts["trials"]] == [("original", 0)]
    assert set(corpus.files) == {"trials/original.txt"}
    (warning,) = (record.getMessage() for record in caplog.records if "not taken" in record.getMessage())
    assert f"list_test_all2.txt ({len(silent)} of its {len(speakers)} speakers have no audio)" in warning
    assert "list_test_hard2.txt" in warning and warning.endswith("--test-lists original,extended,hard")


def test_a_list_that_is_asked_for_is_taken_as_it_is(tested_only, members):
    there = {f"{name}.wav" for name in members["vox1_test"]}
    lines = (tested_only / "meta" / "list_test_all2.txt").read_text().splitlines(keepends=True)
    missing = [(number, name) for number, line in enumerate(lines, 1) for name in line.split()[1:] if name not in there]
    whole = [line for line in lines if set(line.split()[1:]) <= there]
    assert missing and 0 < len(whole) < len(lines)
    problems = Problems("skip")
    corpus = build(tested_only, problems=problems, test_lists=["extended"])
    assert [p.line for p in problems] == [number for number, _ in missing]
    assert problems.counts == {"missing file": len(missing)}
    assert corpus.files == {"trials/extended.partial.txt": "".join(whole)}
    (found,) = corpus.facts["trials"]
    assert (found["name"], found["file"]) == ("extended.partial", "list_test_all2.txt")
    assert (found["trials"], found["left_out"]) == (len(whole), len(lines) - len(whole))
    with pytest.raises(InputError, match="missing file"):
        build(tested_only, test_lists=["extended"])


def test_lists_are_asked_for_by_name_and_must_be_there(fake, members, tmp_path):
    corpus = build(fake, test_lists=["hard", "original"])
    names = {entry["name"] for entry in corpus.facts["trials"]} - {"validation"}
    assert names == {"hard", "original"} and "trials/extended.txt" not in corpus.files
    with pytest.raises(InputError, match="unknown list to test on 'veri'"):
        build(fake, test_lists=["veri"])
    with pytest.raises(InputError, match=r"needs list_test_hard2\.txt; put it there or in meta/"):
        build(tmp_path, listing=list_audio(fake, Problems()), test_lists=["hard"])


def test_a_list_that_lost_a_line_is_partial_and_one_with_other_line_ends_is_not(fake, members, tmp_path):
    one, two = members["vox1_test"][:2]
    for text, name in (
        (f"1 {one}.wav {two}.wav\r\n", "original"),
        (f"1 {one}.wav {two}.wav\n1 x\n", "original.partial"),
    ):
        (tmp_path / "veri_test2.txt").write_bytes(text.encode())
        problems = Problems("skip")
        corpus = build(fake, problems=problems, metadata_dir=str(tmp_path), test_lists=["original"])
        assert len(problems) == 1 and corpus.files[f"trials/{name}.txt"] == f"1 {one}.wav {two}.wav\n"


def test_without_a_list_all_of_voxceleb1_is_for_testing(fake, members, tmp_path):
    corpus = ids(build(tmp_path, listing=list_audio(fake, Problems())))
    assert corpus["test"] == members["vox1_dev"] + members["vox1_test"]


def test_validation_trials_are_made_read_or_left_out(fake, tmp_path):
    made = build(fake, validation_trials="20")
    assert made.facts["trials"][-1] | {"name": "validation", "trials": 20, "targets": 10} == made.facts["trials"][-1]
    path = tmp_path / "mine.txt"
    path.write_text(made.files["trials/validation.txt"])
    read = build(fake, validation_trials=str(path))
    assert read.files == made.files
    assert read.facts["trials"][-1]["fingerprint"] == made.facts["trials"][-1]["fingerprint"]
    assert "trials/validation.txt" not in build(fake, validation_trials="0").files
    apart = build(fake, validation_trials="20", validation_share=0.4, different_session=True)
    assert apart.facts["trials"][-1]["same_session_targets"] == 0
    with pytest.raises(InputError, match="ask for fewer trials"):
        build(fake, validation_trials="100000")


@pytest.mark.parametrize("known_by", ["archive", "folder", "nothing"])
def test_what_part_a_speaker_of_voxceleb2_is_in(fake, members, tmp_path, known_by):
    """Without metadata the name of the archive or of a folder tells dev from test, and else all is dev."""
    listing = list_audio(fake, Problems())
    if known_by != "archive":
        table = {name: listing[name].to_pylist() for name in ("name", "path", "archive")}
        parts = ["test" if "vox2_test" in path else "dev" for path in table["path"]]
        part = parts if known_by == "folder" else ["latest"] * len(parts)
        names = [f"{p}/aac/{'/'.join(name.split('/')[-3:])}" for p, name in zip(part, table["name"], strict=True)]
        listing = listing.set_column(0, "name", pa.array(names))
        archives = pa.array(["/data/all.zip"] * len(parts)).dictionary_encode()
        listing = listing.set_column(listing.schema.get_field_index("archive"), "archive", archives)
    corpus = build(tmp_path, listing=listing)
    found = ids(corpus)
    dev = members["vox2_dev"] + (members["vox2_test"] if known_by == "nothing" else [])
    assert sorted(found["train"] + found["validation"]) == sorted(dev)
    told_by = {"archive": "folder or archive", "folder": "folder or archive", "nothing": "nothing (taken for dev)"}
    assert corpus.facts["voxceleb2_sets"][told_by[known_by]] == 19


def test_an_utterance_that_is_there_twice_is_a_problem_that_names_both(tmp_path):
    names = ["id00100/aaaaaaaaaaa/00001", "id00100/bbbbbbbbbbb/00001"]
    one, two = listing_of(names), listing_of(names[:1])
    twice = pa.concat_tables([two.set_column(1, "path", pa.array(["/data/wav/x.wav"])), one])
    problems = Problems("skip")
    corpus = build(tmp_path, problems=problems, listing=twice, validation="none")
    assert ids(corpus)["train"] == names
    (problem,) = problems
    assert (problem.kind, problem.file) == ("duplicate id", "/data/wav/x.wav")
    assert f"/data/vox2_dev_aac.zip/dev/aac/{names[0]}.m4a" in problem.reason


def test_other_names_are_passed_over_and_counted(tmp_path):
    others = ["id0010/a/1", "id10000/a/1", "id11252/a/1", "music/a/1", "id00100/1"]
    corpus = build(tmp_path, listing=listing_of(["id00100/a/1", *others]), validation="none")
    assert ids(corpus) == {"train": ["id00100/a/1"]} and corpus.facts["passed_over"]["other names"] == 5
    with pytest.raises(InputError, match="no VoxCeleb utterance"):
        build(tmp_path, listing=listing_of(others))


def test_metadata_are_checked_line_by_line(tmp_path):
    text = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00100 ,n1 ,m ,dev \nid00101 ,n2 ,x ,dev \nid00102 ,n3\n"
    (tmp_path / "vox2_meta.csv").write_text(text + "id00100 ,n4 ,f ,test \nid00103 ,n5 ,f ,train \n", newline="\r\n")
    problems = Problems("skip")
    names = [f"id0010{k}/{s}/1" for k in range(4) for s in "ab"]
    rows = build(tmp_path, problems=problems, listing=listing_of(names)).splits["train"]
    genders = dict(zip(rows["speaker_id"].to_pylist(), rows["gender"].to_pylist(), strict=True))
    assert genders == {"id00100": "male", "id00101": None, "id00102": None, "id00103": None}
    assert [(p.kind, p.line) for p in problems] == [
        ("Windows line ends", 1),
        ("unknown label", 3),
        ("malformed line", 4),
        ("duplicate id", 5),
        ("unknown label", 6),
    ]


def test_voxceleb1_alone_is_a_corpus_to_test_on(tmp_path):
    folder = write_fake_voxceleb(tmp_path, speakers={"vox1_test": 3}, seconds=(0.1, 0.2))
    corpus = build(folder)
    assert list(corpus.splits) == ["test"]
    assert [trials["name"] for trials in corpus.facts["trials"]] == ["original", "extended", "hard"]
    with pytest.raises(InputError, match="made of VoxCeleb2 dev, and there is none"):
        build(folder, "tiny_many_low")


@pytest.mark.parametrize(
    "option", [{"validation_share": 0.0}, {"validation_share": 1.0}, {"utterances_per_speaker": 0}]
)
def test_numbers_that_make_no_sense_are_refused(fake, option):
    with pytest.raises(InputError, match=next(iter(option))):
        build(fake, **option)


def test_a_folder_of_metadata_that_is_not_there_is_refused(fake):
    with pytest.raises(InputError, match="give the folder of the metadata as --metadata-dir"):
        build(fake, metadata_dir=str(fake / "nowhere"))
