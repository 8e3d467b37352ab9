"""The shipped synthetic voices: complete, small, leak-free, learnable, and made by their script."""

import csv
from itertools import combinations

import numpy as np
import pytest

from hf_speech.audio import check_audio, read_audio
from hf_speech.errors import InputError
from hf_speech.samples import make_samples, sample_corpus

FOLDER = sample_corpus().parent


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(sample_corpus(), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_and_rows_agree(rows):
    assert tuple(rows[0]) == make_samples.COLUMNS
    assert {row["path"] for row in rows} == {f"audio/{path.name}" for path in (FOLDER / "audio").iterdir()}
    for row in rows:
        info = check_audio(FOLDER / row["path"])
        assert (info.sample_rate, info.channels) == (16_000, 1)
        assert 1.0 < info.duration < 2.5
        assert info.samples == round(float(row["duration"]) * 16_000)


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in (FOLDER / "audio").iterdir()) < 3_000_000


def test_splits_share_no_sentence_and_all_voices_speak_all_of_them(rows):
    texts = {split: {row["text"] for row in rows if row["split"] == split} for split in ("train", "validation", "test")}
    for first, second in combinations(texts.values(), 2):
        assert not first & second
    speakers = {row["speaker_id"] for row in rows}
    assert len(speakers) == 8
    assert {row["gender"] for row in rows} == {"female", "male"}
    for speaker in speakers:
        spoken = [(row["split"], row["text"]) for row in rows if row["speaker_id"] == speaker]
        assert sorted(spoken) == sorted((split, text) for split, said in texts.items() for text in said)


def test_no_two_files_are_alike(rows):
    assert len({read_audio(FOLDER / row["path"]).tobytes() for row in rows}) == len(rows)


def test_loudness_gives_no_voice_away(rows):
    peaks = [np.abs(read_audio(FOLDER / row["path"])).max() for row in rows]
    np.testing.assert_allclose(peaks, make_samples.PEAK, atol=1e-3)


def test_a_simple_probe_tells_the_voices_apart_on_unheard_sentences(rows):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(path: str) -> np.ndarray:
        """Mean and deviation of 40 bands of the log power spectrum, 25 ms frames every 10 ms."""
        frames = np.lib.stride_tricks.sliding_window_view(read_audio(FOLDER / path), 400)[::160] * np.hanning(400)
        power = np.abs(np.fft.rfft(frames))[:, :200] ** 2
        bands = np.log(power.reshape(len(frames), 40, 5).mean(2) + 1e-6)
        return np.concatenate([bands.mean(0), bands.std(0)])

    sets = {}
    for split in ("train", "test"):
        chosen = [row for row in rows if row["split"] == split]
        sets[split] = np.stack([features(row["path"]) for row in chosen]), [row["speaker_id"] for row in chosen]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*sets["train"])
    assert probe.score(*sets["test"]) >= 0.9


@pytest.mark.skipif(
    make_samples.espeak_version() != make_samples.ESPEAK_VERSION,
    reason=f"espeak-ng {make_samples.ESPEAK_VERSION} is not installed: another version speaks a little differently",
)
def test_the_script_makes_these_very_samples(tmp_path, rows):
    for voice in make_samples.VOICES:
        row = next(row for row in rows if row["speaker_id"] == voice.speaker_id and row["split"] == "test")
        made, shipped = make_samples.speak(voice, row["text"]), read_audio(FOLDER / row["path"])
        # Half a step of 16 bits is rounding; the rest leaves room for another processor's resampling.
        np.testing.assert_allclose(made, shipped, atol=1 / 32_768)


def test_without_espeak_the_mend_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install espeak-ng"):
        make_samples.make_samples(tmp_path / "out")
    assert make_samples.main([str(tmp_path / "out")]) == 2
