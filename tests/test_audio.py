"""Reading, checking and writing sound: kinds of sources, channels, rates, and input that is at fault."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from hf_speech import resampling
from hf_speech.audio import AudioInfo, audio_info, check_audio, read_audio, samples_at, write_audio
from hf_speech.errors import InputError

from .sounds import voice_like, write_av, write_every_format


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_every_format(tmp_path_factory.mktemp("formats"))


def test_real_flac_is_read_as_soundfile_reads_it(speech):
    paths = sorted((speech / "speaker").rglob("*.flac"))[::80]
    assert len(paths) >= 5
    for path in paths:
        expected, rate = sf.read(path, dtype="float32")
        assert rate == 16_000
        waveform = read_audio(path)
        assert waveform.dtype == np.float32 and waveform.flags.c_contiguous
        np.testing.assert_array_equal(waveform, expected)
        assert check_audio(path) == audio_info(path) == AudioInfo(len(expected), 16_000, 1)


def test_every_kind_of_source_gives_the_same(speech):
    import torch

    path = next((speech / "emotion").rglob("*.flac"))
    expected = read_audio(path)
    data = path.read_bytes()
    with open(path, "rb") as file:
        file.seek(100)
        np.testing.assert_array_equal(read_audio(file), expected)
        assert not file.closed
    sources = [str(path), data, bytearray(data), io.BytesIO(data), {"bytes": data, "path": "x.flac"}]
    sources += [{"bytes": None, "path": str(path)}, {"array": expected, "sampling_rate": 16_000}]
    for source in sources:
        np.testing.assert_array_equal(read_audio(source), expected)
    for array in (expected, torch.from_numpy(expected), expected[None], (expected * 32_768).astype(np.int16)):
        np.testing.assert_array_equal(read_audio(array, source_rate=16_000), expected)


def test_channels(tmp_path):
    left, right = voice_like(1.0), voice_like(1.0, seed=1)
    sf.write(tmp_path / "two.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    path = tmp_path / "two.wav"
    np.testing.assert_array_equal(read_audio(path, channel=0), left)
    np.testing.assert_array_equal(read_audio(path, channel=1), right)
    np.testing.assert_allclose(read_audio(path), (left + right) / 2, atol=1e-7)
    np.testing.assert_allclose(read_audio(np.stack([left, right]), source_rate=16_000), (left + right) / 2, atol=1e-7)
    assert audio_info(path).channels == 2
    for wrong in (2, -1):
        with pytest.raises(InputError, match=r"two\.wav: no channel .*it has 2; valid: 'mean', 0, 1"):
            read_audio(path, channel=wrong)
    m4a = write_av(tmp_path / "two.m4a", np.stack([left, np.zeros_like(left)]), 16_000, "ipod", {})
    assert np.abs(read_audio(m4a, channel=0)).max() > 0.2 > 0.01 > np.abs(read_audio(m4a, channel=1)).max()


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_frequency_and_amplitude(tmp_path, rate):
    t = np.arange(2 * rate) / rate
    sf.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * t), rate, subtype="FLOAT")
    tone = read_audio(tmp_path / "tone.wav")
    assert len(tone) == 32_000
    middle = tone[8_000:24_000]  # 1 s: one bin is 1 Hz
    spectrum = np.abs(np.fft.rfft(middle)) / (len(middle) / 2)
    assert np.argmax(spectrum) == 1000
    assert spectrum[1000] == pytest.approx(0.5, rel=0.01)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8_000, 24_000) / 16_000)
    np.testing.assert_allclose(middle, expected, atol=5e-3)  # the phase too: nothing was shifted


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_resampled_crops_equal_slices_and_lengths_are_known_beforehand(rate):
    sound = voice_like(3.0001, rate)
    whole = read_audio(sound, source_rate=rate)
    assert len(whole) == samples_at(audio_info(sound, source_rate=rate))
    for start, duration in [(0.0, 0.5), (0.77777, 1.0), (2.5, None), (2.99, 1.0)]:
        crop = read_audio(sound, source_rate=rate, start=start, duration=duration)
        first = round(start * 16_000)
        expected = whole[first:] if duration is None else whole[first : first + round(duration * 16_000)]
        assert len(crop) == len(expected)
        np.testing.assert_allclose(crop, expected, atol=1e-5)


def test_resampling_is_said_once_a_pair(caplog):
    resampling._resampler.cache_clear()
    sound = voice_like(0.5, 12_000)
    with caplog.at_level(logging.INFO, logger="hf_speech.resampling"):
        for _ in range(3):
            read_audio(sound, source_rate=12_000)
            read_audio(sound, source_rate=16_000)
    assert [record.getMessage() for record in caplog.records] == ["resampling from 12000 Hz to 16000 Hz"]


def wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def test_nan_is_found_where_it_lies():
    sound = voice_like(6.0)
    sound[80_000] = np.nan
    for fault in (check_audio, read_audio, lambda data: check_audio(data, whole=False)):
        with pytest.raises(InputError, match=r"<bytes>: NaN or infinite samples from 5\.000 s"):
            fault(wav(sound))
    assert len(read_audio(wav(sound), duration=4.0)) == 64_000
    sound[80_000] = np.inf
    with pytest.raises(InputError, match="NaN or infinite"):
        read_audio(sound, source_rate=16_000)


BAD_SOURCES = {
    "missing": ("nowhere.wav", r"nowhere\.wav: no such file"),
    "folder": ("/", r"can't be opened"),
    "nothing": (b"", r"<bytes>: empty"),
    "text": (b"this is no sound at all, " * 50, r"<bytes>: not audio"),
    "picture": ({"bytes": b"\x89PNG\r\n\x1a\n" + bytes(100), "path": "x.png"}, r"<bytes of x\.png>: not audio"),
    "playlist": (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "not audio"),
    "head of a wav": (wav(np.zeros(9, np.float32))[:20], "truncated"),
    "no samples": (wav(np.zeros(0, np.float32)), r"no samples \(0 s long\)"),
    "no samples, array": ({"array": np.zeros(0), "sampling_rate": 16_000}, "no samples"),
    "empty struct": ({"bytes": None, "path": None}, "give .*bytes"),
    "number": (7, "int is no sound"),
    "text mode": (io.StringIO("x"), "<file object>: open in text mode"),
    "array without a rate": (np.zeros(100), "give source_rate"),
    "array on its side": ({"array": np.zeros((100, 2)), "sampling_rate": 16_000}, r"give \(samples,\) or \(channels"),
    "array of int64": ({"array": np.zeros(100, np.int64), "sampling_rate": 16_000}, "int64; valid: float"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_sources_are_named(name):
    source, message = BAD_SOURCES[name]
    with pytest.raises(InputError, match=message) as caught:
        read_audio(source)
    assert "\n" not in str(caught.value)


def test_library_errors_are_chained():
    import av

    with pytest.raises(InputError) as caught:
        read_audio(b"no sound" * 100)
    assert isinstance(caught.value.__cause__, av.FFmpegError)


def test_bad_crops_are_named(files):
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="start .*give seconds from 0 up"):
            read_audio(files["wav"], start=bad)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="duration .*above 0"):
            read_audio(files["wav"], duration=bad)
    for suffix in ("wav", "flac", "mp3", "m4a", "aac"):
        with pytest.raises(InputError, match=r"nothing at start 30 s, it (is 20\.\d+ s long|ends before)"):
            read_audio(files[suffix], start=30.0, duration=1.0)
    with pytest.raises(InputError, match="source_rate 8000 was given with PosixPath"):
        read_audio(files["wav"], source_rate=8_000)


def test_too_short_is_refused(files):
    assert check_audio(files["wav"], min_duration=20.3).duration == 20.3
    with pytest.raises(InputError, match=r"20\.300 s long, at least 30\.0 s"):
        check_audio(files["wav"], min_duration=30.0)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sixteen_bits_come_back_unchanged(tmp_path, suffix):
    whole_numbers = np.concatenate([[-32_768, 32_767], np.random.default_rng(0).integers(-32_768, 32_768, 4000)])
    samples = (whole_numbers / 32_768).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    write_audio(path, samples, 22_050)
    np.testing.assert_array_equal(read_audio(path, sample_rate=22_050), samples)
    assert sf.info(path).subtype == "PCM_16" and sf.info(path).samplerate == 22_050
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_writing_refuses_what_it_would_spoil(tmp_path):
    bad = [
        ("a.wav", np.array([0.0, 1.001]), r"a\.wav: the peak is 1\.001"),
        ("a.wav", np.array([0.0, np.nan]), "sample 1 is NaN"),
        ("a.mp3", np.zeros(9), r"can't write \.mp3; valid: \.wav, \.flac"),
        ("a.wav", np.zeros((2, 9)), r"give \(samples,\)"),
        ("a.wav", np.zeros(9, np.int16), "of floats"),
        ("no/a.wav", np.zeros(9), "no folder"),
    ]
    for name, samples, message in bad:
        with pytest.raises(InputError, match=message):
            write_audio(tmp_path / name, samples)
    assert not list(tmp_path.iterdir())


def test_import_is_light():
    code = "import sys, hf_speech.audio; print({'torch', 'torchaudio', 'av', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_resampling_has_its_own_precision(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    sf.write(path, voice_like(1.0, 22_050), 22_050)
    expected = read_audio(path, sample_rate=16_000)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(read_audio(path, sample_rate=16_000), expected)
