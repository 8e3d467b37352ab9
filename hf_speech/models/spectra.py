"""From waveforms to spectra: windows, frames, mel matrices, decibels, cosine transform, normalisation over frames.

Pure functions of tensors, and constant tensors that are made at the first call and kept for each device; the front ends
put them together. Constants are worked out in float64 on the CPU and kept in float32.

Frames are views of the waveform, and the transform is torch's real FFT. Beside a product with the transform's matrix it
took 0.4 of the time on a CPU, and came nearer to float64 where a spectrum is low (on a gliding tone the logarithm of
the smallest bins was off by up to 2, not 11). It is also out of reach of TF32, which leaves a product 10 bits.
"""

import math
from collections.abc import Callable
from functools import lru_cache, wraps

import torch
import torch.nn.functional as F
from torch import Tensor

from .masking import length_mask, masked_mean

FLOOR_DB = 80.0  # decibels below the utterance's maximum at which librosa, torchaudio and SpeechBrain cut
EXACT = {"dtype": torch.float64, "device": "cpu"}  # said in full: a model may be built with a default device


def constant(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keeps what `make(*plain values)` returns, for each device: called as `f(*plain values, device)`, float32."""

    def on_device(*key: object) -> Tensor:
        *values, device = key
        return make(*values).to(device, torch.float32)

    kept = lru_cache(maxsize=64)(on_device)

    @wraps(make)
    def constant_of(*key: object) -> Tensor:
        if torch.compiler.is_compiling():  # a traced tensor has no values and must not be kept
            return on_device(*key)
        with torch.inference_mode(False):  # what is made in inference mode can't take part in training later
            return kept(*key)

    return constant_of


@constant
def window(name: str, size: int, n_fft: int) -> Tensor:
    """A window of `size` samples in the middle of `n_fft`, zeros beside it.

    Args:
        name: "hamming" or "hann", periodic, as librosa, torchaudio and SpeechBrain have them; "povey", symmetric,
            Kaldi's own: a Hann window to the power of 0.85.
        size: samples.
        n_fft: samples.

    Shape:
        (n_fft,)
    """
    period = size - 1 if name == "povey" else size
    turns = torch.arange(size, **EXACT) * (2 * math.pi / period)
    if name == "hamming":
        values = 0.54 - 0.46 * turns.cos()
    else:
        values = (0.5 - 0.5 * turns.cos()).clamp(min=0) ** (0.85 if name == "povey" else 1.0)
    before = (n_fft - size) // 2
    return F.pad(values, (before, n_fft - size - before))


def hertz_to_mel(hertz: Tensor, scale: str) -> Tensor:
    """Frequencies on the mel scale.

    "htk": 2595 log10(1 + f / 700), as in the HTK book, section 5.4 (Kaldi's 1127 ln is the same up to a factor, on
    which no filter depends). "slaney": linear below 1,000 Hz and logarithmic above, as in Slaney's Auditory Toolbox,
    1998, librosa's default.
    """
    if scale == "htk":
        return 2595 * torch.log10(1 + hertz / 700)
    above = 15 + torch.log(hertz.clamp(min=1_000) / 1_000) * (27 / math.log(6.4))
    return torch.where(hertz < 1_000, hertz * 3 / 200, above)


def mel_to_hertz(mel: Tensor, scale: str) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = 1_000 * torch.exp((mel.clamp(min=15) - 15) * (math.log(6.4) / 27))
    return torch.where(mel < 15, mel * 200 / 3, above)


@constant
def mel_matrix(bands: int, n_fft: int, rate: int, low: float, high: float, scale: str, shape: str) -> Tensor:
    """Triangular filters, 1 at their centres, whose edges lie at equal distances on the mel scale.

    Args:
        bands: number of filters.
        n_fft: samples of the transform.
        rate: sampling rate, Hz.
        low: lower edge of the first filter, Hz.
        high: upper edge of the last filter, Hz.
        scale: "htk" or "slaney", see `hertz_to_mel`.
        shape: "hertz": straight sides over hertz, from the centre of one neighbour to that of the other (librosa,
            torchaudio); "mel": straight sides over mel (Kaldi); "symmetric": over hertz, the upper side as wide as the
            lower one (SpeechBrain).

    Shape:
        (n_fft // 2 + 1, bands)
    """
    limits = hertz_to_mel(torch.tensor([low, high], **EXACT), scale)
    edges = limits[0] + (limits[1] - limits[0]) * torch.arange(bands + 2, **EXACT) / (bands + 1)
    bins = torch.arange(n_fft // 2 + 1, **EXACT)[:, None] * (rate / n_fft)
    if shape == "mel":
        bins = hertz_to_mel(bins, scale)
    else:
        edges = mel_to_hertz(edges, scale)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    if shape == "symmetric":
        right = 2 * centre - left
    return torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)


@constant
def cosine_matrix(bands: int, coefficients: int) -> Tensor:
    """The orthonormal discrete cosine transform of the second kind: (bands, coefficients).

    Column k is sqrt(2 / N) cos(pi k (n + 1/2) / N), the first one divided by sqrt(2).
    """
    angles = (torch.arange(bands, **EXACT)[:, None] + 0.5) * torch.arange(coefficients, **EXACT) * (math.pi / bands)
    first = torch.arange(coefficients, **EXACT) == 0
    return torch.where(first, math.sqrt(1 / bands), math.sqrt(2 / bands) * angles.cos())


def emphasise(values: Tensor, factor: float) -> Tensor:
    """Pre-emphasis along the last dimension: x[t] - factor x[t - 1], the first value its own predecessor."""
    before = torch.cat([values[..., :1], values[..., :-1]], dim=-1)
    return torch.sub(values, before, alpha=factor)


def frames_of(waveforms: Tensor, size: int, hop: int) -> Tensor:
    """Pieces of `size` samples, `hop` samples apart: (B, T) -> (B, (T - size) // hop + 1, size)."""
    if not torch.jit.is_tracing():
        return waveforms.unfold(1, size, hop)
    # A traced graph keeps the number of frames of an unfold; places that are looked up follow the length.
    starts = torch.arange((waveforms.shape[1] - size) // hop + 1, device=waveforms.device) * hop
    return waveforms[:, starts[:, None] + torch.arange(size, device=waveforms.device)]


def power_spectrum(frames: Tensor, n_fft: int) -> Tensor:
    """Squared magnitudes: windowed frames (B, F, N), N <= n_fft -> (B, F, n_fft // 2 + 1)."""
    if not torch.jit.is_tracing():
        return torch.view_as_real(torch.fft.rfft(frames, n=n_fft)).square().sum(-1)
    # Where a graph is traced for another runtime: a product, in float64, since what float32 leaves of a low bin depends
    # on the order of its sums. The matrix is worked out in the graph, so that it adds nothing to a file.
    device, size = frames.device, frames.shape[-1]
    turns = torch.outer(torch.arange(size, device=device), torch.arange(n_fft // 2 + 1, device=device)) % n_fft
    angles = turns.double() * (2 * math.pi / n_fft)
    numbers = frames.double()
    return ((numbers @ angles.cos()).square() + (numbers @ angles.sin()).square()).to(frames.dtype)


def decibels(power: Tensor, counts: Tensor | None) -> Tensor:
    """10 log10(max(1e-10, p)), and nothing more than 80 dB below the maximum of the utterance's own real frames.

    Shape:
        (B, F, D), (B,) int or None -> (B, F, D)
    """
    level = 10 * power.clamp(min=1e-10).log10()
    heard = level
    if counts is not None:
        heard = level.masked_fill(~length_mask(counts, level.shape[1])[..., None], -torch.inf)
    return torch.maximum(level, heard.amax((1, 2), keepdim=True) - FLOOR_DB)


NORMS = ("none", "mean", "mean+variance")


def normalise(
    features: Tensor,
    counts: Tensor | None,
    kind: str,
    *,
    correction: int = 0,
    floor: float = 0.01,
    epsilon: float = 0.0,
) -> Tensor:
    """Each band of each utterance with mean 0, and variance 1, over its real frames; zeros in the padding.

    Args:
        features: (B, F, D) float.
        counts: real frames of each utterance, (B,) int; None: all.
        kind: "none"; "mean": the mean is taken off; "mean+variance": and the rest divided by the deviation.
        correction: the variance is divided by the number of frames less this (by 1 where nothing would be left).
        floor: a band whose deviation is not above this is left as it is. The defaults of this and the last are those
            of dmha-age ("cmvn").
        epsilon: added to the variance.

    Shape:
        (B, F, D)
    """
    mask = None if counts is None else length_mask(counts, features.shape[1])
    if kind != "none":
        # the first frame goes first, so that the sums stay small and their order does not show
        features = features - features[:, :1]
        mean = features.mean(1) if mask is None else masked_mean(features, mask)
        features = features - mean[:, None]
    if mask is not None:
        features = features.masked_fill(~mask[..., None], 0.0)
    if kind != "mean+variance":
        return features
    number = features.shape[1] if counts is None else counts[:, None, None]
    total = features.square().sum(1, keepdim=True)
    left = max(number - correction, 1) if counts is None else (number - correction).clamp(min=1)
    variance = total / left + epsilon
    # the root is taken of what is divided by only: its slope is infinite at 0
    return features / torch.where(variance > floor**2, variance, 1.0).sqrt()
