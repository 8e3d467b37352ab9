"""What visitors give: what can be used, and the sentence for what can't."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_speech.audio import read_audio
from hf_speech.demo.limits import Limits
from hf_speech.demo.recordings import listen_to, rows_of, speech_seconds
from hf_speech.errors import InputError
from hf_speech.samples import sample_files

RATE = 16_000
LIMITS = Limits(max_seconds=10.0, max_megabytes=1.0)


def noise(kind: str) -> np.ndarray:
    """Five seconds of something that is no speech."""
    draw = np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    time = np.arange(5 * RATE) / RATE
    return {
        "white": 0.1 * draw,
        "faint": 0.003 * draw,
        "brown": 0.002 * np.cumsum(draw),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "clicks": 0.8 * (np.arange(5 * RATE) % 4000 == 0),
        "waves": 0.1 * draw * (1 + np.sin(2 * np.pi * 4 * time)),  # at the rate of syllables
    }[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["white", "faint", "brown", "tone", "clicks", "waves"])
def test_noise_is_told_from_speech(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hum.wav"
    sf.write(path, noise(kind), RATE)
    with pytest.raises(InputError, match=r"^No speech is heard in hum\.wav, only noise"):
        listen_to(path, LIMITS)


def test_a_voice_is_heard_at_any_rate_and_in_stereo(tmp_path: Path) -> None:
    (path,) = sample_files(1)
    samples, rate = sf.read(path)
    sf.write(tmp_path / "stereo.wav", np.stack([samples, samples], axis=1), rate)
    plain, stereo = listen_to(path, LIMITS), listen_to(tmp_path / "stereo.wav", LIMITS)
    assert plain.name == Path(path).name and plain.waveform.dtype == np.float32
    assert plain.seconds == stereo.seconds == pytest.approx(len(samples) / rate, abs=1e-3)
    assert 0.5 < plain.spoken <= plain.seconds
    assert np.abs(plain.waveform - stereo.waveform).max() < 1e-4


@pytest.mark.parametrize(("left", "right"), [(1.0, -1.0), (0.5, -1.0)])
def test_a_voice_with_opposite_phases_is_heard(tmp_path: Path, left: float, right: float) -> None:
    (path,) = sample_files(1)
    samples, rate = sf.read(path)
    draw = 0.001 * np.random.default_rng(0).standard_normal(len(samples))
    sf.write(tmp_path / "stereo.wav", np.stack([left * samples, right * samples + draw], axis=1), rate)
    heard = listen_to(tmp_path / "stereo.wav", LIMITS)
    assert heard.spoken == pytest.approx(listen_to(path, LIMITS).spoken, abs=0.1)
    sf.write(tmp_path / "hush.wav", np.zeros((RATE, 2)), RATE)
    with pytest.raises(InputError, match="is silent"):
        listen_to(tmp_path / "hush.wav", LIMITS)


def test_a_model_gets_what_was_read_at_its_own_rate(tmp_path: Path) -> None:
    (path,) = sample_files(1)
    samples, rate = sf.read(path)
    for wanted in (RATE, 44_100):
        sf.write(
            tmp_path / "voice.wav",
            np.interp(np.arange(0, 1, 1 / 44_100), np.arange(rate) / rate, samples[:rate]),
            44_100,
        )
        heard = listen_to(tmp_path / "voice.wav", LIMITS, sample_rate=wanted)
        (row,) = rows_of([heard])
        given = read_audio(row["audio"], sample_rate=wanted)
        np.testing.assert_array_equal(given, read_audio(tmp_path / "voice.wav", sample_rate=wanted))
        assert row["length"] == len(heard.waveform) == RATE and row["path"] == "voice.wav"


def test_all_the_real_speech_has_speech(speech: Path) -> None:
    files = sorted((speech / "speaker").rglob("*.flac"))[::12] + sorted((speech / "emotion").rglob("*.flac"))[::12]
    assert len(files) > 50
    assert all(listen_to(file, Limits()).spoken > 0 for file in files)


def test_detectors_carry_nothing_over() -> None:
    (path,) = sample_files(1)
    voice = listen_to(path, LIMITS)
    assert speech_seconds(noise("white")) == 0
    assert speech_seconds(voice.waveform) == voice.spoken


def wav(path: Path, samples: np.ndarray) -> Path:
    sf.write(path, samples, RATE)
    return path


def test_every_fault_is_one_friendly_sentence(tmp_path: Path) -> None:
    (sample,) = sample_files(1)
    text = tmp_path / "notes.wav"
    text.write_text("These are notes, and no sound at all. " * 40)
    cut = tmp_path / "cut.flac"
    cut.write_bytes(Path(sample).read_bytes()[:9_000])
    long = wav(tmp_path / "long.wav", np.zeros(11 * RATE))
    large = tmp_path / "large.wav"
    large.write_bytes(b"\0" * 1_000_001)
    silent = wav(tmp_path / "silent.wav", np.zeros(RATE))
    hushed = wav(tmp_path / "hushed.wav", 5e-4 * np.sin(np.arange(RATE)))
    short = wav(tmp_path / "short.wav", np.full(200, 0.5))
    empty = tmp_path / "empty.wav"
    empty.touch()
    said = {}
    for path in (text, cut, long, large, silent, hushed, short, empty, tmp_path / "gone.wav"):
        with pytest.raises(InputError) as caught:
            listen_to(path, LIMITS, shortest=0.025)
        said[path.stem] = str(caught.value)
    unreadable = "can't be read as a recording; it may be damaged, or be something else. Please give a sound file"
    assert all(unreadable in said[name] for name in ("notes", "cut", "empty"))
    assert said["long"].startswith("long.wav is too long: 11 seconds. A recording may have 10 seconds at most")
    assert said["large"] == "large.wav is too large. A file may have 1 MB at most."
    assert said["silent"] == "silent.wav is silent. Is the microphone on, and not muted?"
    assert said["hushed"].startswith("hushed.wav is silent")
    assert said["short"] == "short.wav is too short: 0.01 s. Please give at least 0.5 s."
    assert "no longer here" in said["gone"]
    assert not [words for words in said.values() if str(tmp_path) in words or "\n" in words]


def test_a_long_recording_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "hours.wav", np.zeros(60 * RATE))
    monkeypatch.setattr("hf_speech.demo.recordings.read_audio", lambda *a, **k: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="too long: 1 minute"):
        listen_to(path, Limits(max_seconds=10.0))


def test_an_odd_rate_costs_no_memory(tmp_path: Path) -> None:
    """A filter from 11,027 Hz to 16,000 Hz would have gigabytes."""
    (sample,) = sample_files(1)
    samples, _ = sf.read(sample)
    sf.write(tmp_path / "odd.wav", samples, 11_027)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="unusual sampling rate, 11027 Hz. Please save it at 16,000 Hz"):
        listen_to(tmp_path / "odd.wav", LIMITS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_000):
        times = np.arange(0, len(samples) / RATE, 1 / rate)
        sf.write(tmp_path / "usual.wav", np.interp(times, np.arange(len(samples)) / RATE, samples), rate)
        assert listen_to(tmp_path / "usual.wav", LIMITS).spoken > 0.5


def test_the_detector_reports_to_nobody(tmp_path: Path) -> None:
    """onnxruntime notes a session of its telemetry in a file, and does so when it is imported."""
    code = "import sys; from hf_speech.demo.recordings import listen_to; from hf_speech.demo import Limits;"
    code += "print(listen_to(sys.argv[1], Limits()).spoken > 0)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    run = subprocess.run(
        [sys.executable, "-c", code, *sample_files(1)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert run.stdout == "True\n", run.stderr
    assert not list(tmp_path.rglob(".ses"))


def test_other_containers_are_read(tmp_path: Path) -> None:
    import av

    (sample,) = sample_files(1)
    samples, rate = sf.read(sample, dtype="float32")
    for suffix, codec in ((".mp3", "mp3"), (".m4a", "aac"), (".ogg", "libopus"), (".webm", "libopus")):
        path = tmp_path / f"voice{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=16_000 if codec != "libopus" else 48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        heard = listen_to(path, LIMITS)
        assert heard.spoken > 0.5 and abs(heard.seconds - len(samples) / rate) < 0.2, suffix
    shutil.copy(tmp_path / "voice.mp3", tmp_path / "misnamed.wav")
    assert listen_to(tmp_path / "misnamed.wav", LIMITS).spoken > 0.5
