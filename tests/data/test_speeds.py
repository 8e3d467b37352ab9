"""Speeds by length and pitch, and the classes that they make of speakers."""

import math

import numpy as np
import pytest
import torch

from hf_speech.data.speeds import change_speed, source_samples, speed_class, speed_class_names, speeds_in_names
from hf_speech.errors import InputError

from .signals import RATE, level_db, rng, tone


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.37, 2.0])
def test_speed_scales_length_and_frequency(factor: float) -> None:
    """A tone of 400 Hz becomes one of 400 * factor, sample for sample, but for the filter's ends."""
    faster = change_speed(tone(400), factor)
    assert faster.dtype == np.float32 and len(faster) == math.ceil(RATE / round(factor, 2) - 1e-9)
    wanted = tone(400 * factor, len(faster))
    assert np.abs(faster - wanted)[50:-50].max() < 2e-3


@pytest.mark.parametrize(("factor", "samples"), [(0.9, 17_778), (1.0, 16_000), (1.1, 14_546)])
def test_lengths_of_a_second(factor: float, samples: int) -> None:
    assert len(change_speed(tone(400), factor)) == samples


def test_what_a_higher_speed_lifts_above_half_the_rate_is_gone() -> None:
    assert level_db(change_speed(tone(7600), 1.1), tone(7600)) < -30
    assert level_db(change_speed(tone(6000), 1.1), tone(6000)) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.97, 1.0, 1.1, 1.13, 2.0])
@pytest.mark.parametrize("samples", [1, 2, 399, 3_200, 32_001])
def test_source_samples_are_just_enough(factor: float, samples: int) -> None:
    needed = source_samples(samples, factor)
    assert len(change_speed(np.zeros(needed, np.float32), factor)) >= samples
    assert needed == 1 or len(change_speed(np.zeros(needed - 1, np.float32), factor)) < samples


def test_speeds_make_new_speakers() -> None:
    speeds = (0.9, 1.0, 1.1)
    classes = [speed_class(speaker, speed, 4, speeds) for speed in (1.0, 0.9, 1.1) for speaker in range(4)]
    assert classes == list(range(12))
    names = speed_class_names(["a", "b", "c", "d"], speeds)
    assert [names[speed_class(2, speed, 4, speeds)] for speed in speeds] == ["c at 0.9", "c", "c at 1.1"]
    assert speed_class(2, 1.1, 4, (1.1,)) == 6  # speed 1 keeps its classes
    with pytest.raises(InputError, match=r"speed 0.8 is none of the speeds 1, 0.9, 1.1"):
        speed_class(2, 0.8, 4, speeds)


@pytest.mark.parametrize("speeds", [(1.1,), (0.9, 1.0, 1.1), (0.95, 0.9, 1.05, 1.1)])
@pytest.mark.parametrize("names", [["ada", "bob"], ["c", "b", "a"], ["ada", "ada at 3"]])
def test_the_speeds_are_found_in_the_names(names: list[str], speeds: tuple[float, ...]) -> None:
    made = speed_class_names(names, speeds)
    assert speeds_in_names(made) == len({1.0, *speeds}) == len(made) / len(names)
    assert speeds_in_names(names) == 1
    assert speeds_in_names(made[:-1]) == speeds_in_names([*made[1:], made[0]]) == 1  # another order, or some missing
    assert speeds_in_names([*names, *(f"{name} at noon" for name in names)]) == 1


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("peak", [1.0, 2.5])
def test_what_the_filter_swings_over_is_made_softer_not_clipped(factor: float, peak: float) -> None:
    """A square wave at full scale, or beyond, gets no louder, and stays in proportion to one that had room."""
    square = (peak * np.sign(rng().standard_normal(4_000))).astype(np.float32)
    made, small = change_speed(square, factor), change_speed(square / 100, factor)
    assert np.abs(small).max() > peak / 100 and np.abs(made).max() == pytest.approx(peak)
    assert np.abs(made / np.abs(made).max() - small / np.abs(small).max()).max() < 1e-5


@pytest.mark.parametrize("factor", [0.4, 2.1, 1.001, "fast", True])
def test_other_factors_are_refused(factor: float) -> None:
    with pytest.raises(InputError, match=f"speed {factor!r}: give a factor from 0.5 to 2, to two decimals"):
        change_speed(tone(400), factor)


def test_speeds_have_their_own_precision() -> None:
    waveform = rng(0).standard_normal(8_000).astype(np.float32)
    expected = change_speed(waveform, 1.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(change_speed(waveform, 1.1), expected)
