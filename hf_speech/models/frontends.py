"""Front ends: waveforms -> log-mel spectra, mel cepstra and their kin, as the systems they come from compute them.

A front end is a part of the model: it takes the raw waveform and has no parameters. It computes in float32, whatever
the precision of the model. No frame mixes an utterance with its padding: where frames reach beyond the end (the centred
kinds), they see there what they would see if the utterance stood alone. Frames in the padding are 0.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frames import conv_frames
from .masking import reflect, zero_padding
from .registry import InputError, unknown_name
from .spectra import (
    NORMS,
    cosine_matrix,
    decibels,
    emphasise,
    frames_of,
    mel_matrix,
    normalise,
    power_spectrum,
    window,
)

Count = TypeVar("Count", int, Tensor)
Number = TypeVar("Number", int, float)

FULL_SCALE = 32_768.0  # Kaldi and dmha-age read 16-bit samples as whole numbers; ours lie in [-1, 1]
KALDI_FLOOR = torch.finfo(torch.float32).eps  # of the energies, under Kaldi's logarithm


class FrontEnd(nn.Module):
    """Base of the front ends: `(waveforms (B, T) float, lengths (B,) int | None) -> (features, counts)`.

    Features are (B, F, output_size) float32 with F = count(T), counts (B,) int the real frames of each utterance, None
    where lengths are None (nothing is padded). Waveforms are mono at `sampling_rate`, in [-1, 1], each of at least
    `min_samples`.

    Args:
        sampling_rate: Hz.
        window_ms: length of the window, milliseconds (whole samples, rounded down).
        hop_ms: from one frame to the next, milliseconds (whole samples, rounded down).
        n_fft: samples of a frame and of its Fourier transform, with the window in their middle; None: a frame is the
            window, and the transform has the next power of two.
        bands: mel filters.
        low: lower edge of the first filter, Hz.
        high: upper edge of the last filter, Hz; 0 or less: so much below half the sampling rate.
        norm: "none", "mean" or "mean+variance" of each utterance, see `spectra.normalise`.

    Attributes:
        output_size: numbers a frame.
        min_samples: samples of the shortest waveform that gives a frame; the first frame's middle is its middle.
        hop: samples from one frame to the next.

    Raises:
        InputError: a value that does not fit; the valid ones are named.
    """

    centred = False  # whether half a frame is added at either end, so that the first frame is centred at 0

    def __init__(
        self,
        sampling_rate: int,
        *,
        window_ms: float,
        hop_ms: float,
        n_fft: int | None,
        bands: int,
        low: float,
        high: float,
        norm: str,
    ) -> None:
        super().__init__()
        check_number("sampling_rate", sampling_rate, 1)
        self.window_size = samples_of("window_ms", window_ms, sampling_rate, least=2)
        self.hop = samples_of("hop_ms", hop_ms, sampling_rate, least=1)
        if n_fft is not None:
            check_number("n_fft", n_fft, self.window_size)
        self.n_fft = n_fft or 2 ** (self.window_size - 1).bit_length()
        self.frame_size = n_fft or self.window_size
        self.edge = self.frame_size // 2 if self.centred else 0
        self.mel = (
            check_number("bands", bands, 1),
            self.n_fft,
            sampling_rate,
            *edges(sampling_rate, low, high),
        )
        if bands > self.n_fft // 2 + 1:
            raise InputError(
                f"front end: bands is {bands}; give at most as many as there are bins, {self.n_fft // 2 + 1}"
            )
        if norm not in NORMS:
            raise unknown_name(norm, NORMS, "norm of a front end")
        self.norm = norm
        self.output_size = bands
        self.min_samples = max(self.frame_size - 2 * self.edge, 1)

    def count(self, samples: Count) -> Count:
        """Frames of waveforms of so many samples, `min_samples` or more."""
        return conv_frames(samples + 2 * self.edge, (self.frame_size,), (self.hop,))

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        counts = None if lengths is None else self.count(lengths)
        with torch.autocast(device_type=waveforms.device.type, enabled=False):
            features = self.features(zero_padding(waveforms.float(), lengths), lengths, counts)
            return self.normalise(features, counts), counts

    def features(self, waveforms: Tensor, lengths: Tensor | None, counts: Tensor | None) -> Tensor:
        """Features before normalisation, of waveforms that are zero in the padding: (B, T) -> (B, F, output_size)."""
        raise NotImplementedError

    def normalise(self, features: Tensor, counts: Tensor | None) -> Tensor:
        """The normalisation that was asked for, with the numbers of the system the front end comes from."""
        return normalise(features, counts, self.norm)

    def power(self, frames: Tensor, name: str) -> Tensor:
        """Power spectra of frames under the window of that name: (B, F, frame_size) -> (B, F, n_fft // 2 + 1)."""
        return power_spectrum(frames * window(name, self.window_size, self.frame_size, frames.device), self.n_fft)

    def bands(self, spectra: Tensor, scale: str, shape: str) -> Tensor:
        """Sums over the mel filters of that scale and shape: (B, F, n_fft // 2 + 1) -> (B, F, bands)."""
        return spectra @ mel_matrix(*self.mel, scale, shape, spectra.device)


class LogMel(FrontEnd):
    """Log-mel spectra of magnitudes, as dmha-age makes them with librosa (India et al., 2007.13199, section 4).

    The waveform in 16-bit numbers, pre-emphasis over the whole of it, Hamming windows, no padding at the ends,
    magnitudes, librosa's default filters (Slaney's scale) with peaks of 1, log(max(1, .)).

    Args:
        preemphasis: y[t] = x[t] - preemphasis x[t - 1]; the first sample counts as its own predecessor.
        scale: what the waveform is multiplied by first.
        sampling_rate, bands, window_ms, hop_ms, n_fft, low, high, norm: see `FrontEnd`.
    """

    def __init__(
        self,
        sampling_rate: int,
        *,
        bands: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        n_fft: int = 512,
        low: float = 0.0,
        high: float = 0.0,
        preemphasis: float = 0.97,
        scale: float = FULL_SCALE,
        norm: str = "mean",
    ) -> None:
        super().__init__(
            sampling_rate, window_ms=window_ms, hop_ms=hop_ms, n_fft=n_fft, bands=bands, low=low, high=high, norm=norm
        )
        self.preemphasis, self.scale = check_number("preemphasis", preemphasis, 0), _check_scale(scale)

    def features(self, waveforms: Tensor, lengths: Tensor | None, counts: Tensor | None) -> Tensor:
        """See the base class."""
        frames = frames_of(emphasise(waveforms * self.scale, self.preemphasis), self.frame_size, self.hop)
        # the least is far below 1, so it is there for the slope of the root alone, which is infinite at 0
        magnitudes = self.power(frames, "hamming").clamp(min=1e-20).sqrt()
        return self.bands(magnitudes, "slaney", "hertz").clamp(min=1.0).log()


class KaldiFbank(FrontEnd):
    """Kaldi's log-mel filter banks, as torchaudio.compliance.kaldi.fbank computes them without dither.

    Frame by frame: the mean is taken off, pre-emphasis, Povey's window, power, triangles on the mel axis, logarithm
    (Kaldi, feat/feature-window.cc and feat/mel-computations.cc). Frames lie within the waveform ("snip edges"), and the
    energy is not added. Kaldi's own default is 23 bands; the systems here take 80.

    Args:
        preemphasis: y[t] = x[t] - preemphasis x[t - 1]; the first sample of a frame counts as its own predecessor.
        scale: what the waveform is multiplied by first.
        sampling_rate, bands, window_ms, hop_ms, low, high, norm: see `FrontEnd`.
    """

    def __init__(
        self,
        sampling_rate: int,
        *,
        bands: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        low: float = 20.0,
        high: float = 0.0,
        preemphasis: float = 0.97,
        scale: float = FULL_SCALE,
        norm: str = "none",
    ) -> None:
        super().__init__(
            sampling_rate, window_ms=window_ms, hop_ms=hop_ms, n_fft=None, bands=bands, low=low, high=high, norm=norm
        )
        self.preemphasis, self.scale = check_number("preemphasis", preemphasis, 0), _check_scale(scale)

    def features(self, waveforms: Tensor, lengths: Tensor | None, counts: Tensor | None) -> Tensor:
        """See the base class."""
        frames = frames_of(waveforms * self.scale, self.frame_size, self.hop)
        frames = emphasise(frames - frames.mean(-1, keepdim=True), self.preemphasis)
        return self.bands(self.power(frames, "povey"), "htk", "mel").clamp(min=KALDI_FLOOR).log()


class Mfcc(FrontEnd):
    """Mel-frequency cepstral coefficients, as torchaudio.transforms.MFCC computes them.

    Hann windows, half a window apart; at the ends the utterance's own reflection; HTK mel bands in decibels, at most 80
    below the utterance's maximum; orthonormal cosine transform. All is torchaudio's default but the number of
    coefficients, which is few-samples', as is the normalisation: the variance is divided by F - 1.

    Args:
        coefficients: how many are kept, the zeroth first.
        sampling_rate, bands, window_ms, hop_ms, n_fft, low, high, norm: see `FrontEnd`.
    """

    centred = True

    def __init__(
        self,
        sampling_rate: int,
        *,
        coefficients: int = 80,
        bands: int = 128,
        window_ms: float = 25.0,
        hop_ms: float = 12.5,
        n_fft: int = 400,
        low: float = 0.0,
        high: float = 0.0,
        norm: str = "mean+variance",
    ) -> None:
        super().__init__(
            sampling_rate, window_ms=window_ms, hop_ms=hop_ms, n_fft=n_fft, bands=bands, low=low, high=high, norm=norm
        )
        if check_number("coefficients", coefficients, 1) > bands:
            raise InputError(
                f"front end: coefficients is {coefficients}; give at most as many as there are bands, {bands}"
            )
        self.output_size = coefficients

    def features(self, waveforms: Tensor, lengths: Tensor | None, counts: Tensor | None) -> Tensor:
        """See the base class."""
        frames = frames_of(reflect(waveforms[:, None], lengths, self.edge, self.edge)[:, 0], self.frame_size, self.hop)
        levels = decibels(self.bands(self.power(frames, "hann"), "htk", "hertz"), counts)
        return levels @ cosine_matrix(levels.shape[-1], self.output_size, levels.device)

    def normalise(self, features: Tensor, counts: Tensor | None) -> Tensor:
        """See the base class."""
        return normalise(features, counts, self.norm, correction=1)


class SpeechBrainFbank(FrontEnd):
    """Log-mel filter banks, as SpeechBrain's `Fbank` and its normalisation of sentences by the mean compute them.

    Hamming windows, zeros beyond the ends; power; triangles over hertz, as wide above their centre as below it;
    decibels, at most 80 below the utterance's maximum (Ravanelli et al., "SpeechBrain", 2106.04624; its ECAPA-TDNN for
    VoxCeleb takes these).

    Args:
        sampling_rate, bands, window_ms, hop_ms, n_fft, low, high, norm: see `FrontEnd`.
    """

    centred = True

    def __init__(
        self,
        sampling_rate: int,
        *,
        bands: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        n_fft: int = 400,
        low: float = 0.0,
        high: float = 0.0,
        norm: str = "mean",
    ) -> None:
        super().__init__(
            sampling_rate, window_ms=window_ms, hop_ms=hop_ms, n_fft=n_fft, bands=bands, low=low, high=high, norm=norm
        )

    def features(self, waveforms: Tensor, lengths: Tensor | None, counts: Tensor | None) -> Tensor:
        """See the base class."""
        frames = frames_of(F.pad(waveforms, (self.edge, self.edge)), self.frame_size, self.hop)
        return decibels(self.bands(self.power(frames, "hamming"), "htk", "symmetric"), counts)


class W2vBertFbank(nn.Module):
    """What w2v-BERT 2.0 takes: Kaldi's filter banks with mean 0 and variance 1, frames stacked in twos.

    Equal to transformers' SeamlessM4TFeatureExtractor: the variance is divided by F - 1, with 1e-7 added, over all
    frames; then those that do not fill a stack are left out, as that extractor's mask leaves them out. The interface is
    that of `FrontEnd`.

    Args:
        sampling_rate: Hz.
        bands: mel filters.
        stack: frames put side by side.
        norm: see `FrontEnd`.
    """

    def __init__(self, sampling_rate: int, *, bands: int = 80, stack: int = 2, norm: str = "mean+variance") -> None:
        super().__init__()
        self.stack = check_number("stack", stack, 1)
        fbank = KaldiFbank(sampling_rate, bands=bands, norm=norm)
        self.norm, fbank.norm = fbank.norm, "none"
        self.fbank = fbank
        self.output_size = stack * bands
        self.hop = stack * fbank.hop
        self.min_samples = fbank.min_samples + (stack - 1) * fbank.hop

    def count(self, samples: Count) -> Count:
        """Frames of waveforms of so many samples, `min_samples` or more."""
        return self.fbank.count(samples) // self.stack

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `FrontEnd`."""
        features, frames = self.fbank(waveforms, lengths)
        features = normalise(features, frames, self.norm, correction=1, floor=0.0, epsilon=1e-7)
        counts = None if frames is None else frames // self.stack
        # joined, not reshaped: an exported graph would then hold for even numbers of frames, or odd ones, alone
        whole = features.shape[1] // self.stack * self.stack
        stacked = torch.cat([features[:, k : whole : self.stack] for k in range(self.stack)], dim=-1)
        return normalise(stacked, counts, "none"), counts  # zeros in a stack that is real in part


def check_number(name: str, value: Number, least: float) -> Number:
    """The value, a number of at least `least`.

    Raises:
        InputError: it is less; names the option.
    """
    if not value >= least:
        raise InputError(f"front end: {name} is {value}; give a number of {least:g} or more")
    return value


def _check_scale(scale: float) -> float:
    """The factor on a waveform; with 0, all would be silent."""
    if not scale > 0:
        raise InputError(f"front end: scale is {scale}; give a number above 0, such as {FULL_SCALE:g}")
    return scale


def samples_of(name: str, milliseconds: float, sampling_rate: int, least: int) -> int:
    """Whole samples in so many milliseconds.

    Raises:
        InputError: they are fewer than `least`; names the option.
    """
    samples = int(check_number(name, milliseconds, 0) * sampling_rate / 1000)
    if samples < least:
        raise InputError(
            f"front end: {name} is {milliseconds}, {samples} samples at {sampling_rate} Hz; "
            f"give {1000 * least / sampling_rate:g} or more"
        )
    return samples


def edges(sampling_rate: int, low: float, high: float) -> tuple[float, float]:
    """Lower and upper edge of the mel filters in Hz; see `FrontEnd`.

    Raises:
        InputError: they do not lie, in this order, between 0 and half the sampling rate.
    """
    half = sampling_rate / 2
    low, high = check_number("low", low, 0), check_number("high", high, -half)
    top = high if high > 0 else half + high
    if not low < top <= half:
        raise InputError(
            f"front end: filters from low={low:g} to high={high:g} Hz do not exist at {sampling_rate} Hz; "
            f"give 0 <= low < high <= {half:g}"
        )
    return float(low), float(top)


FRONTENDS = {
    "log-mel": LogMel,
    "kaldi-fbank": KaldiFbank,
    "mfcc": Mfcc,
    "speechbrain-fbank": SpeechBrainFbank,
    "w2v-bert-fbank": W2vBertFbank,
}
