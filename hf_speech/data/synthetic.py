"""Sounds made from random numbers: noise of a colour, rooms, babble of voices. All of it in numpy, in the data workers.

All that is random comes from the `numpy.random.Generator` handed in, so the same generator gives the same sound.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..errors import lookup

# Colour -> how fast the power falls with frequency: as 1 / f^exponent.
COLOURS = {"white": 0, "pink": 1, "brown": 2}
_FLAT_BELOW = 1 / 320  # cycles per sample: 50 Hz at 16 kHz
_BELOW_DIRECT = 0.99  # no tap of a room is as large as its direct path


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
            voice = piece(waveform, samples, rng).astype(np.float64)
            mixed += voice / np.sqrt(_power(voice) or 1.0)
    return mixed.astype(np.float32)


def room_response(seconds: float, drr: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a room: a direct path of 1, and behind it Gaussian noise that decays by 60 dB.

    Polack's model of diffuse reverberation, "La transmission de l'énergie sonore dans les salles", 1988: noise times
    exp(-3 ln(10) t / RT60), here from the direct path on, and cut off at RT60.

    Args:
        seconds: RT60.
        drr: energy of the direct path over that of all the rest, in dB.
        sample_rate: samples per second.
        rng: of the noise.

    Returns:
        (max(2, round(seconds * sample_rate)),) float32, the direct path first, and the largest.
    """
    time = np.arange(1, max(2, round(seconds * sample_rate))) / sample_rate
    late = rng.standard_normal(len(time)) * np.exp(-3 * math.log(10) / seconds * time)
    late *= np.sqrt(10 ** (-drr / 10) / np.sum(late**2))
    return np.concatenate([[1.0], np.clip(late, -_BELOW_DIRECT, _BELOW_DIRECT)]).astype(np.float32)


def piece(waveform: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """(samples,) out of a waveform (1 or more,), from a random place on, begun anew at its end where it is shorter."""
    places = len(waveform) - samples + 1 if len(waveform) >= samples else len(waveform)
    start = int(rng.integers(places))
    return np.take(waveform, np.arange(start, start + samples), mode="wrap")


@lru_cache(maxsize=16)
def _slope(exponent: int, size: int) -> np.ndarray:
    """(size / 2 + 1,) amplitudes of a spectrum, whose power falls as 1 / f^exponent."""
    return np.maximum(np.fft.rfftfreq(size), _FLAT_BELOW) ** (-exponent / 2)


def _power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64)))
