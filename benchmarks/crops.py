"""What reading a 2 s crop costs from the rows of a prepared data set, beside a crop from a wav file by seeking.

    python -m benchmarks.crops

Recordings of 8 s and of 60 s are prepared as Parquet (embedded wav, flac and m4a), loaded with `load_dataset`, and read
row by row: fetching the row and `read_audio` are both counted. The measure is a ratio of medians in one run, in which
the ways take turns. The file that is sought in is a wav of the same recording, opened anew for each crop, as a data
loader does.
"""

import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile as sf

from hf_speech.audio import SAMPLE_RATE, encode_audio, read_audio
from hf_speech.corpora.own import own_builder
from hf_speech.corpora.prepare import prepare
from hf_speech.data.readers import load_rows
from hf_speech.files import replacing
from hf_speech.results import run_facts

from .limits import hold

OUTPUT = Path(__file__).parent / "results" / "crops.json"
SECONDS = {"8 s": 8.0, "60 s": 60.0}
FILES = 40
CROP = 2.0
ROUNDS = 10
LIMITS = {"wav row / file": 2.5, "flac row / file": 6.0, "flac crop / whole": 0.6, "m4a crop / whole": 0.6}


def recording(seconds: float, seed: int) -> np.ndarray:
    """Speech-like enough for a codec: gliding harmonics with pauses, and noise."""
    generator = np.random.default_rng(seed)
    time_axis = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time_axis + seed)) / SAMPLE_RATE
    voice = sum(np.sin(k * pitch) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 1.3 * time_axis) > -0.5)
    return (0.15 * voice + 0.005 * generator.standard_normal(len(time_axis))).astype(np.float32).clip(-1, 1)


def as_m4a(waveform: np.ndarray) -> bytes:
    """AAC in MP4, 16 kHz mono, as VoxCeleb2 comes."""
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as out:
        stream = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        cut = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE, frame_size=1024)
        for piece in [*cut.resample(frame), *cut.resample(None), None]:
            out.mux(stream.encode(piece))
    return file.getvalue()


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "wav": lambda waveform: encode_audio(waveform, SAMPLE_RATE, "WAV"),
    "flac": lambda waveform: encode_audio(waveform, SAMPLE_RATE, "FLAC"),
    "m4a": as_m4a,
}


def by_seeking(path: Path, start: float) -> np.ndarray:
    """The crop of a wav file, by soundfile itself."""
    with sf.SoundFile(path) as file:
        file.seek(round(start * SAMPLE_RATE))
        return file.read(round(CROP * SAMPLE_RATE), dtype="float32")


def measure(folder: Path, seconds: float) -> dict[str, float]:
    """Median microseconds of each way."""
    rows: dict[str, Any] = {}
    for kind, encode in ENCODERS.items():
        source = folder / kind / "corpus" / "voice"
        source.mkdir(parents=True)
        for i in range(FILES):
            (source / f"{i:03d}.{kind}").write_bytes(encode(recording(seconds, i)))
        prepare(own_builder("folder"), "folder", source.parent, folder / kind / "rows", workers=1)
        rows[kind] = load_rows(folder / kind / "rows")["train"]
    starts = np.random.default_rng(0).uniform(0, seconds - CROP, FILES)
    ways: dict[str, Callable[[int], Any]] = {
        "file": lambda i: by_seeking(folder / "wav" / "corpus" / "voice" / f"{i:03d}.wav", starts[i]),
    }
    for kind, table in rows.items():
        ways[f"{kind} crop"] = lambda i, table=table: read_audio(table[i]["audio"], start=starts[i], duration=CROP)
        ways[f"{kind} whole"] = lambda i, table=table: read_audio(table[i]["audio"])
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for i in range(FILES):
            for name, way in ways.items():
                begun = time.perf_counter()
                way(i)
                if turn:  # the first round fills the caches
                    times[name].append(1e6 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measures and writes."""
    begun = time.perf_counter()
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        for length, seconds in SECONDS.items():
            micro = measure(Path(name) / length.replace(" ", ""), seconds)
            ratios = {f"{kind} row / file": micro[f"{kind} crop"] / micro["file"] for kind in ENCODERS}
            ratios |= {f"{kind} crop / whole": micro[f"{kind} crop"] / micro[f"{kind} whole"] for kind in ENCODERS}
            figures[length] = {"microseconds": micro, "ratios": ratios}
            print(length, *(f"{key} {value:.2f}" for key, value in ratios.items()), sep="  ")
    content = {
        **figures,
        "crop_seconds": CROP,
        "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun),
    }
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    hold(figures["8 s"]["ratios"], LIMITS)


if __name__ == "__main__":
    main()
