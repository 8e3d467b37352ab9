"""Own recordings through `prepare`: what is written, what a process without the package reads, what is refused."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from hf_speech.cli import main
from hf_speech.corpora.publish import AUDIT, WORK
from hf_speech.data.readers import load_rows
from hf_speech.errors import InputError

from .prepared import Run, digest, files_of, read_elsewhere

# --- what is written


@pytest.mark.parametrize("embed", [True, False])
def test_rows_are_what_was_given_for_a_process_without_the_package(
    corpus: Path, run: Run, tmp_path: Path, embed: bool
) -> None:
    audit = run("csv", corpus.parent, test="0.25", embed_audio=embed)
    found = read_elsewhere(tmp_path / "out", tmp_path / "cache")
    given = load_rows(corpus)["train"]
    rows = {row["id"]: row for split in found.values() for row in split}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 18, "test": 6}
    assert len(rows) == len(given) == 24
    for row in given:
        path = Path(row["audio"]["path"])
        mine = rows[f"audio/{path.stem}"]
        assert mine["sha"] == digest(path)
        assert (mine["speaker_id"], mine["label"], mine["age"]) == (row["speaker_id"], row["label"], row["age"])
        assert mine["length"] == sf.info(path).frames
        assert mine["duration"] == pytest.approx(sf.info(path).duration)
    assert audit["splits"]["train"]["rows"] == 18
    assert files_of(tmp_path / "out") == {
        "README.md",
        "audit.json",
        "train-00000-of-00001.parquet",
        "test-00000-of-00001.parquet",
    }


def test_twice_and_in_another_folder_the_shards_are_the_same_bytes(corpus: Path, run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "deep"
    shutil.copytree(corpus.parent, moved)
    run("csv", corpus.parent, "a")
    run("csv", moved, "b")
    name = "train-00000-of-00001.parquet"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_shards_are_no_larger_than_asked_for_and_hold_all_rows_in_order(run: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    (tmp_path / "wavs" / "x").mkdir(parents=True)
    for i in range(12):
        samples = noise.integers(-(2**15), 2**15, 200_000 + 10_000 * i).astype(np.int16)  # 0.4 to 0.62 MB
        sf.write(tmp_path / "wavs" / "x" / f"{i:02d}.wav", samples, 16_000)
    run("folder", tmp_path / "wavs", shard_size=2 * 10**6)
    shards = sorted((tmp_path / "out").glob("*.parquet"))
    assert len(shards) > 2
    assert shards[0].name == f"train-00000-of-{len(shards):05d}.parquet"
    assert all(shard.stat().st_size <= 2 * 10**6 for shard in shards)
    ids = [name for shard in shards for name in pq.read_table(shard, columns=["id"])["id"].to_pylist()]
    assert ids == [f"x/{i:02d}" for i in range(12)]


def test_flac_on_request_keeps_the_samples(corpus: Path, run: Run, tmp_path: Path) -> None:
    run("csv", corpus.parent, transcode="flac")
    rows = read_elsewhere(tmp_path / "out", tmp_path / "cache")["train"]
    for row in rows:
        assert row["sha"] == digest(corpus.parent / f"{row['id']}.wav")
    audio = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet", columns=["audio"])["audio"].to_pylist()
    assert all(cell["bytes"][:4] == b"fLaC" and cell["path"].endswith(".flac") for cell in audio)


def test_pieces_of_files_are_cut_out_or_named(corpus: Path, run: Run, tmp_path: Path) -> None:
    clip = corpus.parent / "audio" / "speaker00_000.wav"
    table = tmp_path / "pieces.csv"
    table.write_text(f"path,start,end,speaker\n{clip},0.1,0.35,a\n{clip},0.35,,b\n")
    samples = sf.read(clip, dtype="int16")[0]
    run("csv", tmp_path, label_file=str(table), columns="speaker_id=speaker")
    cut = read_elsewhere(tmp_path / "out", tmp_path / "cache")["train"]
    assert [row["length"] for row in cut] == [4_000, len(samples) - 5_600]
    assert [(row["segment_start"], row["segment_end"]) for row in cut] == [(0.1, 0.35), (0.35, None)]
    audio = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")["audio"].to_pylist()
    import io

    heard = [sf.read(io.BytesIO(cell["bytes"]), dtype="int16")[0] for cell in audio]
    assert np.array_equal(heard[0], samples[1_600:5_600])
    assert np.array_equal(heard[1], samples[5_600:])
    run("csv", tmp_path, "paths", label_file=str(table), embed_audio=False)
    rows = load_rows(tmp_path / "paths")["train"]
    assert rows["start"] == [0.1, 0.35]
    assert rows["audio"][0]["path"] == str(clip)
    assert rows["audio"][0]["bytes"] is None


def test_what_was_prepared_can_be_trained_on(corpus: Path, run: Run, tmp_path: Path) -> None:
    run("csv", corpus.parent, test="speaker_id=speaker03", validation="speaker_id=speaker02")
    splits = load_rows(tmp_path / "out")
    assert {name: set(rows["speaker_id"]) for name, rows in splits.items()} == {
        "train": {"speaker00", "speaker01"},
        "validation": {"speaker02"},
        "test": {"speaker03"},
    }


def test_datasets_does_not_take_one_copy_for_another(corpus: Path, run: Run, tmp_path: Path) -> None:
    # Its cache knows a local folder by name and card, so the card has to tell the rows apart.
    table = tmp_path / "table.csv"
    lines = (corpus.parent / "metadata.csv").read_text().splitlines()
    for label in ("low", "soft"):
        table.write_text("\n".join(line.replace("low", label) for line in lines) + "\n")
        run("csv", corpus.parent, label_file=str(table), overwrite=True)
        rows = read_elsewhere(tmp_path / "out", tmp_path / "cache")["train"]
        assert {row["label"] for row in rows} == {label, "high"}


def test_the_card_says_what_is_there(corpus: Path, run: Run, tmp_path: Path) -> None:
    run("csv", corpus.parent, test="0.25")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| train | 18 | 0.01 | 3 | - |" in card
    assert "| test | 6 | 0.00 | 1 | - |" in card
    assert "train and test: no speaker" in card
    assert str(tmp_path) not in card


# --- what is refused


@pytest.fixture
def bad_corpus(corpus: Path, tmp_path: Path) -> Path:
    """A table with a missing file, one that is no audio, a bad number, too few fields and an id that stands twice."""
    folder = tmp_path / "bad"
    shutil.copytree(corpus.parent, folder)
    (folder / "audio" / "words.wav").write_text("this is no sound")
    lines = (folder / "metadata.csv").read_text().splitlines()
    lines = ["id," + lines[0]] + [f"row{i}," + line for i, line in enumerate(lines[1:])]
    lines += ["gone,audio/gone.wav,s,low,20", "words,audio/words.wav,s,low,20", "old,audio/speaker00_000.wav,s,low,x"]
    lines += ["few,audio/speaker00_000.wav", "row3,audio/speaker00_001.wav,s,low,20"]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_bad_rows_are_all_named_and_nothing_is_written(bad_corpus: Path, run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        run("csv", bad_corpus)
    message = str(refused.value)
    assert "duplicate id: 1, malformed line: 2, missing file: 1, not audio: 1" in message
    for part in (
        "line 26: there is no",
        "line 28: 'age' must be a number, not 'x'",
        "line 29: 2 fields, the header has 5",
        "line 30: 'row3' stands in line 5 already",
        "words.wav: not audio",
        "--on-bad-row skip",
    ):
        assert part in message
    assert files_of(tmp_path / "out") <= {f"{WORK}/lock"}


def test_bad_rows_are_left_out_and_counted(bad_corpus: Path, run: Run, tmp_path: Path) -> None:
    audit = run("csv", bad_corpus, on_bad_row="skip")
    assert audit["splits"]["train"]["rows"] == 24
    assert audit["problems"]["count"] == 5
    assert audit["problems"]["kinds"] == {"duplicate id": 1, "malformed line": 2, "missing file": 1, "not audio": 1}
    assert {row["line"] for row in audit["problems"]["rows"]} == {26, 27, 28, 29, 30}
    assert "Left out or put right while preparing: duplicate id: 1" in (tmp_path / "out" / "README.md").read_text()


def test_a_result_is_replaced_only_when_asked_for(corpus: Path, run: Run, tmp_path: Path) -> None:
    run("csv", corpus.parent, test="0.25")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files_of(tmp_path / "out")}
    with pytest.raises(InputError, match="holds a prepared corpus already"):
        run("csv", corpus.parent)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files_of(tmp_path / "out")} == before
    run("csv", corpus.parent, overwrite=True)
    assert files_of(tmp_path / "out") == {"README.md", "audit.json", "train-00000-of-00001.parquet"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear diary")
    with pytest.raises(InputError, match="holds other files .letter.txt."):
        run("csv", corpus.parent, "mine", overwrite=True)


def test_a_broken_file_found_while_writing_keeps_the_whole_shards_for_the_next_run(run: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    folder = tmp_path / "wavs" / "x"
    folder.mkdir(parents=True)
    for i in range(8):
        sf.write(folder / f"{i}.flac", noise.integers(-(2**15), 2**15, 300_000).astype(np.int16), 16_000)
    whole = (folder / "6.flac").read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 4_000] = bytes(4_000)
    (folder / "6.flac").write_bytes(broken)
    options = {"transcode": "flac", "shard_size": 1_500_000}
    with pytest.raises(InputError, match="damaged: 1.*6.flac: truncated or damaged"):
        run("folder", tmp_path / "wavs", **options)
    assert list((tmp_path / "out").glob("*.parquet")) == []
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / WORK / "out").glob("*.parquet")}
    assert len(kept) == 3  # of four, two clips each
    (folder / "6.flac").write_bytes(whole)
    audit = run("folder", tmp_path / "wavs", **options)
    assert audit["splits"]["train"]["rows"] == 8
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in kept} == kept  # not written again
    assert not (tmp_path / "out" / WORK).exists()


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    folder = tmp_path / "wavs" / "x"
    folder.mkdir(parents=True)
    for i in range(60):
        sf.write(folder / f"{i:02d}.wav", noise.integers(-(2**15), 2**15, 480_000).astype(np.int16), 16_000)
    command = [sys.executable, "-m", "hf_speech.cli", "prepare", "folder", "--data-dir", str(tmp_path / "wavs")]
    command += ["--output-dir", str(tmp_path / "out"), "--transcode", "flac", "--shard-size", "3MB"]
    out = tmp_path / "out" / WORK / "out"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("[!.]*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert not (tmp_path / "out" / AUDIT).exists()
    whole = {path.name for path in out.glob("[!.]*.parquet")}
    assert 3 <= len(whole) < 30
    for name in whole:
        assert pq.read_metadata(out / name).num_rows == 2
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("[!.]*.json")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "going on with what an earlier run has written" in done.stderr
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 30
    names = {name.removesuffix(".json") for name in before}
    assert all((tmp_path / "out" / f"{name}.parquet").stat().st_mtime_ns <= before[f"{name}.json"] for name in names)
    assert files_of(tmp_path / "out") == {"README.md", AUDIT} | {f"train-{i:05d}-of-00030.parquet" for i in range(30)}
    rows = load_rows(tmp_path / "out")["train"]
    assert rows["id"] == [f"x/{i:02d}" for i in range(60)]


# --- the command


def test_the_command_says_what_it_wrote(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "csv", "--data-dir", str(corpus.parent), "--test", "0.25"]
    assert main([*words, "--dry-run"]) == 0
    assert "train: 18 rows" in capsys.readouterr().out
    assert main([*words, "--output-dir", str(tmp_path / "o"), "--embed-audio", "no"]) == 0
    assert "train: 18 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vox"], "unknown corpus 'vox'"),
        (["folder"], "give --data-dir"),
        (["folder", "--data-dir", "."], "give --output-dir"),
        (["folder", "--data-dir", "nowhere", "--dry-run"], "nowhere: there is no such folder"),
        (["folder", "--data-dir", ".", "--dry-run", "--embed", "no"], "unknown option 'embed' (did you mean"),
        (["folder", "--data-dir", ".", "--dry-run", "--on-bad-row", "ignore"], "unknown value 'ignore'"),
        (["folder", "--data-dir", ".", "--output-dir", "o", "--shard-size", "9"], "size '9'"),
        (["csv", "--data-dir", ".", "--dry-run", "--config-name", "x"], "there is no such configuration"),
        (["label-list", "--data-dir", ".", "--dry-run"], "label-list: give --label-file"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0
    assert files_of(tmp_path) == set()


@pytest.mark.parametrize("corpus_name", ["folder", "csv", "kaldi", "label-list", "labels-json"])
def test_every_corpus_lists_its_options(corpus_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", corpus_name, "--fields"]) == 0
    assert "--on-bad-row" in capsys.readouterr().out
