"""Kaldi folders: files, segments and tables as rows; pipes read natively or refused; SPHERE files written by hand."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_speech.audio import audio_info, read_audio
from hf_speech.data.kaldi import kaldi_rows
from hf_speech.data.problems import Problems
from hf_speech.data.readers import load_rows
from hf_speech.errors import InputError

from ..sphere import sphere_bytes, stereo


def write_folder(folder: Path, **files: str) -> Path:
    """A data folder: name of the file (a dot as "_dot_") -> its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_dot_", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two seconds of wav, a.wav, of two-channel SPHERE, b.sph, and the same cut short, cut.sph."""
    sf.write(tmp_path / "a.wav", stereo(2.0)[:, 0], 8_000)
    (tmp_path / "b.sph").write_bytes(sphere_bytes(stereo(2.0)))
    (tmp_path / "cut.sph").write_bytes(sphere_bytes(stereo(2.0))[:-1_000])
    return tmp_path


def rows_and_problems(folder: Path) -> tuple[list[dict], list[tuple[str, str, int | None]]]:
    problems = Problems()
    rows = kaldi_rows(folder, problems)
    return rows, [(p.kind, Path(p.file).name, p.line) for p in problems]


def test_a_whole_folder(data: Path):
    write_folder(
        data,
        wav_dot_scp="r1 a.wav\nr2 sph2pipe -f wav -p -c 2 b.sph |\n",
        segments="u1 r1 0 0.5\nu2 r2 0.5 1.25\nu3 r2 1.5 -1\n",
        utt2spk="u1 s1\nu2 s2\nu3 s2\n",
        spk2gender="s1 f\ns2 m\ns3 m\n",
        utt2age="u1 31\nu2 47.5\n",
        spk2age="s2 48\n",
        utt2lang="u1 en\nu2 de\nu3 de\n",
        utt2accent="u2 north west\n",
        text="u1 good morning\nu3\n",
        utt2dur="u1 0.5\n",
        spk2utt="s1 u1\ns2 u2 u3\n",
        reco2dur="r1 2.0\n",
    )
    rows, problems = rows_and_problems(data)
    a, b = str(data / "a.wav"), str(data / "b.sph")
    assert not problems
    assert [(row.pop("list_file"), row.pop("list_line")) for row in rows] == [
        (str(data / "segments"), line) for line in (1, 2, 3)
    ]
    assert rows == [
        {"id": "u1", "audio": a, "recording_id": "r1", "start": 0.0, "end": 0.5, "speaker_id": "s1"}
        | {"gender": "female", "age": 31.0, "language": "en", "text": "good morning"},
        {"id": "u2", "audio": b, "recording_id": "r2", "channel": 1, "start": 0.5, "end": 1.25, "speaker_id": "s2"}
        | {"gender": "male", "age": 47.5, "language": "de", "accent": "north west"},
        {"id": "u3", "audio": b, "recording_id": "r2", "channel": 1, "start": 1.5, "end": None, "speaker_id": "s2"}
        | {"gender": "male", "age": 48.0, "language": "de"},
    ]


def test_the_reader_gives_the_same_rows(data: Path):
    write_folder(data, wav_dot_scp="r1 a.wav\nr2 sph2pipe -c 2 b.sph |\n", utt2spk="r1 s1\nr2 s2\n", utt2age="r1 31\n")
    rows = load_rows(data)["train"]
    assert rows.column_names == ["id", "audio", "recording_id", "speaker_id", "age", "channel"]
    assert rows["speaker_id"][:] == ["s1", "s2"] and rows["age"][:] == [31.0, None] and rows["channel"][:] == [None, 1]


PIPES = {
    "sph2pipe -f wav -p -c 1 {}|": 0,
    "sph2pipe -f wav -p -c 2 {} |": 1,
    "/opt/kaldi/tools/sph2pipe_v2.5/sph2pipe -c 2 -p -f rif {} |": 1,
    "sph2pipe -p -c2 -fwav {} |": 1,
    "sph2pipe -f wav '{}' |": None,
    "sph2pipe {} |": None,
}


@pytest.mark.parametrize("pipe", PIPES)
def test_sph2pipe_is_a_file_and_a_channel(data: Path, pipe: str):
    write_folder(data, wav_dot_scp="r " + pipe.format("b.sph") + "\n")
    rows, problems = rows_and_problems(data)
    assert not problems and rows[0]["audio"] == str(data / "b.sph") and rows[0].get("channel") == PIPES[pipe]
    heard = read_audio(rows[0]["audio"], sample_rate=8_000, channel=rows[0].get("channel", "mean"))
    written = stereo(2.0)
    expected = written.mean(axis=1) if PIPES[pipe] is None else written[:, PIPES[pipe]]
    np.testing.assert_allclose(heard, expected, atol=1e-4)


REFUSED = {
    "sox b.sph -t wav - |": ("unsupported pipe", "would run sox;"),
    "flac -cd a.flac |": ("unsupported pipe", "would run flac;"),
    "sph2pipe -f wav -p b.sph | sox -t wav - -r 16k -t wav - |": ("unsupported pipe", "would run sph2pipe and sox;"),
    "sph2pipe -f wav b.sph; touch made |": ("unsupported pipe", "nothing is executed"),
    "sph2pipe -f wav $(touch made) |": ("unsupported pipe", "nothing is executed"),
    "sph2pipe -t 1:2 -f wav b.sph |": ("unsupported pipe", "option -t not recognized"),
    "sph2pipe -f raw b.sph |": ("unsupported pipe", "without a rate"),
    "sph2pipe -f wav -c 0 b.sph |": ("malformed line", "channels count from 1"),
    "sph2pipe -f wav -c one b.sph |": ("malformed line", "channels count from 1"),
    "sph2pipe -f wav -c 3 b.sph |": ("unknown channel", "has 2 channels, there is no number 3"),
    "sph2pipe -f wav -c 1 cut.sph |": ("not audio", "its header says 64000 bytes of sound, 63000 are there"),
    "sph2pipe -f wav a.sph b.sph |": ("malformed line", "with 2 files"),
    "sph2pipe -f wav -p -c 1 no.sph |": ("missing file", "no.sph"),
    "sph2pipe -f wav 'b.sph |": ("malformed line", "quotes"),
    "raw.ark:1234": ("unsupported source", "Kaldi archive"),
    "-": ("unsupported source", "standard input"),
    "no.wav": ("missing file", "no.wav"),
    "": ("malformed line", "names no file"),
}


@pytest.mark.parametrize("entry", REFUSED)
def test_what_is_no_file_is_refused_with_the_reason_and_nothing_is_run(data: Path, entry: str, monkeypatch):
    monkeypatch.chdir(data)
    write_folder(data, wav_dot_scp=f"r1 a.wav\nr2 {entry}\n")
    problems = Problems()
    assert [row["id"] for row in kaldi_rows(data, problems)] == ["r1"]
    (problem,) = problems
    kind, words = REFUSED[entry]
    assert (problem.kind, problem.file, problem.line) == (kind, str(data / "wav.scp"), 2)
    assert words in problem.reason and "r2: " in problem.reason
    assert not (data / "made").exists()


def test_paths_count_from_the_folder_or_else_from_the_current_directory(data: Path, monkeypatch):
    folder = write_folder(data / "train", wav_dot_scp="here x.wav\nthere a.wav\n")
    sf.write(folder / "x.wav", np.zeros(800), 8_000)
    monkeypatch.chdir(data)
    rows, problems = rows_and_problems(folder)
    assert not problems and [row["audio"] for row in rows] == [str(folder / "x.wav"), str(data / "a.wav")]


def test_compressed_sphere_is_refused_by_name(data: Path):
    for coding, name in [("pcm,embedded-shorten-v2.00", "shorten"), ("pcm,embedded-wavpack-v1", "wavpack")]:
        (data / "c.sph").write_bytes(sphere_bytes(stereo(0.5), coding))
        write_folder(data, wav_dot_scp="r sph2pipe -f wav -p -c 1 c.sph |\n")
        problems = Problems()
        assert not kaldi_rows(data, problems)
        (problem,) = problems
        assert problem.kind == "not audio" and f"compressed SPHERE ({name})" in problem.reason
        with pytest.raises(InputError, match=rf"c\.sph: compressed SPHERE \({name}\); unpack it first"):
            audio_info(data / "c.sph")


BAD_LINES = [
    ("segments", "u1 r1 0 1\nu2 r1 1 1\n", "bad time"),
    ("segments", "u1 r1 0 1\nu2 r1 -1 1\n", "bad time"),
    ("segments", "u1 r1 0 1\nu2 r1 1 -2\n", "bad time"),
    ("segments", "u1 r1 0 1\nu2 r1 1 nan\n", "bad time"),
    ("segments", "u1 r1 0 1\nu2 r1 one 2\n", "bad time"),
    ("segments", "u1 r1 0 1\nu2 r1 1\n", "malformed line"),
    ("segments", "u1 r1 0 1\nu2 r1 1 2 x\n", "malformed line"),
    ("segments", "u1 r1 0 1\nu2 r9 1 2\n", "missing file"),
    ("segments", "u1 r1 0 1\nu1 r1 1 2\n", "duplicate id"),
    ("wav.scp", "r1 a.wav\nr1 b.sph\n", "duplicate id"),
    ("utt2spk", "r1 s1\nr9 s2\n", "unknown utterance"),
    ("text", "r1 yes\nr9 no\n", "unknown utterance"),
    ("utt2age", "r1 31\nr2 old\n", "malformed line"),
    ("utt2gender", "r1 f\nr2 x\n", "unknown label"),
    ("utt2labels", "r1 1\nr2 low\n", "malformed line"),
]


@pytest.mark.parametrize(("file", "text", "kind"), BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line(data: Path, file: str, text: str, kind: str):
    write_folder(data, wav_dot_scp="r1 a.wav\nr2 b.sph\n")
    (data / file).write_text(text)
    rows, problems = rows_and_problems(data)
    assert problems == [(kind, file, 2)] and rows


def test_segments_of_a_recording_that_is_missing_are_told_once(data: Path):
    write_folder(
        data,
        wav_dot_scp="r1 a.wav\nr2 no.wav\n",
        segments="u1 r1 0 1\nu2 r2 0 1\nu3 r2 1 2\n",
        utt2spk="u1 s\nu2 s\nu3 s\n",
    )
    rows, problems = rows_and_problems(data)
    assert [row["id"] for row in rows] == ["u1"] and problems == [("missing file", "wav.scp", 2)]


def test_a_channel_in_segments_counts_from_0(data: Path):
    write_folder(
        data,
        wav_dot_scp="r1 b.sph\nr2 sph2pipe -f wav -c 2 b.sph |\n",
        segments="u1 r1 0 1 1\nu2 r2 0 1 0\nu3 r2 0 1 1\n",
    )
    rows, problems = rows_and_problems(data)
    assert [(row["id"], row["channel"]) for row in rows] == [("u1", 1), ("u2", 1)]
    assert problems == [("malformed line", "segments", 3)]


def test_a_folder_without_wav_scp_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"wav\.scp: no such file"):
        kaldi_rows(tmp_path, Problems())
