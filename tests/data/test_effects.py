"""Effects by what they do to a signal: power, place, spectrum; and that a row never hangs on its padding."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
import torchaudio
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.data.effects import gain, limit_band, limit_peak, mix, mu_law, normalised, power, reverberate
from tests.sounds import voice_like

from .signals import RATE, decibels, level_db, padded, rng, tone

LENGTHS = (16_000, 11_025, 400, 1)


def voices() -> list[np.ndarray]:
    return [voice_like(1.0, seed=seed)[:length] for seed, length in enumerate(LENGTHS)]


def response(samples: int, direct: int, seed: int = 0) -> np.ndarray:
    """Echoes of up to 0.1 around a direct path of -0.8."""
    made = 0.1 * rng(seed).uniform(-1, 1, samples)
    made[direct] = -0.8
    return made.astype(np.float32)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5, 40.0])
def test_noise_is_mixed_in_at_the_ratio_that_was_asked_for(snr_db: float) -> None:
    """Measured on the output, over the real samples of each row; the noise in the padding is not heard."""
    waveforms, lengths = padded(voices(), more=1000)
    noise = torch.from_numpy(rng(1).standard_normal(waveforms.shape).astype(np.float32))
    mixed = mix(waveforms, noise, torch.full((4,), snr_db), lengths)
    for clean, noisy, length in zip(waveforms.numpy(), mixed.numpy(), lengths, strict=True):
        assert not noisy[length:].any()
        added = noisy[:length].astype(np.float64) - clean[:length]
        assert decibels(clean[:length], added) == pytest.approx(snr_db, abs=0.05)


def test_rows_have_ratios_of_their_own_and_silence_stays_as_it_is() -> None:
    waveforms, lengths = padded([tone(400), tone(400), np.zeros(RATE, np.float32), tone(400)])
    noise = torch.stack([torch.ones(RATE), torch.ones(RATE), torch.ones(RATE), torch.zeros(RATE)])
    mixed = mix(waveforms, noise, torch.tensor([20.0, 0.0, 0.0, 0.0]), lengths)
    # The tone has a power of 1/8.
    assert (mixed - waveforms)[:, 5].tolist() == pytest.approx([0.1 * 0.125**0.5, 0.125**0.5, 0, 0], abs=1e-5)


def test_power_is_over_the_real_samples() -> None:
    assert power(torch.tensor([[3.0, 4, 0, 0], [1, 1, 1, 1]]), torch.tensor([2, 4])).tolist() == [12.5, 1]


def test_a_click_comes_out_where_it_was_at_its_level() -> None:
    """The direct path, the largest tap, turns neither place nor sign; its echoes follow, or go ahead."""
    waveforms = torch.zeros(2, 600)
    waveforms[:, 250] = 0.5
    responses, _ = padded([response(200, 30), response(90, 0, seed=1)])
    heard = reverberate(waveforms, responses, torch.tensor([600, 600]))
    assert heard.shape == waveforms.shape
    assert heard[:, 250].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    for row, taps, direct in ((0, response(200, 30), 30), (1, response(90, 0, seed=1), 0)):
        wanted = np.zeros(600)
        wanted[250 - direct : 250 - direct + len(taps)] = 0.5 * taps / taps[direct]
        np.testing.assert_allclose(heard[row].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("direct", [0, 37, 499])
def test_reverberation_is_a_convolution(direct: int) -> None:
    waveforms, lengths = padded(voices())
    taps = response(500, direct)
    heard = reverberate(waveforms, torch.from_numpy(taps).expand(4, -1), lengths)
    for waveform, made, length in zip(voices(), heard.numpy(), LENGTHS, strict=True):
        whole = np.convolve(waveform.astype(np.float64), taps / taps[direct])
        np.testing.assert_allclose(made[:length], whole[direct : direct + length], atol=3e-6)
        assert not made[length:].any()


def test_a_response_of_one_tap_and_a_silent_one_leave_a_row_as_it_is() -> None:
    waveforms, lengths = padded(voices())
    for taps in (torch.tensor([[-0.3]]), torch.zeros(1, 5)):
        torch.testing.assert_close(reverberate(waveforms, taps.expand(4, -1), lengths), waveforms, atol=1e-6, rtol=0)


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
    """Two rows with a band each; the other one lets everything pass."""
    waveforms, lengths = padded([tone(frequency), voice_like(1.0)])
    filtered = limit_band(waveforms, torch.tensor([low / RATE, 0.0]), torch.tensor([high / RATE, 0.5]), lengths)
    torch.testing.assert_close(filtered[1], waveforms[1], atol=1e-6, rtol=0)
    if passes:
        assert (filtered - waveforms)[0, 1600:-1600].abs().max() < 0.02  # in phase as well
    else:
        assert level_db(filtered[0].numpy(), waveforms[0].numpy()) < -30


def levels_of_g711() -> tuple[np.ndarray, np.ndarray]:
    """Decision and reconstruction values of mu-law above 0, by the rule under table 2a of ITU-T G.711.

    16 steps a segment, of 2 in the first (whose first step is of 1) and twice as wide in each of the 7 that follow.
    """
    decisions, value = [0.0, 1.0], 1.0
    for segment in range(8):
        for _ in range(15 if segment == 0 else 16):
            value += 2 ** (segment + 1)
            decisions.append(value)
    edges = np.array(decisions)
    middles = (edges[1:] + edges[:-1]) / 2
    middles[0] = 0.0
    return edges, middles


def test_the_transcribed_table_has_the_values_of_the_recommendation() -> None:
    edges, middles = levels_of_g711()
    assert len(middles) == 128 and edges[-1] == 8159 and middles[-1] == 8031
    assert [edges[i] for i in (16, 32, 48, 64, 80, 96, 112)] == [31, 95, 223, 479, 991, 2015, 4063]
    assert list(middles[:5]) == [0, 2, 4, 6, 8] and middles[16] == 33 and middles[112] == 4191


def test_mu_law_follows_the_table_of_g711() -> None:
    edges, middles = levels_of_g711()
    values = np.concatenate([edges[:-1], edges[1:-1] - 0.25, middles, rng().uniform(0, 8158, 5000)])
    wanted = middles[np.searchsorted(edges, values, side="right") - 1]
    for sign in (1, -1):
        coded = mu_law(torch.from_numpy(sign * values / 8192).float()[None])
        np.testing.assert_array_equal(coded[0].numpy() * 8192, sign * wanted)
    assert len(np.unique(coded)) == 128


def test_mu_law_is_that_of_libsndfile() -> None:
    """All its 14-bit values, written as a file of 8 bits and read again."""
    values = np.arange(-8158, 8159, dtype=np.int16) * 4
    file = io.BytesIO()
    sf.write(file, values, RATE, format="WAV", subtype="ULAW")
    file.seek(0)
    read, _ = sf.read(file, dtype="float32")
    np.testing.assert_array_equal(mu_law(torch.from_numpy(values / np.float32(32_768))[None])[0].numpy(), read)


def test_mu_law_is_as_fine_as_the_smooth_curve_of_torchaudio() -> None:
    """Which is another one, without a level at 0, but of as many steps: noise of coding at -38 dB."""
    waveform = torch.from_numpy(rng().normal(0, 0.1, 50_000)).float()
    smooth = torchaudio.functional.mu_law_decoding(torchaudio.functional.mu_law_encoding(waveform, 256), 256)
    ratios = [decibels(waveform.numpy(), (coded - waveform).numpy()) for coded in (mu_law(waveform[None])[0], smooth)]
    assert ratios == pytest.approx([38, 38], abs=1)


def test_mu_law_makes_softer_what_it_would_clip() -> None:
    waveforms = torch.stack([torch.linspace(-1.5, 1.5, 3001), torch.linspace(-0.5, 0.5, 3001)])
    coded = mu_law(waveforms)
    assert coded.abs().amax(1).tolist() == [8031 / 8192, 4063 / 8192 + (4191 - 4063) / 8192]
    fitted = (coded[0] * waveforms[0]).sum() / waveforms[0].square().sum()
    assert float(fitted) == pytest.approx(8158 / 8192 / 1.5, rel=1e-3)  # softer in proportion
    assert len(coded[0, -100:].unique()) > 1  # and not flat at the top


def test_gain_and_peak() -> None:
    waveforms, _ = padded([tone(400)] * 2)
    louder = gain(waveforms, torch.tensor([-6.0, 20.0])).numpy()
    assert [decibels(row, tone(400)) for row in louder] == pytest.approx([-6, 20], abs=1e-4)
    limited = limit_peak(torch.from_numpy(louder)).numpy()
    np.testing.assert_array_equal(limited[0], louder[0])
    assert 1 - 1e-6 < np.abs(limited[1]).max() <= 1
    np.testing.assert_allclose(limited[1], louder[1] / np.abs(louder[1]).max(), rtol=1e-6)
    own = limit_peak(waveforms, torch.tensor([0.1, 0.7]))
    assert own.abs().amax(1).tolist() == pytest.approx([0.1, 0.5])


def test_normalisation_is_the_extractor_s(speech: Path) -> None:
    clips = [sf.read(path, dtype="float32")[0] for path in sorted((speech / "emotion").rglob("*.flac"))[:3]]
    clips += [voice_like(0.3) + np.float32(0.2), np.zeros(500, np.float32)]
    waveforms, lengths = padded(clips, more=77)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    wanted = extractor(clips, sampling_rate=RATE, padding=True, return_tensors="pt")["input_values"]
    made = normalised(waveforms, lengths)
    torch.testing.assert_close(made[:, :-77], wanted, atol=1e-5, rtol=0)
    assert all(not row[length:].any() for row, length in zip(made, lengths, strict=True))


def snr(count: int) -> Tensor:
    return torch.linspace(0, 15, count)


def fixed_noise(shape: tuple[int, ...]) -> Tensor:
    """A row's beginning does not hang on how long it is."""
    rows = [rng(i).standard_normal(shape[1]) for i in range(shape[0])]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def rooms(count: int) -> Tensor:
    return padded([response(300 + 100 * i, 20 * i, seed=i) for i in range(count)])[0]


CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mix": lambda w, lengths: mix(w, fixed_noise(w.shape), snr(4)[: len(w)], lengths),
    "reverberate": lambda w, lengths: reverberate(w, rooms(4)[: len(w)], lengths),
    "limit_band": lambda w, lengths: limit_band(w, snr(4)[: len(w)] / 200, 0.2 + snr(4)[: len(w)] / 40, lengths),
    "mu_law": lambda w, lengths: mu_law(w),
    "gain": lambda w, lengths: gain(w, snr(4)[: len(w)]),
    "limit_peak": lambda w, lengths: limit_peak(w, 0.2),
    "normalised": normalised,
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_is_the_same_without_the_others_and_with_more_padding(name: str) -> None:
    """And nothing that was given is changed."""
    waveforms, lengths = padded(voices())
    before = waveforms.clone()
    together = CASES[name](waveforms, lengths)
    assert torch.equal(waveforms, before) and together.shape == waveforms.shape and together.dtype == torch.float32
    more = CASES[name](*padded(voices(), more=5000))
    alone = CASES[name](*padded(voices()[:1]))
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(more[:, :16_000], together, atol=1e-6, rtol=0)
    for row, length in zip(more, LENGTHS, strict=True):
        assert not row[length:].any()
