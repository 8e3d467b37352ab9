"""What is drawn for a row and what becomes of it: every effect of the registry, alone and together."""

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.data.augment import Augmentation, apply_drawn, apply_effect, augmented, collate_drawn
from hf_speech.data.drawing import EFFECTS, Babble, Drawn, Gain, Lowpass, MuLaw, Noise, Reverb, Telephone
from hf_speech.data.effects import limit_band, mu_law
from hf_speech.errors import InputError
from hf_speech.models.registry import with_options
from tests.sounds import voice_like

from .signals import RATE, decibels, padded, power, rng, tone

EVERYTHING = Augmentation(
    speeds=(0.9, 1.0, 1.1),
    reverb=Reverb(probability=0.5),
    noise=Noise(probability=0.5),
    babble=Babble(probability=0.5),
    telephone=Telephone(probability=0.3),
    lowpass=Lowpass(probability=0.5),
    mu_law=MuLaw(probability=0.5),
    gain=Gain(probability=0.5),
)
LENGTHS = (16_000, 9_001, 400, 1)


def certain(*names: str, **values: Any) -> Augmentation:
    """An augmentation of which these happen in any case."""
    tables: dict[str, Any] = {name: {"probability": 1, **values} for name in names}
    return Augmentation(**tables)


def draws(augmentation: Augmentation, lengths: tuple[int, ...] = LENGTHS) -> list[dict[str, Drawn]]:
    """For each row, by a generator of its own; the other voices are the same for all."""
    others = [voice_like(0.5, seed=seed) for seed in range(7, 11)]
    return [augmentation.draw(length, rng(seed), others) for seed, length in enumerate(lengths)]


def voices() -> list[np.ndarray]:
    return [voice_like(1.0, seed=seed)[:length] for seed, length in enumerate(LENGTHS)]


LINEAR = [name for name in EFFECTS if name != "mu_law"]


@pytest.mark.parametrize("names", [[name] for name in EFFECTS] + [LINEAR], ids="+".join)
def test_a_row_is_the_same_alone_in_a_batch_and_with_more_padding(names: list[str]) -> None:
    drawn = draws(certain(*names))
    waveforms, lengths = padded(voices())
    kept = waveforms.clone()
    together = apply_drawn(waveforms, lengths, collate_drawn(drawn))
    assert torch.equal(waveforms, kept) and together.dtype == torch.float32
    assert not torch.equal(together[0], waveforms[0])
    more = apply_drawn(*padded(voices(), more=3_000), collate_drawn(drawn))
    for i, (voice, length) in enumerate(zip(voices(), LENGTHS, strict=True)):
        alone = apply_drawn(*padded([voice]), collate_drawn([drawn[i]]))
        torch.testing.assert_close(together[i, :length], alone[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(more[i, :length], alone[0], atol=1e-6, rtol=0)
        assert not together[i, length:].any() and not more[i, length:].any()


def test_with_mu_law_behind_the_others_a_few_samples_may_fall_to_the_next_step() -> None:
    """Namely those that a rounding of 1e-7 carries over its edge."""
    drawn = draws(certain(*EFFECTS))
    together = apply_drawn(*padded(voices(), more=3_000), collate_drawn(drawn))
    for i, (voice, length) in enumerate(zip(voices(), LENGTHS, strict=True)):
        alone = apply_drawn(*padded([voice]), collate_drawn([drawn[i]]))
        assert ((together[i, :length] - alone[0]).abs() > 1e-6).float().mean() < 2e-3
        assert not together[i, length:].any()


@pytest.mark.parametrize("name", EFFECTS)
def test_only_the_rows_that_it_was_drawn_for_are_changed(name: str) -> None:
    drawn = draws(certain(name))
    some: list[dict[str, Drawn]] = [{}, drawn[1], {}, {}]
    waveforms, lengths = padded(voices())
    made, all_made = (apply_drawn(waveforms, lengths, collate_drawn(rows)) for rows in (some, drawn))
    for i in (0, 2, 3):
        assert torch.equal(made[i], waveforms[i])
    torch.testing.assert_close(made[1], all_made[1], atol=1e-6, rtol=0)
    assert not torch.equal(made[1], waveforms[1])


@pytest.mark.parametrize("peak", [1.0, 3.0])
@pytest.mark.parametrize("name", EFFECTS)
def test_nothing_is_clipped(name: str, peak: float) -> None:
    """Noise that fills the scale, or more: it gets no louder, and is in proportion to what the effect made of it."""
    full = (peak * np.sign(rng(5).standard_normal(8_000)) * rng(6).uniform(0.5, 1, 8_000)).astype(np.float32)
    full[:2] = peak, -peak
    waveforms, lengths = padded([full])
    tables = collate_drawn(draws(certain(name), (8_000,)))
    made = apply_drawn(waveforms, lengths, tables)
    assert made.abs().max() <= peak
    free = apply_effect(name, waveforms, lengths, tables[name])
    scale = min(1.0, peak / float(free.abs().max()))
    torch.testing.assert_close(made, free * scale, atol=2e-6 * peak, rtol=0)


def test_everything_at_full_scale_stays_in_it() -> None:
    rows = [np.sign(rng(i).standard_normal(length)).astype(np.float32) for i, length in enumerate(LENGTHS)]
    for seed in range(10):
        drawn = [certain(*EFFECTS).draw(length, rng(seed), rows) for length in LENGTHS]
        made = apply_drawn(*padded(rows), collate_drawn(drawn))
        assert made.abs().max() <= 1 and torch.isfinite(made).all()


@pytest.mark.parametrize("name", EFFECTS)
def test_silence_stays_silent_and_finite(name: str) -> None:
    silence = [np.zeros(length, np.float32) for length in LENGTHS]
    drawn = [certain(name).draw(length, rng(), [silence[0]]) for length in LENGTHS]
    assert not apply_drawn(*padded(silence), collate_drawn(drawn)).any()
    heard = apply_drawn(*padded(voices()), collate_drawn(drawn))
    assert torch.isfinite(heard).all() and heard[0].any()


def test_the_defaults_change_nothing() -> None:
    waveform = voice_like(0.3)
    made = Augmentation()(waveform, rng(), [waveform])
    np.testing.assert_array_equal(made, waveform)
    assert not np.shares_memory(made, waveform)
    assert Augmentation().draw(100, rng()) == {} and collate_drawn([{}, {}]) == {}


def whole(waveform: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return padded([waveform])


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"speeds": [1.1]}, lambda made, w: len(made) == math.ceil(len(w) / 1.1)),
        ({"noise": {"probability": 1, "snr": [3, 3]}}, lambda made, w: abs(decibels(w, made - w) - 3) < 0.05),
        ({"babble": {"probability": 1, "snr": [3, 3]}}, lambda made, w: abs(decibels(w, made - w) - 3) < 0.05),
        (
            {"telephone": {"probability": 1}},
            lambda made, w: np.array_equal(
                made, limit_band(whole(w)[0], torch.tensor([300 / RATE]), torch.tensor([3400 / RATE]), whole(w)[1])[0]
            ),
        ),
        (
            {"lowpass": {"probability": 1, "hz": [3000, 3000]}},
            lambda made, w: np.array_equal(
                made, limit_band(whole(w)[0], torch.tensor([0.0]), torch.tensor([3000 / RATE]), whole(w)[1])[0]
            ),
        ),
        ({"mu_law": {"probability": 1}}, lambda made, w: np.array_equal(made, mu_law(whole(w)[0])[0])),
        ({"gain": {"probability": 1, "db": [-6, -6]}}, lambda made, w: abs(decibels(made, w) + 6) < 1e-4),
    ],
)
def test_each_happens_where_its_options_say_so(options: dict[str, Any], check: Any) -> None:
    waveform = voice_like(1.0)
    made = Augmentation(**options)(waveform, rng(), others=[tone(700), tone(900)])
    assert not np.array_equal(made, waveform) and check(made, waveform)


def test_a_click_in_a_simulated_room_stays_where_it_was() -> None:
    click = np.zeros(RATE, np.float32)
    click[5000] = 0.5
    made = certain("reverb")(click, rng())
    assert len(made) == RATE and made[5000] == pytest.approx(0.5, abs=1e-6)
    assert np.abs(made[:5000]).max() < 1e-6 and 0.001 < np.abs(made[5001:]).max() < 0.5


def test_effects_happen_in_the_order_of_the_registry() -> None:
    """Noise of a row at 0 dB, heard through the telephone: its power above 3.5 kHz is gone."""
    made = certain("telephone", "noise")(tone(1000), rng())
    spectrum = np.abs(np.fft.rfft(made)) ** 2
    assert spectrum[3600:].sum() / spectrum.sum() < 1e-3
    assert list(certain(*reversed(EFFECTS)).draw(RATE, rng(), [tone(400)])) == list(EFFECTS)


def test_draws_follow_their_probabilities_and_ranges() -> None:
    noisy = Augmentation(speeds=[0.9, 1.0, 1.1], noise={"probability": 0.3, "snr": (5, 10), "colours": ["white"]})
    generator = rng(4)
    drawn = [noisy.draw(10, generator) for _ in range(1000)]
    ratios = [float(each["noise"].values["snr_db"]) for each in drawn if each]
    assert len(ratios) == pytest.approx(300, abs=45)
    assert 5 <= min(ratios) < 5.2 and 9.8 < max(ratios) <= 10 and np.mean(ratios) == pytest.approx(7.5, abs=0.3)
    speeds = [noisy.draw_speed(generator) for _ in range(3000)]
    assert [speeds.count(speed) for speed in (0.9, 1.0, 1.1)] == pytest.approx([1000] * 3, abs=90)
    rooms = [certain("reverb", seconds=[0.3, 0.4]).draw(RATE, generator)["reverb"] for _ in range(50)]
    lengths = [len(room.values["response"]) / RATE for room in rooms]
    assert 0.3 <= min(lengths) < 0.31 and 0.39 < max(lengths) <= 0.4
    voices = {certain("babble").draw(9, generator, [tone(400)] * 9)["babble"].told.split()[2] for _ in range(60)}
    assert voices == set("34567")


def test_babble_needs_other_rows_and_a_response_is_as_long_as_the_row() -> None:
    assert certain("babble").draw(RATE, rng()) == {}
    response = certain("reverb", seconds=[2, 2]).draw(500, rng())["reverb"].values["response"]
    assert len(response) == 500


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


def test_every_tensor_of_the_draws_has_a_row_for_each_row() -> None:
    tables = collate_drawn(draws(EVERYTHING, tuple(range(400, 440))), normalize=True)
    assert set(tables) == {*EFFECTS, "normalize"}
    for values in tables.values():
        assert all(len(value) == 40 for value in values.values())
        assert values["drawn"].dtype == torch.bool
        assert all(value.dtype == torch.float32 for key, value in values.items() if key != "drawn")


def test_a_batch_is_augmented_once_and_then_normalised_where_it_is_wanted() -> None:
    waveforms, lengths = padded(voices()[:3])
    mask = (torch.arange(RATE) < lengths[:, None]).long()
    batch = {"input_values": waveforms, "attention_mask": mask, "labels": torch.tensor([0, 1, 2])}
    assert augmented(batch) == batch
    rows = draws(certain("noise"))[:3]
    plain, normal = (
        augmented({**batch, "augmentation": collate_drawn(rows, normalize=normalize)}) for normalize in (False, True)
    )
    assert plain.keys() == normal.keys() == batch.keys()
    torch.testing.assert_close(plain["input_values"], apply_drawn(waveforms, lengths, collate_drawn(rows)))
    for raw, row, length in zip(plain["input_values"], normal["input_values"], LENGTHS, strict=False):
        wanted = (raw[:length] - raw[:length].mean()) / raw[:length].std(correction=0)
        torch.testing.assert_close(row[:length], wanted, atol=1e-4, rtol=1e-3)
        assert not row[length:].any()


def test_options_go_through_json() -> None:
    assert with_options(Augmentation, {}, "augmentation")() == Augmentation()
    assert Augmentation(**json.loads(json.dumps(asdict(EVERYTHING)))) == EVERYTHING
    assert Augmentation(noise={"snr": [1, 2]}).noise == Noise(snr=(1, 2)) != Noise()
    assert power(tone(400)) == pytest.approx(0.125)


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("probability", [1.5, -0.1, "often", float("nan"), True])
def test_a_probability_is_one(name: str, probability: Any) -> None:
    with pytest.raises(InputError, match=f"{name}.*probability.*give a number"):
        Augmentation(**{name: {"probability": probability}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": {"snr": (15, 0)}}, r"^noise.snr \(15, 0\): give the lowest and the highest value"),
        ({"gain": {"db": 6}}, "gain: db is 6; give a list"),
        ({"gain": {"db": [6]}}, r"gain.db \[6\]: give the lowest"),
        ({"gain": 6}, "^gain 6: give a table of its fields: probability, db"),
        ({"gain": {"decibel": 6}}, "unknown option of gain 'decibel'"),
        ({"speeds": []}, r"speeds \[\]: give a list"),
        ({"speeds": 0.9}, r"speeds 0.9: give a list"),
        ({"speeds": [1.0, 1.0]}, "different factors"),
        ({"speeds": [0.4]}, "speed 0.4: give a factor from 0.5 to 2"),
        ({"speeds": [1.001]}, "speed 1.001: .* to two decimals"),
        ({"speeds": ["fast"]}, "speed 'fast'"),
        ({"noise": {"colours": "white"}}, "noise: colours is 'white'; give a list"),
        ({"noise": {"colours": []}}, r"noise.colours \(\): give a list of white, pink, brown"),
        ({"noise": {"colours": ["blue"]}}, "unknown colour of noise 'blue'; valid: brown, pink, white"),
        ({"babble": {"voices": [0, 3]}}, "babble.voices .* whole numbers from 1 up"),
        ({"babble": {"voices": [1.5, 3]}}, "babble: voices is .*; give a list"),
        ({"reverb": {"seconds": [0, 1]}}, "reverb.seconds .* from 0.05 up"),
        ({"reverb": {"drr": [-20, 1]}}, "reverb.drr .* from -6 up"),
        ({"lowpass": {"hz": [2000, 9000]}}, "lowpass.hz .* to 8000"),
        ({"lowpass": {"probability": 0.1}, "sample_rate": 8000}, "lowpass.hz .* to 4000"),
        ({"sample_rate": 0}, "sample_rate 0"),
        ({"sample_rate": 500, "telephone": {"probability": 1}}, "nothing lies above 300 Hz at 500 Hz"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as said:
        Augmentation(**options)
    assert "\n" not in str(said.value)
