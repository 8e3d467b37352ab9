"""What is done to the waveforms of a batch, in torch, on whatever device they lie; nothing here is random.

Every function takes waveforms (B, T) float32 that are 0 from their lengths (B,) on, and gives new ones of that shape, 0
there as well. No row hangs on another, nor on its padding: alone and in any batch it comes out the same, to within the
rounding of a Fourier transform of another size.
"""

import torch
from torch import Tensor

TELEPHONE = (300.0, 3400.0)  # Hz: the band of ITU-T G.712
_TAPS = 511  # of a band filter; its edges are about 3 / 511 of the sampling rate wide (100 Hz at 16 kHz)
_FULL_SCALE, _BIAS = 8192, 33  # of mu-law: 14 bits with sign; G.711 counts its segments from -33 on
_MU_LAW_PEAK = 8158 / 8192  # G.711, table 2a: what lies above 8159 of 8192 has no code of its own
_ROUNDED_DOWN = 1 - 2**-22  # so that the rounding of a quotient and a product leaves nothing above the peak
VARIANCE_FLOOR = 1e-7  # of transformers' Wav2Vec2FeatureExtractor


def power(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Mean square over the real samples.

    Shape:
        waveforms (B, T), 0 beyond lengths (B,) -> (B,)
    """
    return waveforms.square().sum(1) / lengths


def mix(waveforms: Tensor, noise: Tensor, snr_db: Tensor, lengths: Tensor) -> Tensor:
    """The waveforms with noise at a signal-to-noise ratio: power over power, both over the real samples.

    A row stays as it is where it, or its noise, is silent.

    Args:
        waveforms: (B, T).
        noise: (B, T); what it has in the padding is not heard.
        snr_db: (B,) in dB.
        lengths: (B,).
    """
    heard = _cut(noise, lengths)
    signal, added = power(waveforms, lengths), power(heard, lengths)
    ratio = torch.where((signal > 0) & (added > 0), signal / added, 0.0)
    return waveforms + heard * (ratio.sqrt() * 10 ** (-snr_db / 20))[:, None]


def reverberate(waveforms: Tensor, responses: Tensor, lengths: Tensor) -> Tensor:
    """The waveforms in a room; the direct path stays where it was, at the level that it had.

    The direct path is the largest tap of a response, in sign as in size; what is ahead of it is heard ahead of it. What
    rings on behind the end of a row is cut off. A row stays as it is where its response is silent.

    Args:
        waveforms: (B, T).
        responses: (B, R), filled up with 0 behind.
        lengths: (B,).
    """
    place = responses.abs().argmax(1, keepdim=True)
    direct = responses.gather(1, place)
    heard = _convolved(waveforms, responses / torch.where(direct == 0, 1.0, direct))
    aligned = heard.gather(1, place + torch.arange(waveforms.shape[1], device=waveforms.device))
    return torch.where(direct == 0, waveforms, _cut(aligned, lengths))


def limit_band(waveforms: Tensor, low: Tensor, high: Tensor, lengths: Tensor) -> Tensor:
    """Only what lies between two frequencies, in phase; a windowed-sinc filter with edges of about 100 Hz at 16 kHz.

    A row is taken to be silent before and after.

    Args:
        waveforms: (B, T).
        low: (B,) lowest frequency in cycles per sample; 0: from the lowest.
        high: (B,) highest one, above the lowest; 0.5 or more: to the highest.
        lengths: (B,).
    """
    place = torch.arange(_TAPS, device=waveforms.device) - _TAPS // 2
    window = torch.hann_window(_TAPS + 2, periodic=False, device=waveforms.device)[1:-1]

    def lowpass(cut: Tensor) -> Tensor:
        taps = torch.sinc(2 * cut[:, None] * place) * window
        return taps / taps.sum(1, keepdim=True)

    everything = (place == 0).to(waveforms.dtype)
    passed = torch.where(high[:, None] >= 0.5, everything, lowpass(high))
    taps = torch.where(low[:, None] <= 0, passed, passed - lowpass(low))
    filtered = _convolved(waveforms, taps)[:, _TAPS // 2 :][:, : waveforms.shape[1]]
    return _cut(filtered, lengths)


def mu_law(waveforms: Tensor) -> Tensor:
    """The waveforms through an 8-bit telephone codec and back: ITU-T G.711, mu-law, tables 2a and 2b.

    14 bits become a sign, one of 8 segments, each twice as wide as the one before, and one of 16 steps in it. Silence
    stays silent. Nothing is clipped: a row with samples beyond the last step (0.9958) is made softer as a whole first.

    Shape:
        (B, T) -> (B, T)
    """
    limited = limit_peak(waveforms, _MU_LAW_PEAK)
    biased = limited.abs() * _FULL_SCALE + _BIAS
    # A float32 is a segment already: of the 23 bits behind its leading one, 4 are the step, the next sets its middle.
    middle = (biased.view(torch.int32) & -(1 << 19) | 1 << 18).view(torch.float32)
    return limited.sign() * (middle - _BIAS) / _FULL_SCALE


def gain(waveforms: Tensor, decibels: Tensor) -> Tensor:
    """Louder (above 0 dB) or softer (below).

    Shape:
        waveforms (B, T), decibels (B,) -> (B, T)
    """
    return waveforms * 10 ** (decibels / 20)[:, None]


def limit_peak(waveforms: Tensor, peak: Tensor | float = 1.0) -> Tensor:
    """Rows with a sample beyond the peak made softer as a whole, so that nothing is clipped.

    Shape:
        waveforms (B, T), peak (B,) or a number -> (B, T)
    """
    limit = torch.as_tensor(peak, dtype=waveforms.dtype, device=waveforms.device).expand(len(waveforms))[:, None]
    highest = waveforms.abs().amax(1, keepdim=True)
    return waveforms * torch.where(highest > limit, limit / highest * _ROUNDED_DOWN, 1.0)


def normalised(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the real samples, as transformers' `Wav2Vec2FeatureExtractor` makes them.

    Shape:
        waveforms (B, T), lengths (B,) -> (B, T)
    """
    mean = waveforms.sum(1) / lengths
    centred = _cut(waveforms - mean[:, None], lengths)
    return centred / (power(centred, lengths) + VARIANCE_FLOOR).sqrt()[:, None]


def _cut(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """(B, T), 0 from the lengths (B,) on."""
    is_real = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    return torch.where(is_real, waveforms, 0.0)  # nine times as fast on a CPU as a product with a mask


def _convolved(waveforms: Tensor, responses: Tensor) -> Tensor:
    """(B, T), (B, R) -> (B, T + R - 1 or more): row by row, by way of the spectrum."""
    size = _fast_size(waveforms.shape[1] + responses.shape[1] - 1)
    return torch.fft.irfft(torch.fft.rfft(waveforms, size) * torch.fft.rfft(responses, size), size)


def _fast_size(samples: int) -> int:
    """The least of 2^k, 3 * 2^k, 5 * 2^k that is not below, for which Fourier transforms are fast."""
    return min(odd << max(0, (-(-samples // odd) - 1).bit_length()) for odd in (1, 3, 5))
