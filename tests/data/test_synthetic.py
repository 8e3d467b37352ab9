"""Noise by its power and slope, babble by its shares, rooms by their decay."""

import math

import numpy as np
import pytest

from hf_speech.data.synthetic import COLOURS, babble, noise, piece, room_response
from hf_speech.errors import InputError

from .signals import RATE, power, rng, tone


@pytest.mark.parametrize("colour", COLOURS)
def test_noise_has_unit_power_and_its_slope(colour: str) -> None:
    """The power in an octave band falls by 0, 3.01 or 6.02 dB an octave against white noise."""
    drawn = noise(colour, 1 << 18, rng())
    assert drawn.dtype == np.float32 and power(drawn) == pytest.approx(1, rel=1e-5)
    spectrum = np.abs(np.fft.rfft(drawn)) ** 2
    edges = [125 * 2**k * len(drawn) // RATE for k in range(7)]  # Hz to bins, 125 to 8000 Hz
    densities = [spectrum[low:high].mean() for low, high in zip(edges[:-1], edges[1:], strict=True)]
    slopes = np.diff(10 * np.log10(densities))
    assert slopes == pytest.approx(np.full(5, -COLOURS[colour] * 10 * math.log10(2)), abs=0.25)
    # Not all of it lies below what is heard: half of brown noise's power, or more, is above 30 Hz.
    assert spectrum[30 * len(drawn) // RATE :].sum() / spectrum.sum() > 0.5


@pytest.mark.parametrize("samples", [1, 2, 63, 401, 16_000])
@pytest.mark.parametrize("colour", COLOURS)
def test_noise_of_any_length(colour: str, samples: int) -> None:
    drawn = noise(colour, samples, rng(samples))
    assert drawn.shape == (samples,) and power(drawn) == pytest.approx(1, rel=1e-5)
    with pytest.raises(InputError, match="unknown colour of noise 'blue'"):
        noise("blue", samples, rng())


def test_a_piece_begins_anew_at_its_end_or_is_cut() -> None:
    ramp, starts = np.arange(1, 101), set()
    for seed in range(20):
        drawn = piece(ramp, 16_000, rng(seed))
        starts.add(drawn[0])
        np.testing.assert_array_equal(drawn, np.roll(np.tile(ramp, 160), 1 - drawn[0]))
        cut = piece(ramp, 60, rng(seed))
        assert (np.diff(cut) == 1).all() and len(cut) == 60  # one piece, not begun anew
    assert len(starts) > 10
    assert {piece(ramp, 98, rng(seed))[0] for seed in range(40)} == {1, 2, 3}


def test_babble_is_equal_shares_of_its_voices() -> None:
    loud, soft = 0.9 * tone(500, 4_000), 0.01 * tone(1500, 20_000)
    mixed = babble([loud, soft, np.zeros(500, np.float32), np.zeros(0, np.float32)], RATE, rng())
    spectrum = np.abs(np.fft.rfft(mixed)) ** 2
    at_500, at_1500 = spectrum[495:506].sum(), spectrum[1495:1506].sum()
    assert at_500 == pytest.approx(at_1500, rel=0.01)
    assert (at_500 + at_1500) / spectrum.sum() > 0.99
    assert mixed.dtype == np.float32 and power(mixed) == pytest.approx(2, rel=0.01)
    assert not babble([], 100, rng()).any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0])
def test_a_room_decays_by_60_db_in_its_rt60(seconds: float, rate: int, seed: int) -> None:
    """Schroeder's backward integration of what follows the direct path; a line through -5 to -35 dB."""
    response = room_response(seconds, 6.0, rate, rng(seed))
    assert response.shape == (seconds * rate,) and response.dtype == np.float32
    energy = np.cumsum(response[:0:-1].astype(np.float64) ** 2)[::-1]
    decay = 10 * np.log10(energy / energy[0])
    used = (decay <= -5) & (decay >= -35)
    slope, _ = np.polyfit(np.arange(len(decay))[used] / rate, decay[used], 1)
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize("drr", [-6.0, 0.0, 12.0])
@pytest.mark.parametrize("seconds", [0.05, 0.8])
def test_a_room_has_its_direct_path_first_and_largest_at_its_ratio(seconds: float, drr: float) -> None:
    for seed in range(20):
        response = room_response(seconds, drr, RATE, rng(seed))
        assert response[0] == 1 and np.abs(response[1:]).max() < 1
        assert -10 * math.log10(np.sum(response[1:].astype(np.float64) ** 2)) == pytest.approx(drr, abs=0.1)
