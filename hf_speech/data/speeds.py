"""Speech played faster or slower, and the new speakers that it makes.

Ko et al., "Audio augmentation for speech recognition", 2015.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..models.registry import is_number
from ..resampling import in_float32

SLOWEST, FASTEST = 0.5, 2.0  # speeds that are still speech
_CROSSINGS = 32  # zero crossings of the resampling filter; with torchaudio's 6, speed 1.1 folds 7.6 kHz back


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Plays faster or slower: pitch and tempo change together, as on a tape.

    Where the filter swings beyond full scale, or beyond the peak of a waveform that is louder, all is made softer.

    Args:
        waveform: (samples,).
        factor: of the speed, 0.5 to 2, to two decimals; 1.1 is shorter and higher.

    Returns:
        (ceil(samples / factor),), a copy.

    Raises:
        InputError: another factor.
    """
    ratio = speed_ratio(factor)
    given = np.array(waveform, dtype=np.float32)
    if ratio == 1:
        return given
    with in_float32():
        faster = _resampler(ratio)(torch.from_numpy(given)).numpy()
    limit = max(1.0, float(np.abs(given).max(initial=0.0)))
    highest = float(np.abs(faster).max(initial=0.0))
    return faster if highest <= limit else np.clip(faster * np.float32(limit / highest), -limit, limit)


def source_samples(samples: int, factor: float) -> int:
    """How many samples to read, so that `change_speed` gives at least so many, and one fewer would not.

    >>> source_samples(32_000, 1.1), source_samples(32_000, 0.9), source_samples(32_000, 1.0)
    (35199, 28800, 32000)
    """
    ratio = speed_ratio(factor)
    return math.floor((samples - 1) * ratio) + 1


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


def speed_ratio(factor: Any) -> Fraction:
    """The factor as a fraction of hundredths.

    Raises:
        InputError: no speed.
    """
    if not is_number(factor) or not SLOWEST <= factor <= FASTEST or abs(factor * 100 - round(factor * 100)) > 1e-6:
        raise InputError(f"speed {factor!r}: give a factor from {SLOWEST:g} to {FASTEST:g}, to two decimals")
    return Fraction(round(factor * 100), 100)


@lru_cache(maxsize=256)
def _resampler(ratio: Fraction) -> Any:
    """The filter of a speed, made once."""
    import torchaudio

    return torchaudio.transforms.Resample(ratio.numerator, ratio.denominator, lowpass_filter_width=_CROSSINGS)


def _speed_order(speeds: Sequence[float]) -> list[float]:
    return [1.0, *sorted(speed for speed in speeds if speed != 1)]
