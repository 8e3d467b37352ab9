"""Waveforms made different for training: speed, noise, babble, band and gain, drawn anew for every row.

The functions take and give (samples,) float32 arrays and never change what they are given; all that is random comes
from the `numpy.random.Generator` handed in, so the same generator gives the same sound. `Augmentation` draws which of
them happen. Levels after Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", 2018, section 3.3;
speeds after Ko et al., "Audio augmentation for speech recognition", 2015.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch

from ..audio import SAMPLE_RATE
from ..errors import InputError, lookup

T = TypeVar("T")

# Colour -> how fast the power falls with frequency: as 1 / f^exponent.
COLOURS = {"white": 0, "pink": 1, "brown": 2}
TELEPHONE = (300.0, 3400.0)  # Hz: the band of ITU-T G.712
SLOWEST, FASTEST = 0.5, 2.0  # speeds that are still speech
_FLAT_BELOW = 1 / 320  # cycles per sample: 50 Hz at 16 kHz
_CROSSINGS = 32  # zero crossings of the resampling filter; with torchaudio's 6, speed 1.1 folds 7.6 kHz back
_TAPS = 511  # of a band filter; its edges are about 3 / 511 of the sampling rate wide (100 Hz at 16 kHz)


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Plays faster or slower: pitch and tempo change together, as on a tape.

    Args:
        waveform: (samples,).
        factor: of the speed, 0.5 to 2, to two decimals; 1.1 is shorter and higher.

    Returns:
        (ceil(samples / factor),).

    Raises:
        InputError: another factor.
    """
    ratio = _ratio(factor)
    if ratio == 1:
        return np.array(waveform, dtype=np.float32)
    faster = _resampler(ratio)(torch.from_numpy(np.array(waveform, dtype=np.float32)))
    return faster.numpy()


def source_samples(samples: int, factor: float) -> int:
    """How many samples to read, so that `change_speed` gives at least so many, and one fewer would not.

    >>> source_samples(32_000, 1.1), source_samples(32_000, 0.9), source_samples(32_000, 1.0)
    (35199, 28800, 32000)
    """
    ratio = _ratio(factor)
    return math.floor((samples - 1) * ratio) + 1


def noise(colour: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with a power of 1, whose spectrum falls by 0 (white), 3 (pink) or 6 dB an octave (brown).

    Below 1/320 of the sampling rate (50 Hz at 16 kHz) the spectrum is flat: sloping further, brown noise would have
    nearly all of its power where nothing is heard.

    Args:
        colour: "white", "pink" or "brown".
        samples: how many, from 1 up.
        rng: of the draw.

    Returns:
        (samples,) float32.

    Raises:
        InputError: another colour.
    """
    exponent = lookup(COLOURS, colour, "colour of noise")
    size = 1 << max(6, (samples - 1).bit_length())  # a length that the transform is fast for; what is over is cut off
    # Gaussian noise has a Gaussian spectrum, which is drawn as such: pairs of real and imaginary part.
    spectrum = rng.standard_normal(size + 2).view(np.complex128) * _slope(exponent, size)
    drawn = np.fft.irfft(spectrum, size)[:samples]
    return (drawn / np.sqrt(_power(drawn))).astype(np.float32)


def add_noise(
    waveform: np.ndarray, noise: np.ndarray, snr_db: float, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The waveform with noise at a signal-to-noise ratio, powers being means over all samples.

    Args:
        waveform: (samples,).
        noise: (any,): a longer one is cut, a shorter one repeated.
        snr_db: power of the waveform over that of the noise, in dB.
        rng: of the place in the noise where to begin; None: at its beginning.

    Returns:
        (samples,); the waveform itself where it, or the noise, is silent.
    """
    piece = _piece(noise, len(waveform), rng).astype(np.float64)
    signal_power, noise_power = _power(waveform), _power(piece)
    if signal_power == 0 or noise_power == 0:
        return np.array(waveform, dtype=np.float32)
    return (waveform + piece * np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))).astype(np.float32)


def babble(waveforms: Sequence[np.ndarray], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Many voices at once, all equally loud, each from a random place on.

    Args:
        waveforms: the voices, each (any,); silent ones are passed over.
        samples: how many are wanted; a shorter voice is repeated.
        rng: of the places.

    Returns:
        (samples,) float32; zeros where no voice is heard.
    """
    mixed = np.zeros(samples)
    for waveform in waveforms:
        if len(waveform):
            piece = _piece(waveform, samples, rng).astype(np.float64)
            mixed += piece / np.sqrt(_power(piece) or 1.0)
    return mixed.astype(np.float32)


def gain(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """Louder (above 0 dB) or softer (below)."""
    return (waveform * 10 ** (decibels / 20)).astype(np.float32)


def limit_band(waveform: np.ndarray, low: float, high: float, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Only what lies between two frequencies, in phase; a windowed-sinc filter with edges of about 100 Hz at 16 kHz.

    Args:
        waveform: (samples,), taken to be silent before and after.
        low: lowest frequency in Hz; 0: from the lowest.
        high: highest frequency in Hz; half the rate or more: to the highest.
        sample_rate: samples per second.

    Raises:
        InputError: no band between the two.
    """
    if not 0 <= low < min(high, sample_rate / 2):
        raise InputError(f"band {low:g} to {high:g} Hz: give two rising frequencies from 0 to {sample_rate / 2:g} Hz")
    taps = _band_filter(low / sample_rate, min(high / sample_rate, 0.5))
    size = 1 << (len(waveform) + _TAPS - 2).bit_length()
    filtered = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(taps, size), size)
    return filtered[_TAPS // 2 :][: len(waveform)].astype(np.float32)


def limit_peak(waveform: np.ndarray, peak: float = 1.0) -> np.ndarray:
    """The waveform made softer as a whole where a sample lies beyond the peak, so that nothing is clipped."""
    highest = float(np.abs(waveform).max(initial=0.0))
    if highest <= peak:
        return np.array(waveform, dtype=np.float32)
    return np.clip(waveform * np.float32(peak / highest), -peak, peak).astype(np.float32)


def speed_class(speaker: int, speed: float, num_speakers: int, speeds: Sequence[float]) -> int:
    """The class of a speaker at a speed, each other speed making new speakers: speaker + num_speakers * k.

    k is 0 at speed 1 and counts the other speeds upwards, so the first `num_speakers` classes are the speakers
    themselves, whether or not 1 is among the speeds. Yamamoto et al., "Speaker augmentation and bandwidth extension for
    deep speaker embedding", 2019.

    Raises:
        InputError: the speed is none of the speeds.

    >>> [speed_class(3, speed, 10, (0.9, 1.0, 1.1)) for speed in (0.9, 1.0, 1.1)]
    [13, 3, 23]
    """
    order = _speed_order(speeds)
    if speed not in order:
        raise InputError(f"speed {speed!r} is none of the speeds {', '.join(f'{one:g}' for one in order)}")
    return speaker + num_speakers * order.index(speed)


def speed_class_names(names: Sequence[str], speeds: Sequence[float]) -> list[str]:
    """The names of the classes of `speed_class`, in their order.

    >>> speed_class_names(["ada", "bob"], (0.9, 1.0))
    ['ada', 'bob', 'ada at 0.9', 'bob at 0.9']
    """
    return [name if speed == 1 else f"{name} at {speed:g}" for speed in _speed_order(speeds) for name in names]


def speeds_in_names(names: Sequence[str]) -> int:
    """Of how many speeds `speed_class_names` made the names of classes; 1 where it did not make them.

    >>> speeds_in_names(["ada", "bob", "ada at 0.9", "bob at 0.9"]), speeds_in_names(["ada", "bob"])
    (2, 1)
    """
    for count in range(2, len(names) // 2 + 1):
        endings = [name.removeprefix(f"{names[0]} at ") for name in names[count::count]]
        if len(names) % count == 0 and all(re.fullmatch(r"\d(\.\d+)?", ending) for ending in endings):
            if list(names) == speed_class_names(names[:count], [1.0, *map(float, endings)]):
                return len(names) // count
    return 1


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Draws what happens to a waveform; with the defaults nothing does. All values can stand in a YAML or JSON file.

    In this order: speed; noise of a colour; babble of other rows; telephone band, or low-pass; gain; then, as a whole,
    softer where full scale is passed. Each but the speed happens with its own probability.

    Attributes:
        speeds: factors, of which one is drawn, all with equal probability; with 1.1 the voice is faster and higher.
        noise_probability: of noise.
        noise_snr: lowest and highest signal-to-noise ratio in dB; drawn uniformly, as are all ranges here.
        noise_colours: of which one is drawn.
        babble_probability: of babble, where there are other rows.
        babble_snr: in dB.
        babble_voices: fewest and most voices.
        telephone_probability: of the band from 300 to 3400 Hz.
        lowpass_probability: of a low-pass, where the telephone was not drawn.
        lowpass_hz: lowest and highest cut-off in Hz.
        gain_probability: of a gain.
        gain_db: lowest and highest gain.
        sample_rate: of the waveforms, in Hz.

    Raises:
        InputError: a probability outside of 0 to 1, a range that falls, a speed outside of 0.5 to 2, a band beyond half
            the rate.
    """

    speeds: Sequence[float] = (1.0,)
    noise_probability: float = 0.0
    noise_snr: Sequence[float] = (0.0, 15.0)
    noise_colours: Sequence[str] = ("white", "pink", "brown")
    babble_probability: float = 0.0
    babble_snr: Sequence[float] = (13.0, 20.0)
    babble_voices: Sequence[int] = (3, 7)
    telephone_probability: float = 0.0
    lowpass_probability: float = 0.0
    lowpass_hz: Sequence[float] = (2000.0, 7000.0)
    gain_probability: float = 0.0
    gain_db: Sequence[float] = (-6.0, 6.0)
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_probability") and not (_is_number(value) and 0 <= value <= 1):
                raise InputError(f"{field.name} {value!r}: give a number from 0 to 1")
            if field.name in ("noise_snr", "babble_snr", "babble_voices", "lowpass_hz", "gain_db"):
                _require_range(field.name, value)
        if not _is_number(self.sample_rate) or self.sample_rate < 1:
            raise InputError(f"sample_rate {self.sample_rate!r}: give Hz above 0")
        if not _is_list(self.speeds) or len(set(self.speeds)) < len(self.speeds):
            raise InputError(f"speeds {self.speeds!r}: give a list of one or more different factors")
        for speed in self.speeds:
            _ratio(speed)
        if not _is_list(self.noise_colours):
            raise InputError(f"noise_colours {self.noise_colours!r}: give a list of {', '.join(COLOURS)}")
        for colour in self.noise_colours:
            lookup(COLOURS, colour, "colour of noise")
        if self.babble_voices[0] < 1 or any(not float(count).is_integer() for count in self.babble_voices):
            raise InputError(f"babble_voices {self.babble_voices!r}: give whole numbers from 1 up")
        if not 0 < self.lowpass_hz[0] <= self.lowpass_hz[1] <= self.sample_rate / 2:
            raise InputError(f"lowpass_hz {self.lowpass_hz!r}: give Hz above 0, to {self.sample_rate / 2:g}")
        if self.telephone_probability and self.sample_rate / 2 <= TELEPHONE[0]:
            raise InputError(f"telephone_probability: nothing above {TELEPHONE[0]:g} Hz at {self.sample_rate} Hz")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # so that what came from JSON is equal to what was given in Python
                object.__setattr__(self, field.name, tuple(value))

    def draw_speed(self, rng: np.random.Generator) -> float:
        """One of the speeds; to be drawn ahead where it decides how much is read (`source_samples`) or the class."""
        return float(_one_of(self.speeds, rng))

    def __call__(
        self,
        waveform: np.ndarray,
        rng: np.random.Generator,
        others: Sequence[np.ndarray] | None = None,
        speed: float | None = None,
        samples: int | None = None,
    ) -> np.ndarray:
        """The waveform as the draws made it.

        Args:
            waveform: (source samples,) in [-1, 1].
            rng: of all draws.
            others: waveforms of other rows, for babble.
            speed: drawn ahead with `draw_speed`; None: drawn here.
            samples: the most that is given back; more is cut off behind the change of speed. Where the waveform has
                `source_samples(samples, speed)`, it is exactly so many.

        Returns:
            (ceil(source samples / speed),), or `samples` if these are fewer, float32, in [-1, 1] or within the range of
            the waveform that came, if that is greater.
        """
        peak = max(1.0, float(np.abs(waveform).max(initial=0.0)))
        made = change_speed(waveform, self.draw_speed(rng) if speed is None else speed)[:samples]
        if _happens(self.noise_probability, rng):
            drawn = noise(_one_of(self.noise_colours, rng), len(made), rng)
            made = add_noise(made, drawn, _between(self.noise_snr, rng))
        if others and _happens(self.babble_probability, rng):
            fewest, most = (int(count) for count in self.babble_voices)
            voices = rng.permutation(len(others))[: rng.integers(fewest, most + 1)]
            mixed = babble([others[i] for i in voices], len(made), rng)
            made = add_noise(made, mixed, _between(self.babble_snr, rng))
        if _happens(self.telephone_probability, rng):
            made = limit_band(made, *TELEPHONE, self.sample_rate)
        elif _happens(self.lowpass_probability, rng):
            made = limit_band(made, 0.0, _between(self.lowpass_hz, rng), self.sample_rate)
        if _happens(self.gain_probability, rng):
            made = gain(made, _between(self.gain_db, rng))
        return limit_peak(made, peak)


def _happens(probability: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < probability)


def _one_of(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


def _between(ends: Sequence[float], rng: np.random.Generator) -> float:
    low, high = ends
    return float(rng.uniform(low, high))


def _ratio(factor: Any) -> Fraction:
    """The factor as a fraction of hundredths."""
    if not _is_number(factor) or not SLOWEST <= factor <= FASTEST or abs(factor * 100 - round(factor * 100)) > 1e-6:
        raise InputError(f"speed {factor!r}: give a factor from {SLOWEST:g} to {FASTEST:g}, to two decimals")
    return Fraction(round(factor * 100), 100)


@lru_cache(maxsize=256)
def _resampler(ratio: Fraction) -> Any:
    """The filter of a speed, made once."""
    import torchaudio

    return torchaudio.transforms.Resample(ratio.numerator, ratio.denominator, lowpass_filter_width=_CROSSINGS)


@lru_cache(maxsize=16)
def _slope(exponent: int, size: int) -> np.ndarray:
    """(size / 2 + 1,) amplitudes of a spectrum, whose power falls as 1 / f^exponent."""
    return np.maximum(np.fft.rfftfreq(size), _FLAT_BELOW) ** (-exponent / 2)


@lru_cache(maxsize=16)
def _band_filter(low: float, high: float) -> np.ndarray:
    """(_TAPS,) low and high in cycles per sample; a high-pass is what a low-pass leaves over."""
    place = np.arange(_TAPS) - _TAPS // 2
    window = np.hanning(_TAPS + 2)[1:-1]

    def lowpass(cut: float) -> np.ndarray:
        taps = np.sinc(2 * cut * place) * window
        return taps / taps.sum()

    everything = (place == 0).astype(np.float64)
    passed = everything if high == 0.5 else lowpass(high)
    return passed if low == 0 else passed - lowpass(low)


def _piece(waveform: np.ndarray, samples: int, rng: np.random.Generator | None) -> np.ndarray:
    """(samples,) out of it from a random place on, begun anew at its end where it is shorter."""
    if not len(waveform):
        return np.zeros(samples, np.float32)
    places = len(waveform) - samples + 1 if len(waveform) >= samples else len(waveform)
    start = 0 if rng is None else int(rng.integers(places))
    return np.take(waveform, np.arange(start, start + samples), mode="wrap")


def _power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0


def _speed_order(speeds: Sequence[float]) -> list[float]:
    return [1.0, *sorted(speed for speed in speeds if speed != 1)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def _require_range(name: str, value: Any) -> None:
    if not _is_list(value) or len(value) != 2 or not all(map(_is_number, value)) or value[0] > value[1]:
        raise InputError(f"{name} {value!r}: give the lowest and the highest value, such as [0, 15]")
