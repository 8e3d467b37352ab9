"""Sound from anywhere -> mono float32 waveform at the model's rate; only the wanted crop is read.

`read_audio` takes whatever holds sound: a path, bytes, a binary file object, an array with its rate, or the struct that
`datasets` stores. `audio_info` reads the header only; `check_audio` finds what is broken; `write_audio` writes wav or
flac.
"""

import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import soundfile as sf

from .containers import SPHERE
from .decoders import ALL, BLOCK, ArrayDecoder, AudioInfo, Decoder, damaged, open_decoder
from .errors import InputError
from .files import replacing
from .models.frames import conv_frames, hop, receptive_field
from .resampling import resample, resampling_margin

__all__ = [
    "SAMPLE_RATE",
    "AudioInfo",
    "audio_info",
    "check_audio",
    "conv_frames",
    "encode_audio",
    "hop",
    "read_audio",
    "receptive_field",
    "samples_at",
    "samples_to_seconds",
    "seconds_to_samples",
    "write_audio",
]

SAMPLE_RATE = 16_000  # Hz; what the pretrained speech encoders were trained on
WRITERS = {".wav": "WAV", ".flac": "FLAC"}
INT_SCALES = {np.dtype(np.int16): 1 << 15, np.dtype(np.int32): 1 << 31}

# A path, bytes, a binary file object, an array, or datasets' struct: typed loosely, since torch is not imported here.
Source = Any


def seconds_to_samples(seconds: float, sample_rate: int = SAMPLE_RATE) -> int:
    """The nearest whole number of samples.

    >>> seconds_to_samples(0.0125)
    200
    """
    return round(seconds * sample_rate)


def samples_to_seconds(samples: int, sample_rate: int = SAMPLE_RATE) -> float:
    """So many samples in seconds.

    >>> samples_to_seconds(400)
    0.025
    """
    return samples / sample_rate


def samples_at(info: AudioInfo, sample_rate: int = SAMPLE_RATE) -> int:
    """Length in samples that `read_audio` gives at a rate, from the header alone (rounded to the nearest).

    >>> samples_at(AudioInfo(samples=44_101, sample_rate=44_100, channels=2))
    16000
    """
    return round(info.samples * sample_rate / info.sample_rate)


def read_audio(
    source: Source,
    *,
    sample_rate: int = SAMPLE_RATE,
    start: float = 0.0,
    duration: float | None = None,
    channel: int | Literal["mean"] = "mean",
    source_rate: int | None = None,
) -> np.ndarray:
    """The waveform of a source, or of a crop of it.

    A crop at a changed rate is resampled with some context at each side and then trimmed, so it equals the same slice
    of the whole.

    Args:
        source: a path; bytes of a file; a binary file object (read from its start, left open); an array (samples,) or
            (channels, samples), float in [-1, 1] or int16 or int32; a dict {"bytes", "path"} or
            {"array", "sampling_rate"}.
        sample_rate: wanted samples per second.
        start: where the crop begins, in seconds.
        duration: length of the crop in seconds; None: to the end.
        channel: which channel (from 0), or "mean" of all.
        source_rate: samples per second of an array; a file tells its own.

    Returns:
        (samples,) float32, contiguous: min(round(duration * sample_rate), what is there) samples.

    Raises:
        InputError: missing, empty, truncated, no sound, NaN or infinite samples, no such start or channel.

    Example:
        >>> from hf_speech.samples import sample_files
        >>> waveform = read_audio(sample_files(1)[0], start=0.25, duration=0.5)
        >>> waveform.shape, waveform.dtype.name
        ((8000,), 'float32')
    """
    if sample_rate < 1:
        raise InputError(f"sample_rate {sample_rate}: give a whole number of Hz from 1 up")
    if not 0 <= start < math.inf:
        raise InputError(f"start {start}: give seconds from 0 up")
    if duration is not None and not 0 < duration < math.inf:
        raise InputError(f"duration {duration}: give seconds above 0, or None for all")
    first = seconds_to_samples(start, sample_rate)
    count = None if duration is None else seconds_to_samples(duration, sample_rate)
    if count == 0:
        raise InputError(f"duration {duration}: shorter than one sample at {sample_rate} Hz")
    with _opened(source, source_rate) as decoder:
        if channel != "mean" and channel not in range(decoder.channels):
            valid = ", ".join(["'mean'", *map(str, range(decoder.channels))])
            raise InputError(f"{decoder.name}: no channel {channel!r}, it has {decoder.channels}; valid: {valid}")
        waveform = _read_crop(decoder, sample_rate, first, count, channel)
    return np.ascontiguousarray(waveform, dtype=np.float32)


def audio_info(source: Source, *, source_rate: int | None = None) -> AudioInfo:
    """Samples, rate and channels from the header; nothing is decoded.

    Raw AAC, WebM and MP3 without a length in their header are measured by the time stamps of their packets: right to
    within a packet (about 20 ms).

    Raises:
        InputError: as `read_audio`.
    """
    with _opened(source, source_rate) as decoder:
        return AudioInfo(decoder.header_samples(), decoder.sample_rate, decoder.channels)


def is_sphere(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as NIST SPHERE does, which is what sph2pipe unpacks."""
    with open(path, "rb") as file:
        return file.read(len(SPHERE)) == SPHERE


def check_audio(source: Source, *, whole: bool = True, min_duration: float = 0.0) -> AudioInfo:
    """Find out whether a source is sound from end to end.

    Args:
        source: as for `read_audio`, but no bare array.
        whole: decode everything, block by block in constant memory. False: check the header against the size of the
            file and decode only the last block (nothing where the header does not count the samples).
        min_duration: the shortest length that is accepted, in seconds.

    Returns:
        What the header says, or what was counted where it does not say.

    Raises:
        InputError: truncated, damaged, NaN or infinite, no samples, shorter than `min_duration`.
    """
    with _opened(source) as decoder:
        if whole and not decoder.exact:
            samples = _count_decoded(decoder, 0, ALL)
        else:
            samples = decoder.header_samples()
        if decoder.exact and samples:
            begin = 0 if whole else max(0, samples - BLOCK)
            _require_whole(decoder, begin + _count_decoded(decoder, begin, samples), samples)
        info = AudioInfo(samples, decoder.sample_rate, decoder.channels)
        if samples == 0:
            raise _no_samples(decoder)
        if info.duration < min_duration:
            raise InputError(
                f"{decoder.name}: {info.duration:.3f} s long, at least {min_duration} s are wanted; leave it out"
            )
    return info


def write_audio(path: str | os.PathLike[str], waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write mono sound as 16-bit wav or flac, whichever the suffix says; a file is there whole or not at all.

    Samples that came from 16 bits are written back unchanged (scale 32,768; +1.0 itself becomes 32,767).

    Args:
        path: where to; an existing file is replaced.
        waveform: (samples,) float in [-1, 1].
        sample_rate: samples per second.

    Raises:
        InputError: another suffix, another shape, no folder, NaN or infinite, or values that would be clipped.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: can't write {path.suffix or 'a file without suffix'}; valid: {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    content = encode_audio(waveform, sample_rate, WRITERS[path.suffix.lower()], str(path))
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def encode_audio(waveform: np.ndarray, sample_rate: int, format: str = "FLAC", name: str = "<array>") -> bytes:
    """The bytes of a 16-bit wav or flac file of mono sound; scale as in `write_audio`.

    Args:
        waveform: (samples,) float in [-1, 1].
        sample_rate: samples per second.
        format: "FLAC" or "WAV".
        name: what messages call the waveform.

    Raises:
        InputError: another shape, NaN or infinite, or values that would be clipped.
    """
    samples = np.asarray(waveform)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"{name}: an array {samples.shape} {samples.dtype} was given; give (samples,) of floats")
    if not np.isfinite(samples).all():
        raise InputError(
            f"{name}: sample {np.argmin(np.isfinite(samples))} is NaN or infinite; mend the waveform first"
        )
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 1:
        raise InputError(f"{name}: the peak is {peak:.3f} and would be clipped; scale the waveform into [-1, 1]")
    whole_numbers = np.minimum(np.round(samples.astype(np.float64) * 32_768), 32_767).astype(np.int16)
    file = io.BytesIO()
    sf.write(file, whole_numbers, sample_rate, format=format, subtype="PCM_16")
    return file.getvalue()


def _read_crop(
    decoder: Decoder, sample_rate: int, first: int, count: int | None, channel: int | Literal["mean"]
) -> np.ndarray:
    """`count` samples from `first` on, both counted at `sample_rate`."""
    whole = AudioInfo(decoder.header_samples(), decoder.sample_rate, decoder.channels) if decoder.exact else None
    if whole and first >= samples_at(whole, sample_rate):
        raise _beyond_the_end(decoder, first / sample_rate)
    step = math.gcd(decoder.sample_rate, sample_rate)
    old, new = decoder.sample_rate // step, sample_rate // step
    margin = resampling_margin(old, new)
    # On a multiple of `old` the two grids of samples coincide, so the crop is resampled in phase with the whole.
    begin = max(0, first * old // new - margin) // old * old
    stop = ALL if count is None else math.ceil((first + count) * old / new) + margin
    blocks = [_to_mono(block, channel) for block in decoder.blocks(begin, stop)]
    heard = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    end = begin + len(heard)
    if whole:
        _require_whole(decoder, end, min(stop, whole.samples))
    _require_finite(decoder, heard, begin)
    if old != new and len(heard):
        heard = resample(heard, decoder.sample_rate, sample_rate)
    until = round(end * new / old) if count is None else min(first + count, round(end * new / old))
    offset = begin * new // old
    if until <= first:
        raise _beyond_the_end(decoder, first / sample_rate)
    return heard[first - offset : until - offset]


def _to_mono(block: np.ndarray, channel: int | Literal["mean"]) -> np.ndarray:
    """(samples, channels) -> (samples,)."""
    if channel == "mean":
        return block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
    return block[:, channel]


def _count_decoded(decoder: Decoder, begin: int, stop: int) -> int:
    """Decode, look for NaN, and forget: the number of samples that were there."""
    here = begin
    for block in decoder.blocks(begin, stop):
        _require_finite(decoder, block, here)
        here += len(block)
    return here - begin


def _require_whole(decoder: Decoder, end: int, wanted: int) -> None:
    if end < wanted - decoder.slack:
        raise damaged(decoder.name, f"its header says {decoder.header_samples()} samples, it ends after {end}")


def _require_finite(decoder: Decoder, samples: np.ndarray, begin: int) -> None:
    """Refuse NaN and infinity; samples (n,) or (n, channels), the first of which lies at `begin`."""
    finite = np.isfinite(samples)
    if not finite.all():
        at = (begin + int(np.argwhere(~finite)[0, 0])) / decoder.sample_rate
        raise InputError(
            f"{decoder.name}: NaN or infinite samples from {at:.3f} s on; write the file again or leave it out"
        )


def _no_samples(decoder: Decoder) -> InputError:
    return InputError(f"{decoder.name}: no samples (0 s long); get the file again or leave it out")


def _beyond_the_end(decoder: Decoder, start: float) -> InputError:
    if start == 0:
        return _no_samples(decoder)
    long = f"is {decoder.header_samples() / decoder.sample_rate:.3f} s long" if decoder.exact else "ends before"
    return InputError(f"{decoder.name}: nothing at start {start:g} s, it {long}; give an earlier start")


@contextmanager
def _opened(source: Source, source_rate: int | None = None) -> Iterator[Decoder]:
    """A decoder for any source, closed at the end; what was handed in open stays open."""
    with ExitStack() as stack:
        if isinstance(source, Mapping):
            source, source_rate, name = _unpack_struct(source, source_rate)
        else:
            name = None
        if hasattr(source, "__array__"):
            decoder: Decoder = _array_decoder(source, source_rate, name or "<array>")
        elif source_rate is not None:
            raise InputError(
                f"source_rate {source_rate} was given with {type(source).__name__}: it is for arrays alone"
            )
        else:
            decoder = open_decoder(*_binary_file(source, name, stack))
        yield stack.enter_context(closing(decoder))


def _unpack_struct(struct: Mapping[str, Any], source_rate: int | None) -> tuple[Source, int | None, str | None]:
    """What datasets stores -> the source in it, the rate of an array, its name (None: the source's own)."""
    path = struct.get("path")
    if struct.get("array") is not None:
        return (
            np.asarray(struct["array"]),
            struct.get("sampling_rate", source_rate),
            f"<array of {path}>" if path else None,
        )
    if struct.get("bytes") is not None:
        return struct["bytes"], source_rate, f"<bytes of {path}>" if path else None
    if path is None:
        raise InputError(
            f"audio struct with {sorted(struct)}: give {{'bytes', 'path'}} or {{'array', 'sampling_rate'}}"
        )
    return path, source_rate, None


def _binary_file(source: Source, name: str | None, stack: ExitStack) -> tuple[BinaryIO, str]:
    """A seekable binary file of a source, and what to call it."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), name or "<bytes>"
    if isinstance(source, str | os.PathLike):
        try:
            return stack.enter_context(open(source, "rb")), str(source)
        except FileNotFoundError as error:
            raise InputError(f"{source}: no such file; check the path (now in {os.getcwd()})") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{source}: can't be opened ({error}); give a file that may be read") from error
    if hasattr(source, "read") and hasattr(source, "seekable") and source.seekable():
        if isinstance(source, io.TextIOBase):
            raise InputError(f"{getattr(source, 'name', '<file object>')}: open in text mode; open it with 'rb'")
        return cast(BinaryIO, source), str(getattr(source, "name", "<file object>"))
    kinds = "a path, bytes, a seekable binary file, an array with its rate, or an audio struct"
    raise InputError(f"{type(source).__name__} is no sound; give {kinds}")


def _array_decoder(source: Source, source_rate: int | None, name: str) -> ArrayDecoder:
    """(samples,) or (channels, samples) of numpy or torch, float or int16 or int32."""
    if source_rate is None or source_rate < 1:
        raise InputError(f"{name}: an array needs its rate; give source_rate (Hz)")
    if hasattr(source, "detach"):  # a torch tensor; numpy has no bfloat16
        source = source.detach().cpu()
        source = source.float() if source.is_floating_point() else source
    samples = np.asarray(source)
    if samples.dtype in INT_SCALES:
        samples = samples / np.float32(INT_SCALES[samples.dtype])
    if not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"{name}: samples of type {samples.dtype}; valid: float in [-1, 1], int16, int32")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] > samples.shape[1]):
        raise InputError(f"{name}: shape {samples.shape}; give (samples,) or (channels, samples)")
    return ArrayDecoder(np.atleast_2d(samples).T.astype(np.float32), int(source_rate), name)
