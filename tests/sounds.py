"""Sounds for the tests of audio: one that betrays a wrong place, and writers for every format."""

import io
from pathlib import Path

import numpy as np
import soundfile as sf

FORMATS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "float.wav": {"format": "WAV", "subtype": "FLOAT"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}
AV_CONTAINERS = {
    "m4a": ("ipod", {}),
    "faststart.m4a": ("ipod", {"movflags": "faststart"}),
    "fragmented.mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
    "aac": ("adts", {}),
    "mka": ("matroska", {}),
}


def voice_like(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """A gliding tone in noise: no two places are alike, so a crop from the wrong place is found out."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.3 * np.sin(2 * np.pi * (200 + 40 * t) * t) + 0.02 * noise).astype(np.float32)


def write_av(
    path: Path, waveform: np.ndarray, rate: int, container: str, options: dict[str, str], pns: bool = True
) -> Path:
    """AAC written by PyAV; waveform (samples,) or (channels, samples); pns: noise substitution."""
    import av

    channels = np.atleast_2d(waveform).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    with av.open(str(path), "w", format=container, options=options) as out:
        stream = out.add_stream("aac", rate=rate, layout=layout, options={"aac_pns": str(int(pns))})
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        cut = av.AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=1024)
        for piece in [*cut.resample(frame), *cut.resample(None), None]:
            out.mux(stream.encode(piece))
    return path


def write_lame(path: Path, waveform: np.ndarray, rate: int, options: dict[str, str]) -> Path:
    """MP3 at the encoder's lowest constant rate, where frames borrow many bytes from those before them."""
    import av

    with av.open(str(path), "w", format="mp3", options=options) as out:
        stream = out.add_stream("libmp3lame", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        cut = av.AudioResampler(format="fltp", layout="mono", rate=rate, frame_size=1152 if rate >= 32_000 else 576)
        for piece in [*cut.resample(frame), *cut.resample(None), None]:
            out.mux(stream.encode(piece))
    return path


class CountingFile(io.BytesIO):
    """Counts the bytes that are read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer) -> int:
        size = super().readinto(buffer)
        self.count += size
        return size


def write_every_format(folder: Path) -> dict[str, Path]:
    """20.3 s of the same sound in every format; AAC containers are named like their suffix."""
    sound = voice_like(20.3)
    made = {}
    for suffix, how in FORMATS.items():
        made[suffix] = folder / f"a.{suffix}"
        sf.write(made[suffix], sound, 16_000, **how)
    for suffix, (container, options) in AV_CONTAINERS.items():
        made[suffix] = write_av(folder / f"a.{suffix}", sound, 16_000, container, options)
    return made
