"""Reading a crop of 2 s out of the rows of a prepared data set, against decoding the row whole and cutting it.

    python -m benchmarks reading        # two minutes

Recordings of 8 s, put together from the real ones, are prepared as Parquet (embedded flac and m4a), loaded with
`load_dataset`, and read row by row: fetching the row and decoding are both counted. Whole rows are decoded with
soundfile (flac) and with torchcodec (m4a), or with PyAV where torchcodec does not run; both have FFmpeg's decoder. The
crops are the same samples, flac to the bit, m4a to 1e-5. Beside them soundfile seeks in flac, where it is told to.
"""

import io
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from hf_speech.audio import SAMPLE_RATE, encode_audio, read_audio
from hf_speech.corpora.own import own_builder
from hf_speech.corpora.prepare import prepare
from hf_speech.data.readers import load_rows

from .encoder import read
from .rows import Row
from .sample import Sample
from .turns import Way, by_turns, ratio

SECONDS, CROP, ROUNDS, AT_LEAST = 8.0, 2.0, 7, 2.0
CROPPED = round(CROP * SAMPLE_RATE)
EXACT = {"flac": 0.0, "m4a": 1e-5}
Decoder = Callable[[bytes], NDArray]


def as_m4a(waveform: NDArray) -> bytes:
    """AAC in MP4, 16 kHz mono, as VoxCeleb2 comes; without substituted noise, which a decoder draws anew each time."""
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as out:
        stream = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"aac_pns": "0"})
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        cut = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE, frame_size=1024)
        for piece in [*cut.resample(frame), *cut.resample(None), None]:
            out.mux(stream.encode(piece))
    return file.getvalue()


def by_soundfile(content: bytes) -> NDArray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def by_av(content: bytes) -> NDArray:
    with av.open(io.BytesIO(content)) as file:
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


def whole_m4a() -> tuple[str, Decoder]:
    """What decodes m4a here, by name."""
    try:
        from torchcodec.decoders import AudioDecoder
    except Exception:  # a build for CUDA, or for another FFmpeg, ends in whatever its loader raises
        return "PyAV", by_av
    return "torchcodec", lambda content: AudioDecoder(content).get_all_samples().data[0].numpy()


class Crops:
    """The crops of a prepared table, one of each row, by different ways.

    Args:
        waves: what each row holds: (N, T).
        encode: a waveform -> bytes of a file.
        suffix: of such a file.
        folder: for the corpus and the table.
    """

    def __init__(self, waves: NDArray, encode: Callable[[NDArray], bytes], suffix: str, folder: Path) -> None:
        source = folder / "corpus" / "voice"
        source.mkdir(parents=True)
        for i, wave in enumerate(waves):
            (source / f"{i:03d}.{suffix}").write_bytes(encode(wave))
        prepare(own_builder("folder"), "folder", source.parent, folder / "rows", workers=1)
        self.table: Any = load_rows(folder / "rows")["train"]
        self.starts = np.random.default_rng(0).uniform(0, SECONDS - CROP, len(waves))

    def ours(self) -> list[NDArray]:
        """By our reader."""
        pairs = enumerate(self.starts)
        return [read_audio(self.table[i]["audio"], start=start, duration=CROP) for i, start in pairs]

    def cut(self, decode: Decoder) -> list[NDArray]:
        """Out of rows that are decoded whole."""
        return [decode(content)[first : first + CROPPED] for content, first in self._rows()]

    def sought(self) -> list[NDArray]:
        """By soundfile, which seeks if it is told to."""
        return [soundfile.read(io.BytesIO(one), CROPPED, first, dtype="float32")[0] for one, first in self._rows()]

    def _rows(self) -> Iterator[tuple[bytes, int]]:
        for i, start in enumerate(self.starts):
            yield self.table[i]["audio"]["bytes"], round(start * SAMPLE_RATE)


def rows(sample: Sample, rounds: int = ROUNDS) -> list[Row]:
    """All rows of this file.

    Args:
        sample: the recordings, which are joined and cut anew.
        rounds: how often all rows are read each way.
    """
    joined = np.concatenate(read(sample.files))
    each = round(SECONDS * SAMPLE_RATE)
    waves = joined[: len(joined) // each * each].reshape(-1, each)
    name, m4a = whole_m4a()
    kinds: dict[str, tuple[Callable[[NDArray], bytes], str, Decoder]] = {
        "flac": (lambda wave: encode_audio(wave, SAMPLE_RATE, "FLAC"), "soundfile", by_soundfile),
        "m4a": (as_m4a, name, m4a),
    }
    made = []
    for kind, (encode, decoder, decode) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            crops = Crops(waves, encode, kind, Path(folder))
            ways: dict[str, Way] = {"ours": crops.ours, "cut": lambda crops=crops, way=decode: crops.cut(way)}
            if kind == "flac":
                ways["soundfile that seeks"] = crops.sought
                if not all(np.array_equal(a, b) for a, b in zip(crops.ours(), crops.sought(), strict=True)):
                    raise SystemExit("soundfile that seeks reads other samples")
            apart = max(float(np.abs(a - b).max()) for a, b in zip(crops.ours(), crops.cut(decode), strict=True))
            if apart > EXACT[kind]:
                raise SystemExit(f"{kind}: the crops differ by {apart:.1e}")
            times = by_turns(ways, rounds)
        made.append(
            Row(
                f"reading, {kind}",
                f"2 s crops out of rows of 8 s, {kind}",
                f"decoding them whole with {decoder}",
                ratio(times["ours"], times["cut"]),
                AT_LEAST,
                same=f"samples within {apart:.1e}",
                facts={
                    "rows": len(waves),
                    "utterances_per_second": {way: len(waves) / statistics.median(times[way]) for way in times},
                },
            )
        )
    return made
