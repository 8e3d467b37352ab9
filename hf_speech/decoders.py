"""Decoders with one face: soundfile (wav, flac, ogg, mp3, SPHERE), PyAV for the others (m4a, aac, webm), arrays.

A decoder is open on one source and makes one pass over it: `blocks(start, stop)` yields what lies between two samples,
decoding as little else as the format allows. `audio.py` is the way in; nothing else needs this file.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile as sf

from .containers import find_shortfall, is_mp4, sphere_packing
from .errors import InputError, one_line

BLOCK = 1 << 16  # samples decoded at a time: 4 s at 16 kHz
ALL = sys.maxsize  # `stop` for "to the end"

# An AAC frame overlaps the one before it, so the first after a seek comes out wrong: 4 are decoded and dropped.
AAC_PREROLL = 4 * 1024
# An MP3 frame may use up to 511 bytes of the frames before it, which are many at low bit rates; libmpg123 looks back at
# too few of them after a seek, so 16 frames are decoded and dropped.
MP3_PREROLL = 16 * 1152
# Containers that FFmpeg may look for: sound only, so that no playlist that opens other files is ever followed.
AV_FORMATS = "mov,matroska,aac,mp3,wav,w64,flac,ogg,aiff,asf,amr,caf,avi,mpegts,mpeg,flv,au,ac3,eac3"


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file says: samples in each channel, samples per second, number of channels."""

    samples: int
    sample_rate: int
    channels: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


class Decoder(Protocol):
    """The face of every decoder.

    Attributes:
        name: what error messages call the source.
        sample_rate: samples per second.
        channels: number of channels.
        exact: whether the header counts the samples; if not, `header_samples` looks at the packets' time
            stamps, right to within a packet.
        slack: samples by which a whole file may fall short of its header (the padding of a last frame).
    """

    name: str
    sample_rate: int
    channels: int
    exact: bool
    slack: int

    def header_samples(self) -> int:
        """Samples in each channel, without decoding any. Where not `exact`, this is the decoder's one pass."""
        ...

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The samples from `start` to before `stop`, or to the end: arrays (samples, channels) float32."""
        ...

    def close(self) -> None:
        """Let go of the library's handle; the file object stays open."""
        ...


def damaged(name: str, why: object) -> InputError:
    """The error for sound that stops being sound on the way."""
    return InputError(f"{name}: truncated or damaged ({one_line(why)}); get the file again or leave it out")


def open_decoder(file: BinaryIO, name: str) -> Decoder:
    """A decoder for a seekable binary file, read from its start.

    Raises:
        InputError: empty, cut short as its own header tells, or no sound that either library can read.
    """
    size = file.seek(0, 2)
    if size == 0:
        raise InputError(f"{name}: empty (0 bytes); get the file again or leave it out")
    packing = sphere_packing(file)
    if packing:
        raise InputError(f"{name}: compressed SPHERE ({packing}); unpack it first with sph2pipe")
    shortfall = find_shortfall(file, size)
    if shortfall:
        raise damaged(name, shortfall)
    if is_mp4(file):  # which libsndfile does not read
        return AvDecoder(file, name, "mp4")
    file.seek(0)
    try:
        sound = sf.SoundFile(file)
    except (sf.SoundFileError, TypeError):  # TypeError: soundfile takes the suffix .raw at its word and asks for a rate
        return AvDecoder(file, name)
    if _counts_samples(sound, file):
        return SoundFileDecoder(sound, name)
    sound.close()
    return AvDecoder(file, name)


class SoundFileDecoder:
    """Decodes through libsndfile, which seeks to the sample in wav, flac and mp3.

    It does not in Ogg: a seek into the last page of a Vorbis stream lands some samples late (64 seen with libsndfile
    1.2.2), one in an Opus stream gives other values. There a crop is decoded from the start of the file to its own end.
    """

    exact = True
    slack = 0

    def __init__(self, sound: sf.SoundFile, name: str) -> None:
        self._sound = sound
        self.name = name
        self.sample_rate = sound.samplerate
        self.channels = sound.channels

    def header_samples(self) -> int:
        """See `Decoder`."""
        return self._sound.frames

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """See `Decoder`."""
        here = 0 if self._sound.format == "OGG" else start
        preroll = MP3_PREROLL if self._sound.format == "MP3" else 0
        try:
            while here < stop:
                back = min(here, preroll)  # before every block: soundfile seeks after each read, in its own way
                if self._sound.tell() != here - back:
                    self._sound.seek(here - back)
                block = self._sound.read(back + min(BLOCK, stop - here), dtype="float32", always_2d=True)[back:]
                if not len(block):
                    return
                here += len(block)
                if here > start:
                    yield block[-(here - start) :]
        except sf.SoundFileError as error:
            raise damaged(self.name, error) from error

    def close(self) -> None:
        """See `Decoder`."""
        self._sound.close()


class AvDecoder:
    """Decodes through FFmpeg's libraries; its name of the container, where that is known, spares looking for it.

    Positions are counted from the first sample of a decode of the whole file, so the encoder's priming, which an MP4
    edit list hides, is never counted. Only AAC-LC in MP4 is sought in: there the time stamps are exact to the sample.
    Elsewhere (raw AAC, WebM in milliseconds) a crop is decoded from the start of the file and stops at its own end.

    One thing depends on where decoding began: bands that AAC codes as mere noise (perceptual noise substitution,
    ISO/IEC 14496-3, 4.6.13) come from a random generator, so there a crop has other noise than the slice of the whole.
    """

    def __init__(self, file: BinaryIO, name: str, kind: str | None = None) -> None:
        import av

        self.name = name
        file.seek(0)
        options = {"format_whitelist": AV_FORMATS}
        try:
            self._container: Any = av.open(file, format=kind, options=options, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            mend = "give a whole file of sound (wav, flac, ogg, mp3, m4a, aac, webm)"
            raise InputError(f"{name}: not audio that soundfile or PyAV can read, or truncated; {mend}") from error
        # The codec context is None for a codec that is not known; a damaged header may say 0 Hz.
        usable = [s for s in self._container.streams.audio if s.codec_context and s.codec_context.sample_rate > 0]
        if not usable:
            self.close()
            raise InputError(f"{name}: there is no sound in it that PyAV can decode; give a whole file of sound")
        self._stream: Any = usable[0]
        codec = self._stream.codec_context
        self.sample_rate = codec.sample_rate
        self.channels = codec.channels
        in_mp4 = "mp4" in self._container.format.name
        self.exact = in_mp4 and bool(self._stream.duration)
        self.slack = 1024  # one AAC frame: the last one is padded, and headers round to milliseconds
        self._origin = self._stream.start_time or 0
        to_the_sample = self._stream.time_base == Fraction(1, self.sample_rate)
        self._seeks = in_mp4 and codec.name == "aac" and codec.profile == "LC" and to_the_sample

    def header_samples(self) -> int:
        """See `Decoder`."""
        import av

        ticks = self._stream.duration
        if not self.exact:
            try:
                packets = [p for p in self._container.demux(self._stream) if p.pts is not None]
            except (av.FFmpegError, ValueError) as error:
                raise damaged(self.name, error) from error
            ticks = max((p.pts + (p.duration or 0) for p in packets), default=self._origin) - self._origin
        return round(ticks * self._stream.time_base * self.sample_rate)

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """See `Decoder`."""
        import av

        if self.exact:
            stop = min(stop, self.header_samples())  # what lies behind is the padding of the last frame
        try:
            for channels in _gathered(self._frames(start, stop)):
                yield channels.T
        except (av.FFmpegError, ValueError) as error:
            raise damaged(self.name, error) from error

    def _frames(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """What lies between two samples, as it comes: (channels, samples), of 0 samples where a frame has none."""
        import av

        to_float = None
        here = None if self._seek_before(start) else 0
        for frame in self._container.decode(self._stream):
            if here is None:
                here = frame.pts - self._origin
            if frame.format.name == "fltp":
                parts = [frame]
            else:
                to_float = to_float or av.AudioResampler(format="fltp")
                parts = to_float.resample(frame)
            for part in parts:
                channels = _channels_of(part)
                yield channels[:, max(start - here, 0) : max(stop - here, 0)]
                here += channels.shape[1]
            if here >= stop:
                return

    def _seek_before(self, start: int) -> bool:
        """Go to a packet some frames before a sample, where that is exact; say whether it was done."""
        if not self._seeks or start <= AAC_PREROLL:
            return False
        self._container.seek(start - AAC_PREROLL + self._origin, stream=self._stream)
        return True

    def close(self) -> None:
        """See `Decoder`."""
        self._container.close()


def _channels_of(frame: Any) -> np.ndarray:
    """A frame of planar floats -> (channels, samples), which are the frame's own where there is one channel."""
    planes = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
    return planes[0][None] if len(planes) == 1 else np.stack(planes)


def _gathered(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Short stretches (channels, samples), such as frames of 20 ms, put together to `BLOCK` samples or a few more.

    Where the number of channels changes on the way, a new stretch begins.
    """
    held: list[np.ndarray] = []
    size = 0
    for part in parts:
        if not part.shape[1]:  # it is not held: it may be a view that keeps a whole frame before the crop
            continue
        if held and (size >= BLOCK or len(held[0]) != len(part)):
            yield np.concatenate(held, axis=1)
            held, size = [], 0
        held.append(part)
        size += part.shape[1]
    if held:
        yield np.concatenate(held, axis=1)


class ArrayDecoder:
    """The same face for samples that are in memory already: an array (samples, channels) float32."""

    exact = True
    slack = 0

    def __init__(self, samples: np.ndarray, sample_rate: int, name: str) -> None:
        self._samples = samples
        self.name = name
        self.sample_rate = sample_rate
        self.channels = samples.shape[1]

    def header_samples(self) -> int:
        """See `Decoder`."""
        return len(self._samples)

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """See `Decoder`."""
        yield self._samples[start:stop]

    def close(self) -> None:
        """See `Decoder`."""


def _counts_samples(sound: sf.SoundFile, file: BinaryIO) -> bool:
    """Whether libsndfile knows the exact number of samples.

    It does not for FLAC written into a pipe (a count of 0 in the header), nor for MP3 without a Xing, Info or VBRI
    frame, where it guesses from the bit rate.
    """
    if sound.format != "MP3":
        return sound.frames < ALL
    place = file.tell()
    file.seek(0)
    head = file.read(10)
    if head[:3] == b"ID3":  # the tag's length: 4 bytes of 7 bits (ID3v2.4, section 3.1)
        file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)))
    head += file.read(4096)
    file.seek(place)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))
