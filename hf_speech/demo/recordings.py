"""What a visitor gave -> a recording that a model can be asked about, or a sentence that says why not.

Messages are for people who do not know what a sampling rate is: they name the file and say what to do.
"""

import io
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from datasets import Audio, Dataset
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE, audio_info, read_audio
from ..errors import InputError
from ..telemetry import keep_quiet
from .limits import Limits

FORMATS = "WAV, FLAC, MP3, M4A, OGG or WebM"
SHORTEST = 0.5  # seconds; in less the detector finds no speech even where there is some
# A filter between two rates has as many parts as the rate has without what it shares with 16,000 (44,100 Hz: 441).
ODDEST_RATE = 1_000
QUIETEST = 1e-3  # full scale is 1: what never gets louder (-60 dB) is taken for silence
_vad_lock = threading.Lock()  # the detector carries its state from call to call


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording with somebody's voice in it.

    Attributes:
        name: what the visitor calls it.
        sound: (samples,) float32 at the model's rate.
        sample_rate: that rate, Hz.
        waveform: the same at 16,000 Hz.
        spoken: seconds of speech in it.
    """

    name: str
    sound: NDArray
    sample_rate: int
    waveform: NDArray
    spoken: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.waveform) / SAMPLE_RATE


def listen_to(path: str | Path, limits: Limits, shortest: float = 0.0, sample_rate: int = SAMPLE_RATE) -> Recording:
    """Reads a recording, no further than it may be long, and each sample once.

    Channels are averaged. Where that leaves no speech, as opposite phases cancel each other, the louder of the first
    two channels is taken, which costs another reading of each.

    Args:
        path: of a file.
        limits: of the page.
        shortest: what the model needs, seconds.
        sample_rate: the model's, Hz.

    Raises:
        InputError: it is too large, too long, too short, no sound, silent, or without any speech; in a sentence for
            whoever gave it.
    """
    place = Path(path)
    name = place.name
    if not place.is_file():
        raise InputError("The recording is no longer here: it was deleted after a while. Please give it again.")
    if place.stat().st_size > limits.max_megabytes * 1e6:
        raise InputError(f"{name} is too large. A file may have {limits.max_megabytes:g} MB at most.")
    sound, channels = _read(place, limits, sample_rate)
    length, least = len(sound) / sample_rate, max(shortest, SHORTEST)
    if length < least:
        wanted = math.ceil(10 * least) / 10
        raise InputError(f"{name} is too short: {length:.2f} s. Please give at least {wanted:.1f} s.")
    waveform = _at_16k(sound, sample_rate)
    spoken = speech_seconds(waveform)
    if not spoken and channels > 1:
        sound = max((read_audio(place, sample_rate=sample_rate, channel=channel) for channel in (0, 1)), key=_peak)
        waveform = _at_16k(sound, sample_rate)
        spoken = speech_seconds(waveform)
    if _peak(waveform) < QUIETEST:
        raise InputError(f"{name} is silent. Is the microphone on, and not muted?")
    if not spoken:
        raise InputError(
            f"No speech is heard in {name}, only noise or other sounds. Please give a recording of a voice."
        )
    return Recording(name, sound, sample_rate, waveform, spoken)


def _read(place: Path, limits: Limits, sample_rate: int) -> tuple[NDArray, int]:
    """The sound of a file, its channels averaged, and how many they are.

    Raises:
        InputError: it is no sound, too long, or of a rate that costs too much to change.
    """
    name, sound = place.name, None
    try:
        info = audio_info(place)
        length = info.duration  # of one that says it is long nothing is decoded, of one that lies no more than may be
        odd = info.sample_rate // math.gcd(info.sample_rate, sample_rate) > ODDEST_RATE
        if length <= limits.max_seconds and not odd:
            sound = read_audio(place, sample_rate=sample_rate, duration=limits.max_seconds + 1)
            length = len(sound) / sample_rate
    except InputError as error:
        raise InputError(
            f"{name} can't be read as a recording; it may be damaged, or be something else. "
            f"Please give a sound file, such as {FORMATS}."
        ) from error
    if length > limits.max_seconds:
        said = in_minutes(length if info.duration > limits.max_seconds else limits.max_seconds)
        raise InputError(
            f"{name} is too long: {said}{'' if info.duration > limits.max_seconds else ' and more'}. A recording may "
            f"have {in_minutes(limits.max_seconds)} at most; please give a part of it."
        )
    if sound is None:
        raise InputError(f"{name} has an unusual sampling rate, {info.sample_rate} Hz. Please save it at 16,000 Hz.")
    return sound, info.channels


def rows_of(heard: Sequence[Recording]) -> Dataset:
    """Recordings as rows that a model is asked about: what was read of them, so that no file is read again."""
    sounds = []
    for one in heard:
        file = io.BytesIO()
        sf.write(file, one.sound, one.sample_rate, format="WAV", subtype="FLOAT")
        sounds.append({"bytes": file.getvalue(), "path": one.name})
    columns = {
        "audio": sounds,
        "path": [one.name for one in heard],
        "length": [len(one.waveform) for one in heard],
        "duration": [one.seconds for one in heard],
    }
    return Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))


def _at_16k(sound: NDArray, sample_rate: int) -> NDArray:
    return read_audio(sound, source_rate=sample_rate)


def _peak(waveform: NDArray) -> float:
    return float(np.abs(waveform).max())


def speech_seconds(waveform: NDArray) -> float:
    """How long somebody speaks: (samples,) at 16,000 Hz -> seconds.

    In silence nobody does. Else by Silero's voice activity detector at its default threshold (Silero Team, 2024,
    github.com/snakers4/silero-vad). Measured once on 389 recordings of read, acted and meeting speech, it found speech
    in every one, and none in white and brown noise, tones and clicks; the tests hold it to every twelfth of them.
    """
    if _peak(waveform) < QUIETEST:
        return 0.0
    keep_quiet()
    import torch
    from silero_vad import get_speech_timestamps

    samples = torch.from_numpy(waveform)
    with _vad_lock:
        spans = get_speech_timestamps(samples, _detector(), sampling_rate=SAMPLE_RATE)
    return sum(span["end"] - span["start"] for span in spans) / SAMPLE_RATE


def in_minutes(seconds: float) -> str:
    """A length in words.

    >>> in_minutes(45), in_minutes(60), in_minutes(600), in_minutes(95)
    ('45 seconds', '1 minute', '10 minutes', '1 minute 35 seconds')
    """
    minutes, rest = divmod(round(seconds), 60)
    words = [f"{count} {unit}{'s' if count != 1 else ''}" for count, unit in ((minutes, "minute"), (rest, "second"))]
    return " ".join(word for word, count in zip(words, (minutes, rest), strict=True) if count) or words[1]


@cache
def _detector() -> Any:
    keep_quiet()
    from silero_vad import load_silero_vad

    return load_silero_vad(onnx=True)
