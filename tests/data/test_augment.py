"""Augmentations by what they do to a signal: length, pitch, power, spectrum; and that the generator decides."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from hf_speech.data.augment import (
    COLOURS,
    Augmentation,
    add_noise,
    babble,
    change_speed,
    gain,
    limit_band,
    limit_peak,
    noise,
    source_samples,
    speed_class,
    speed_class_names,
    speeds_in_names,
)
from hf_speech.errors import InputError
from hf_speech.models.registry import with_options
from tests.sounds import voice_like

RATE = 16_000
EVERYTHING = Augmentation(
    speeds=(0.9, 1.0, 1.1),
    noise_probability=0.5,
    babble_probability=0.5,
    telephone_probability=0.3,
    lowpass_probability=0.5,
    gain_probability=0.5,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(frequency: float, samples: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)).astype(np.float32)


def power(waveform: np.ndarray) -> float:
    return float(np.mean(waveform.astype(np.float64) ** 2))


def level_db(waveform: np.ndarray, reference: np.ndarray) -> float:
    """Power over that of the reference, without the first and last 0.1 s, where filters swing in."""
    return 10 * math.log10(power(waveform[1600:-1600]) / power(reference[1600:-1600]))


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


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5, 40.0])
@pytest.mark.parametrize("length", [100, 16_000, 50_000])
def test_noise_is_added_at_the_ratio_that_was_asked_for(snr_db: float, length: int) -> None:
    waveform = voice_like(1.0)
    noisy = add_noise(waveform, noise("pink", length, rng(1)), snr_db, rng(2))
    added = noisy.astype(np.float64) - waveform
    assert 10 * math.log10(power(waveform) / power(added)) == pytest.approx(snr_db, abs=1e-2)


def test_noise_begins_anew_at_its_end_or_is_cut() -> None:
    waveform, ramp = voice_like(1.0), np.arange(1.0, 101.0)
    added = add_noise(waveform, ramp, 0.0) - waveform
    assert added / added[0] == pytest.approx(np.tile(ramp, 160), rel=1e-3)
    starts = set()
    for seed in range(20):
        added = add_noise(waveform, ramp, -20.0, rng(seed)) - waveform
        steps = np.round(100 * added / added.max()).astype(int)
        starts.add(steps[0])
        np.testing.assert_array_equal(steps, np.roll(np.tile(ramp, 160), 1 - steps[0]))
    assert len(starts) > 10
    added = add_noise(waveform, np.arange(1.0, 16_101.0), -40.0, rng(3)) - waveform
    assert (np.diff(added) > 0).all()  # one piece, not begun anew


def test_babble_is_equal_shares_of_its_voices() -> None:
    loud, soft = 0.9 * tone(500, 4_000), 0.01 * tone(1500, 20_000)
    mixed = babble([loud, soft, np.zeros(500, np.float32), np.zeros(0, np.float32)], RATE, rng())
    spectrum = np.abs(np.fft.rfft(mixed)) ** 2
    at_500, at_1500 = spectrum[495:506].sum(), spectrum[1495:1506].sum()
    assert at_500 == pytest.approx(at_1500, rel=0.01)
    assert (at_500 + at_1500) / spectrum.sum() > 0.99
    assert mixed.dtype == np.float32 and power(mixed) == pytest.approx(2, rel=0.01)
    assert not babble([], 100, rng()).any()


def test_gain_and_peak() -> None:
    waveform = tone(400)
    assert 10 * math.log10(power(gain(waveform, -6)) / power(waveform)) == pytest.approx(-6, abs=1e-4)
    assert np.abs(limit_peak(gain(waveform, 20))).max() == 1
    np.testing.assert_array_equal(limit_peak(waveform), waveform)
    softer = limit_peak(waveform, 0.1)
    np.testing.assert_allclose(softer, waveform * (0.1 / np.abs(waveform).max()), rtol=1e-6)


@pytest.mark.parametrize(
    ("frequency", "low", "high", "passes"),
    [
        (100, 300, 3400, False),
        (230, 300, 3400, False),
        (370, 300, 3400, True),
        (1000, 300, 3400, True),
        (3300, 300, 3400, True),
        (3500, 300, 3400, False),
        (7000, 300, 3400, False),
        (50, 0, 2000, True),
        (2100, 0, 2000, False),
        (7900, 1000, 8000, True),
        (900, 1000, 8000, False),
    ],
)
def test_a_band_passes_what_lies_in_it(frequency: float, low: float, high: float, passes: bool) -> None:
    waveform = tone(frequency)
    filtered = limit_band(waveform, low, high)
    assert filtered.dtype == np.float32 and len(filtered) == len(waveform)
    if passes:
        assert np.abs(filtered - waveform)[1600:-1600].max() < 0.02  # in phase as well
    else:
        assert level_db(filtered, waveform) < -30


def test_band_of_the_whole_spectrum_is_the_waveform() -> None:
    waveform = voice_like(0.2)
    np.testing.assert_allclose(limit_band(waveform, 0, 8000), waveform, atol=1e-6)
    np.testing.assert_allclose(limit_band(waveform, 0, 20_000), waveform, atol=1e-6)
    with pytest.raises(InputError, match="band 3400 to 300 Hz"):
        limit_band(waveform, 3400, 300)
    with pytest.raises(InputError, match="rising frequencies from 0 to 4000 Hz"):
        limit_band(waveform, 5000, 6000, 8000)


def test_the_defaults_change_nothing() -> None:
    waveform = voice_like(0.3)
    made = Augmentation()(waveform, rng(), others=[waveform])
    np.testing.assert_array_equal(made, waveform)
    assert made is not waveform and not np.shares_memory(made, waveform)


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"speeds": [1.1]}, lambda made, waveform: len(made) == math.ceil(len(waveform) / 1.1)),
        ({"noise_probability": 1, "noise_snr": [3, 3]}, lambda made, w: abs(power(w) / power(made - w) - 2) < 0.01),
        ({"babble_probability": 1, "babble_snr": [3, 3]}, lambda made, w: abs(power(w) / power(made - w) - 2) < 0.01),
        ({"telephone_probability": 1}, lambda made, w: np.abs(made - limit_band(w, 300, 3400)).max() < 1e-6),
        (
            {"lowpass_probability": 1, "lowpass_hz": [3000, 3000]},
            lambda made, w: np.abs(made - limit_band(w, 0, 3000)).max() < 1e-6,
        ),
        ({"gain_probability": 1, "gain_db": [-6, -6]}, lambda made, w: np.abs(made - gain(w, -6)).max() < 1e-6),
    ],
)
def test_each_happens_where_its_option_says_so(options: dict, check) -> None:
    waveform = voice_like(1.0)
    made = Augmentation(**options)(waveform, rng(), others=[tone(700), tone(900)])
    assert not np.array_equal(made, waveform) and check(made, waveform)


def test_draws_follow_their_probabilities_and_ranges() -> None:
    waveform = voice_like(0.25)
    draw = Augmentation(noise_probability=0.3, noise_snr=(5, 10), noise_colours=["white"])
    generator = rng(4)
    noises = [draw(waveform, generator) - waveform for _ in range(1000)]
    ratios = [10 * math.log10(power(waveform) / power(added)) for added in noises if added.any()]
    assert len(ratios) == pytest.approx(300, abs=45)
    assert min(ratios) == pytest.approx(5, abs=0.2) and max(ratios) == pytest.approx(10, abs=0.2)
    assert np.mean(ratios) == pytest.approx(7.5, abs=0.3)
    speeds = [EVERYTHING.draw_speed(generator) for _ in range(3000)]
    assert [speeds.count(speed) for speed in (0.9, 1.0, 1.1)] == pytest.approx([1000] * 3, abs=90)


def test_the_generator_decides_and_nothing_given_is_changed() -> None:
    waveform, others = voice_like(0.5), [voice_like(0.3, seed=i) for i in range(1, 5)]
    kept = [array.copy() for array in (waveform, *others)]
    made = [EVERYTHING(waveform, rng(seed), others) for seed in range(30)]
    for seed, one in enumerate(made):
        np.testing.assert_array_equal(one, EVERYTHING(waveform, rng(seed), others))
        assert one.dtype == np.float32 and np.isfinite(one).all() and np.abs(one).max() <= 1
    assert len({one.tobytes() for one in made}) > 25
    for array, before in zip((waveform, *others), kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_a_crop_comes_out_as_long_as_wanted(speed: float) -> None:
    """And the speed drawn ahead is the one that is used: a tone tells."""
    samples = 4_001
    source = tone(400, source_samples(samples, speed))
    made = Augmentation(speeds=[0.9, 1.0, 1.1])(source, rng(), speed=speed, samples=samples)
    assert len(made) == samples
    assert np.abs(made - tone(400 * speed, samples))[50:-50].max() < 2e-3
    assert len(EVERYTHING(source, rng(), [source], speed=speed, samples=samples)) == samples


@pytest.mark.parametrize("samples", [1, 400, 16_000])
def test_silence_stays_silent_and_finite(samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    for seed in range(40):
        assert not EVERYTHING(silence, rng(seed), [silence, silence]).any()
        heard = EVERYTHING(voice_like(0.5), rng(seed), [silence])
        assert np.isfinite(heard).all() and heard.any()


def test_what_came_louder_than_full_scale_gets_no_louder() -> None:
    loud = 3 * voice_like(0.3)
    peak = float(np.abs(loud).max())
    louder = Augmentation(gain_probability=1, gain_db=[6, 6])(loud, rng())
    assert peak > 1 and np.abs(louder).max() == pytest.approx(peak, rel=1e-6)
    np.testing.assert_array_equal(Augmentation()(loud, rng()), loud)


def test_options_go_through_json() -> None:
    assert with_options(Augmentation, json.loads(json.dumps(asdict(EVERYTHING))), "augmentation")() == EVERYTHING
    with pytest.raises(InputError, match=r"unknown option of augmentation 'speed' \(did you mean 'speeds'\?\)"):
        with_options(Augmentation, {"speed": 1.1}, "augmentation")


def test_speeds_make_new_speakers() -> None:
    speeds = (0.9, 1.0, 1.1)
    classes = [speed_class(speaker, speed, 4, speeds) for speed in (1.0, 0.9, 1.1) for speaker in range(4)]
    assert classes == list(range(12))
    names = speed_class_names(["a", "b", "c", "d"], speeds)
    assert [names[speed_class(2, speed, 4, speeds)] for speed in speeds] == ["c at 0.9", "c", "c at 1.1"]
    assert speed_class(2, 1.1, 4, (1.1,)) == 6  # speed 1 keeps its classes
    with pytest.raises(InputError, match=r"speed 0.8 is none of the speeds 1, 0.9, 1.1"):
        speed_class(2, 0.8, 4, speeds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_probability": 1.5}, "noise_probability 1.5: give a number from 0 to 1"),
        ({"babble_probability": "often"}, "babble_probability 'often'"),
        ({"gain_probability": float("nan")}, "gain_probability nan"),
        ({"noise_snr": (15, 0)}, r"noise_snr \(15, 0\): give the lowest and the highest value"),
        ({"gain_db": 6}, "gain_db 6: give the lowest"),
        ({"speeds": []}, r"speeds \[\]: give a list"),
        ({"speeds": [1.0, 1.0]}, "different factors"),
        ({"speeds": [0.4]}, "speed 0.4: give a factor from 0.5 to 2"),
        ({"speeds": [1.001]}, "speed 1.001: .* to two decimals"),
        ({"speeds": ["fast"]}, "speed 'fast'"),
        ({"noise_colours": "white"}, "noise_colours 'white': give a list of white, pink, brown"),
        ({"noise_colours": ["blue"]}, "unknown colour of noise 'blue'; valid: brown, pink, white"),
        ({"babble_voices": [0, 3]}, "babble_voices .* whole numbers from 1 up"),
        ({"babble_voices": [1.5, 3]}, "babble_voices .* whole numbers from 1 up"),
        ({"lowpass_hz": [2000, 9000]}, "lowpass_hz .* to 8000"),
        ({"sample_rate": 0}, "sample_rate 0"),
        ({"sample_rate": 500, "lowpass_hz": [50, 100], "telephone_probability": 1}, "nothing above 300 Hz at 500 Hz"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(**options)


@pytest.mark.parametrize("speeds", [(1.1,), (0.9, 1.0, 1.1), (0.95, 0.9, 1.05, 1.1)])
@pytest.mark.parametrize("names", [["ada", "bob"], ["c", "b", "a"], ["ada", "ada at 3"]])
def test_the_speeds_are_found_in_the_names(names: list[str], speeds: tuple[float, ...]) -> None:
    made = speed_class_names(names, speeds)
    assert speeds_in_names(made) == len({1.0, *speeds}) == len(made) / len(names)
    assert speeds_in_names(names) == 1
    assert speeds_in_names(made[:-1]) == speeds_in_names([*made[1:], made[0]]) == 1  # another order, or some missing
    assert speeds_in_names([*names, *(f"{name} at noon" for name in names)]) == 1
