"""Rows made into examples: in order, cut to the sample, with nothing hidden that could not be read."""

import io
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
from datasets import Value

from hf_speech.audio import audio_info, read_audio, samples_at
from hf_speech.corpora.examples import features_of, read_examples
from hf_speech.corpora.lengths import measure
from hf_speech.corpora.listing import list_audio
from hf_speech.data.problems import Problems

from ..sounds import voice_like, write_every_format

COLUMNS = {"start": Value("float64"), "end": Value("float64"), "channel": Value("int64"), "speaker_id": Value("string")}


def examples(
    table: pa.Table, embed_audio: bool = True, transcode: str | None = None
) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """What is read of measured rows, and the problems."""
    problems = Problems("skip")
    measured = measure(table, problems, 1)
    assert not len(problems)
    names = {name: kind for name, kind in COLUMNS.items() if name in table.column_names}
    options = SimpleNamespace(embed_audio=embed_audio, transcode=transcode)
    return list(read_examples(measured, features_of(names, embed_audio), options, problems)), list(map(str, problems))


def heard(example: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Samples (samples, channels) int16 and rate of embedded audio."""
    return sf.read(io.BytesIO(example["audio"]["bytes"]), dtype="int16", always_2d=True)


def stereo(path: Path, seconds: float, rate: int) -> np.ndarray:
    """A file of two differing channels; (samples, 2) int16."""
    sound = np.stack([voice_like(seconds, rate, seed) for seed in (1, 2)], axis=1)
    samples = np.round(sound * 20_000).astype(np.int16)
    sf.write(path, samples, rate)
    return samples


def test_rows_come_in_order_whatever_time_each_takes(tmp_path: Path) -> None:
    """A slow one (two minutes, converted) between many fast ones."""
    paths = []
    for i in range(60):
        paths.append(str(tmp_path / f"{i}.wav"))
        sf.write(paths[-1], np.full(1_920_000 if i % 20 == 0 else 500 + i, i, np.int16), 16_000)
    found, problems = examples(pa.table({"id": [str(i) for i in range(60)], "path": paths}), transcode="flac")
    assert problems == [] and [i for i, _ in found] == list(range(60))
    assert [int(heard(example)[0][0, 0]) for _, example in found] == list(range(60))


def test_bytes_are_as_they_were_unless_something_is_asked_for(tmp_path: Path) -> None:
    formats = write_every_format(tmp_path)
    table = list_audio(tmp_path, Problems(), extensions={path.suffix for path in formats.values()})
    found, _ = examples(table.rename_columns({"name": "id"}))
    assert len(found) == len(formats) == 10
    for _, example in found:
        path = tmp_path / example["id"]
        assert example["audio"] == {"bytes": path.read_bytes(), "path": f"{example['id']}{path.suffix}"}
    converted, _ = examples(table.rename_columns({"name": "id"}), transcode="flac")
    for _, example in converted:
        samples, rate = heard(example)
        wanted = np.clip(np.round(read_audio(tmp_path / example["id"]).astype(np.float64) * 32_768), -32_768, 32_767)
        assert rate == 16_000 and example["audio"]["path"] == f"{example['id']}.flac"
        assert np.array_equal(samples[:, 0], wanted)
        assert abs(len(samples) - example["length"]) <= (0 if example["id"].endswith(("wav", "flac", "ogg")) else 1_152)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_and_channels_at_the_file_s_own_rate(tmp_path: Path, suffix: str, packed: bool) -> None:
    path = tmp_path / "in" / f"a.{suffix}"
    path.parent.mkdir()
    samples = stereo(path, 3.0, 44_100)
    rows = [(None, None, 0), (None, None, 1), (0.5, 1.5, 1), (0.5, None, 0), (None, 0.25, None), (0.0, 3.0, None)]
    starts, ends, channels = (pa.array(cells) for cells in zip(*rows, strict=True))
    where = pa.table({"path": [str(path)]})
    if packed:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
        path.unlink()
        where = list_audio(tmp_path, Problems()).drop_columns(["name"])
    table = where.take(pa.array([0] * len(rows)))
    given = {"id": pa.array([str(i) for i in range(len(rows))]), "start": starts, "end": ends, "channel": channels}
    for name, cells in given.items():
        table = table.append_column(name, cells)
    found, problems = examples(table)
    assert problems == [] and len(found) == len(rows)
    for (start, end, channel), (_, example) in zip(rows, found, strict=True):
        mine, rate = heard(example)
        cut = samples[round((start or 0) * 44_100) : round((3.0 if end is None else end) * 44_100)]
        wanted = cut[:, channel] if channel is not None else cut.mean(axis=1)
        assert rate == 44_100 and mine.shape == (len(wanted), 1)
        assert np.abs(mine[:, 0] - wanted).max() <= (0 if channel is not None else 0.5)
        assert (example["segment_start"], example["segment_end"]) == (start, end)
        assert "start" not in example and "channel" not in example
        assert example["length"] == samples_at(audio_info(example["audio"]))


def test_lengths_of_any_cut_are_those_of_what_is_cut_out(tmp_path: Path) -> None:
    """Ends that fall between samples may round to the other side: one sample at most."""
    rng = np.random.default_rng(0)
    for rate in (8_000, 16_000, 44_100):
        path = tmp_path / f"{rate}.wav"
        sf.write(path, voice_like(5, rate), rate)
        starts = rng.uniform(0, 4, 40)
        ends = np.minimum(starts + rng.uniform(0.03, 3, 40), 5)
        given = {"id": [str(i) for i in range(40)], "path": [str(path)] * 40, "start": starts, "end": ends}
        found, _ = examples(pa.table(given))
        for _, example in found:
            assert abs(samples_at(audio_info(example["audio"])) - example["length"]) <= max(1, 16_000 // rate)


def test_paths_stand_where_audio_is_not_embedded(tmp_path: Path) -> None:
    path = str(tmp_path / "a.wav")
    sf.write(path, voice_like(1), 16_000)
    found, _ = examples(pa.table({"id": ["a"], "path": [path], "start": [0.25], "channel": [0]}), embed_audio=False)
    assert found == [
        (
            0,
            {
                "id": "a",
                "audio": {"bytes": None, "path": path},
                "length": 12_000,
                "duration": 0.75,
                "start": 0.25,
                "channel": 0,
            },
        )
    ]


def test_what_can_not_be_read_is_noted_and_the_others_keep_their_places(tmp_path: Path) -> None:
    """Found only now: a flac damaged within, a channel that is not there, a member whose bytes changed, one gone."""
    contents = {}
    for name in ("0.wav", "1.flac", "2.wav", "3.wav", "4.wav", "5.wav"):
        sf.write(tmp_path / name, voice_like(2, seed=int(name[0])), 16_000)
        contents[name] = (tmp_path / name).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("3.wav", contents["3.wav"])
    (tmp_path / "3.wav").unlink()
    table = list_audio(tmp_path, Problems()).rename_columns({"name": "id"})
    rows = measure(table, Problems(), 1)
    assert len(rows) == 6
    rows = rows.append_column("channel", pa.array([None, None, 7, None, None, None], pa.int64()))
    flac = bytearray(contents["1.flac"])
    flac[len(flac) // 2 : len(flac) // 2 + 500] = bytes(500)
    (tmp_path / "1.flac").write_bytes(flac)
    packed = bytearray((tmp_path / "a.zip").read_bytes())
    packed[30_000] ^= 1
    (tmp_path / "a.zip").write_bytes(packed)
    (tmp_path / "4.wav").unlink()
    for transcode in (None, "flac"):
        problems = Problems("skip")
        options = SimpleNamespace(embed_audio=True, transcode=transcode)
        found = list(read_examples(rows, features_of({}, True), options, problems))
        kept = [0, 1, 5] if transcode is None else [0, 5]  # bytes are not decoded unless they are converted
        assert [i for i, _ in found] == kept
        assert [example["id"] for _, example in found] == [f"{i}.{'flac' if i == 1 else 'wav'}" for i in kept]
        assert problems.counts == {"damaged": 6 - len(kept)}
        files = [problem.file for problem in problems]
        assert files[-3:] == [str(tmp_path / "2.wav"), str(tmp_path / "a.zip" / "3.wav"), str(tmp_path / "4.wav")]
        assert "no channel 7, it has 1" in str(list(problems)[-3])
        assert "damaged in the archive (its CRC-32 differs)" in str(list(problems)[-2])


def test_long_recordings_are_not_all_held_at_once(tmp_path: Path) -> None:
    """40 recordings of 10 minutes, 19 MB each: no more than 20 minutes are read ahead of what was asked for."""
    path = tmp_path / "long.wav"
    sf.write(path, np.zeros(9_600_000, np.int16), 16_000)
    given = {"id": [str(i) for i in range(40)], "path": [str(path)] * 40}
    rows = measure(pa.table(given), Problems(), 1)
    options = SimpleNamespace(embed_audio=True, transcode=None)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_examples(rows, features_of({}, True), options, Problems()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 40 and peak < 6 * 19_200_044
