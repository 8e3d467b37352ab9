"""Front ends beside the libraries they come from, and what they must not depend on."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor
from torchaudio.compliance import kaldi
from transformers import SeamlessM4TFeatureExtractor

from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.registry import InputError, build
from hf_speech.models.spectra import NORMS, cosine_matrix, decibels, emphasise, mel_matrix, normalise, window

RATE = 16_000
CPU = torch.device("cpu")
INT16 = 32_768.0


def noise(samples: int = 20_000, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def voiced(samples: int = 20_000) -> Tensor:
    """24 harmonics of a pitch that rises from 90 to 300 Hz, falling by 6 dB an octave, 13 dB above white noise."""
    pitch = torch.linspace(90, 300, samples, dtype=torch.float64)
    phase = 2 * math.pi * pitch.cumsum(0) / RATE
    harmonics = torch.stack([(k * phase).sin() / k for k in range(1, 25)])
    return 0.1 * harmonics.sum(0).float() + 0.2 * noise(samples)


def librosa_log_mel(wave: Tensor) -> Tensor:
    """dmha-age's extraction, with librosa's calls spelt out in float64."""
    values = wave.double().numpy() * INT16
    values[1:] = values[1:] - 0.97 * values[:-1]
    values[0] *= 0.03
    hamming = np.pad(np.hamming(401)[:-1], 56)  # periodic, in the middle of 512
    starts = range(0, len(values) - 511, 160)
    magnitudes = np.abs(np.stack([np.fft.rfft(values[s : s + 512] * hamming) for s in starts]))
    filters = torchaudio.functional.melscale_fbanks(257, 0.0, 8_000.0, 80, RATE, norm=None, mel_scale="slaney")
    return torch.from_numpy(np.log(np.maximum(1, magnitudes @ filters.double().numpy()))).float()


def kaldi_fbank(wave: Tensor) -> Tensor:
    # In float64: quiet bands of a loud voice are small differences, which float32 rounds by the processor.
    return kaldi.fbank(wave[None].double() * INT16, num_mel_bins=80, dither=0.0).float()


def torchaudio_mfcc(wave: Tensor) -> Tensor:
    """few-samples' cepstra and its normalisation."""
    features = torchaudio.transforms.MFCC(n_mfcc=80)(wave[None])[0].T
    std, mean = torch.std_mean(features, dim=0)
    return (features - mean) / (std + 1e-5)


def speechbrain_fbank(wave: Tensor) -> Tensor:
    features = pytest.importorskip("speechbrain.lobes.features").Fbank(n_mels=80)(wave[None])
    normalisation = pytest.importorskip("speechbrain.processing.features").InputNormalization
    return normalisation(norm_type="sentence", std_norm=False)(features, torch.ones(1))[0]


def seamless(wave: Tensor) -> Tensor:
    made = SeamlessM4TFeatureExtractor()(wave.numpy(), sampling_rate=RATE, return_tensors="pt")
    return made["input_features"][0, made["attention_mask"][0].bool()]


# Each front end with its defaults, but for the mean that dmha-age's loader takes off.
LIBRARIES: dict[str, Callable[[Tensor], Tensor]] = {
    "log-mel": lambda wave: (lambda features: features - features.mean(0))(librosa_log_mel(wave)),
    "kaldi-fbank": kaldi_fbank,
    "mfcc": torchaudio_mfcc,
    "speechbrain-fbank": speechbrain_fbank,
    "w2v-bert-fbank": seamless,
}


def batch(lengths: list[int], junk: float) -> tuple[Tensor, Tensor]:
    """Waveforms at very different levels, junk where they have ended, and 333 samples of it behind the longest."""
    waves = torch.full((len(lengths), max(lengths) + 333), junk)
    for row, length in enumerate(lengths):
        waves[row, :length] = (row + 1) ** 2 * noise(length, seed=row)
    return waves, torch.tensor(lengths)


def test_every_front_end_has_a_library_to_equal() -> None:
    assert LIBRARIES.keys() == FRONTENDS.keys()


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")  # torchaudio's own default
@pytest.mark.parametrize("samples", [20_000, 16_080, 16_079, 4_321])
@pytest.mark.parametrize("signal", [noise, voiced])
@pytest.mark.parametrize("name", FRONTENDS)
def test_equals_the_library(name: str, signal: Callable[[int], Tensor], samples: int) -> None:
    wave = signal(samples)
    features, counts = FRONTENDS[name](RATE)(wave[None])
    expected = LIBRARIES[name](wave)
    assert counts is None and features.dtype == torch.float32
    # Decibels go to 60, and the libraries' mel filters are off by 1e-5, which low bands show in the fourth place.
    torch.testing.assert_close(features[0], expected, atol=1e-4 + 1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "kaldi-fbank",
            {"bands": 40, "low": 60.0, "high": -400.0, "scale": 1.0, "window_ms": 20.0, "hop_ms": 5.0},
            lambda wave: kaldi.fbank(
                wave[None], num_mel_bins=40, low_freq=60, high_freq=-400, frame_length=20, frame_shift=5, dither=0.0
            ),
        ),
        (
            "mfcc",
            {
                "coefficients": 13,
                "bands": 40,
                "hop_ms": 10.0,
                "n_fft": 512,
                "low": 50.0,
                "high": 7_000.0,
                "norm": "none",
            },
            lambda wave: (
                torchaudio.transforms.MFCC(
                    n_mfcc=13,
                    melkwargs={
                        "n_fft": 512,
                        "win_length": 400,
                        "hop_length": 160,
                        "n_mels": 40,
                        "f_min": 50,
                        "f_max": 7_000,
                    },
                )(wave[None])[0].T
            ),
        ),
    ],
)
def test_options_mean_what_the_library_means(
    name: str, options: dict[str, float], expected: Callable[[Tensor], Tensor]
) -> None:
    features, _ = FRONTENDS[name](RATE, **options)(noise()[None])
    torch.testing.assert_close(features[0], expected(noise()), atol=5e-4, rtol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 22_050])
@pytest.mark.parametrize("name", ["kaldi-fbank", "w2v-bert-fbank"])
def test_other_rates(name: str, rate: int) -> None:
    features, _ = FRONTENDS[name](rate, norm="none")(noise()[None])
    expected = kaldi.fbank(noise()[None] * INT16, num_mel_bins=80, dither=0.0, sample_frequency=rate)
    flat = features[0].reshape(-1, 80)
    torch.testing.assert_close(flat, expected[: len(flat)], atol=5e-4, rtol=1e-5)


@pytest.mark.parametrize("junk", [5.0, math.inf, math.nan])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", FRONTENDS)
def test_padding_changes_nothing(name: str, norm: str, junk: float) -> None:
    frontend = FRONTENDS[name](RATE, norm=norm)
    lengths = [frontend.min_samples, 4_000, 9_999, 700]
    waves, sizes = batch(lengths, junk)
    features, counts = frontend(waves, sizes)
    assert features.shape == (4, frontend.count(waves.shape[1]), frontend.output_size)
    for row, length in enumerate(lengths):
        alone, _ = frontend(waves[row : row + 1, :length])
        assert counts[row] == alone.shape[1] == frontend.count(length)
        size = max(10.0, float(alone.abs().max()))  # cepstra that are not normalised go to hundreds
        torch.testing.assert_close(features[row, : counts[row]], alone[0], atol=1e-6 * size, rtol=0)
        assert (features[row, counts[row] :] == 0).all()


@pytest.mark.parametrize("name", FRONTENDS)
def test_count_is_the_number_of_frames(name: str) -> None:
    frontend = FRONTENDS[name](RATE)
    least, hop = frontend.min_samples, frontend.hop
    sizes = [least, least + 1, *(least + k * hop + d for k in (1, 2, 7) for d in (-2, -1, 0, 1)), 4 * hop, 4 * hop - 1]
    counts = frontend.count(torch.tensor(sizes))
    for size, count in zip(sizes, counts.tolist(), strict=True):
        if size >= least:
            assert frontend(noise(size)[None])[0].shape[1] == frontend.count(size) == count >= 1
    assert frontend.count(least) == 1 and (least == 1 or frontend.count(least - 1) == 0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("signal", ["noise", "silence", "constant"])
@pytest.mark.parametrize("name", FRONTENDS)
def test_a_single_frame_has_finite_numbers_and_gradients(name: str, signal: str, norm: str) -> None:
    frontend = FRONTENDS[name](RATE, norm=norm)
    samples = frontend.min_samples
    wave = {"noise": noise(samples), "silence": torch.zeros(samples), "constant": torch.full((samples,), 0.5)}[signal]
    wave = torch.stack([wave, wave]).requires_grad_()
    features, counts = frontend(wave, torch.tensor([samples, samples]))
    (features * torch.arange(features[0].numel()).view(features[0].shape)).sum().backward()
    assert counts.tolist() == [1, 1] and features.isfinite().all() and wave.grad.isfinite().all()
    if signal == "noise" and norm == "none":
        assert (wave.grad != 0).any()


@pytest.mark.parametrize("name", FRONTENDS)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    frontend = FRONTENDS[name](RATE)
    wave = noise(4_000).requires_grad_()
    weights = torch.randn(frontend.count(4_000), frontend.output_size, generator=torch.Generator().manual_seed(1))

    def value(samples: Tensor) -> Tensor:
        return (frontend(samples[None])[0][0] * weights).sum()

    value(wave).backward()
    way = wave.grad / wave.grad.norm()
    with torch.no_grad():
        step = 2e-4
        slope = (value(wave + step * way) - value(wave - step * way)) / (2 * step)
    assert float(slope) == pytest.approx(float(wave.grad.norm()), rel=0.05)


@pytest.mark.parametrize("name", FRONTENDS)
def test_half_precision_and_autocast_compute_in_float32(name: str) -> None:
    frontend = FRONTENDS[name](RATE).to(torch.bfloat16)
    waves, lengths = batch([3_000, 5_000], 7.0)
    expected, _ = frontend(waves.bfloat16().float(), lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = frontend(waves.bfloat16(), lengths)
    assert features.dtype == torch.float32 and torch.equal(features, expected)


def centres(low: float, high: float, bands: int, name: str) -> list[float]:
    """Centres of mel filters in Hz, in plain arithmetic."""
    if name == "log-mel":  # Slaney: 200/3 Hz a mel up to 1,000 Hz, then 27 steps to the factor 6.4
        top = 15 + 27 * math.log(high / 1_000) / math.log(6.4)
        mels = [top * (k + 1) / (bands + 1) for k in range(bands)]
        return [mel * 200 / 3 if mel < 15 else 1_000 * 6.4 ** ((mel - 15) / 27) for mel in mels]
    bottom, top = math.log(1 + low / 700), math.log(1 + high / 700)
    return [700 * (math.exp(bottom + (top - bottom) * (k + 1) / (bands + 1)) - 1) for k in range(bands)]


@pytest.mark.parametrize("band", [10, 30, 37])
@pytest.mark.parametrize("name", FRONTENDS)
def test_a_tone_peaks_in_the_band_whose_centre_is_nearest(name: str, band: int) -> None:
    bands = 40
    options = {"coefficients": bands} if name == "mfcc" else {}
    frontend = FRONTENDS[name](RATE, bands=bands, norm="none", **options)
    middle = centres(20.0 if name in ("kaldi-fbank", "w2v-bert-fbank") else 0.0, 8_000.0, bands, name)
    hertz = 0.9 * middle[band] + 0.1 * middle[band + 1]
    tone = 0.3 * torch.sin(2 * math.pi * hertz / RATE * torch.arange(8_000))
    frame = frontend(tone[None])[0][0, 5]
    if name == "mfcc":
        frame = cosine_matrix(bands, bands, CPU) @ frame  # its inverse is its transpose
    for part in frame.split(bands):
        assert int(part.argmax()) == band


def test_mel_filters_are_those_of_the_libraries() -> None:
    fbanks = torchaudio.functional.melscale_fbanks
    for scale in ("htk", "slaney"):
        ours = mel_matrix(80, 512, RATE, 0.0, 8_000.0, scale, "hertz", CPU)
        torch.testing.assert_close(ours, fbanks(257, 0.0, 8_000.0, 80, RATE, mel_scale=scale), atol=3e-5, rtol=0)
    ours = mel_matrix(80, 512, RATE, 20.0, 8_000.0, "htk", "mel", CPU)
    theirs = torch.from_numpy(SeamlessM4TFeatureExtractor().mel_filters).float()  # worked out in float64, as ours
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)


def test_windows() -> None:
    torch.testing.assert_close(window("hamming", 4, 8, CPU), torch.tensor([0, 0, 0.08, 0.54, 1, 0.54, 0, 0]))
    torch.testing.assert_close(window("hann", 4, 4, CPU), torch.tensor([0, 0.5, 1, 0.5]))
    torch.testing.assert_close(window("povey", 5, 5, CPU), torch.tensor([0, 0.5**0.85, 1, 0.5**0.85, 0]))


def test_emphasis() -> None:
    torch.testing.assert_close(emphasise(torch.tensor([[4.0, 2.0, 6.0]]), 0.5), torch.tensor([[2.0, 0.0, 5.0]]))


def test_decibels_are_cut_80_below_the_utterance_s_own_maximum() -> None:
    # The second utterance's one real frame peaks at 20 dB; what stands behind it, 90 dB, does not count.
    power = torch.tensor([[[1e3, 1e-9], [1e2, 1.0]], [[1e2, 0.0], [1e9, 1e9]]])
    expected = torch.tensor([[[30.0, -50.0], [20.0, 0.0]], [[20.0, -60.0], [90.0, 90.0]]])
    torch.testing.assert_close(decibels(power, torch.tensor([2, 1])), expected)
    torch.testing.assert_close(decibels(power, None)[0], expected[0])
    torch.testing.assert_close(decibels(torch.zeros(1, 1, 1), None), torch.full((1, 1, 1), -100.0))


def test_normalisation_by_hand() -> None:
    # Bands (1, 3, 8) and (2, 2, 2), the second constant; then one real frame, 99 behind it.
    features = torch.tensor([[[1.0, 2.0], [3.0, 2.0], [8.0, 2.0]], [[7.0, 5.0], [99.0, 99.0], [99.0, 99.0]]])
    counts = torch.tensor([3, 1])
    zeros = torch.zeros(3, 2)
    centred = torch.tensor([[-3.0, 0.0], [-1.0, 0.0], [4.0, 0.0]])
    plain = torch.stack([features[0], torch.tensor([[7.0, 5.0], [0.0, 0.0], [0.0, 0.0]])])
    assert torch.equal(normalise(features, counts, "none"), plain)
    torch.testing.assert_close(normalise(features, counts, "mean"), torch.stack([centred, zeros]))
    # squares 9 + 1 + 16 = 26, divided by 3 or by 2
    for correction, variance in ((0, 26 / 3), (1, 13.0)):
        scaled = normalise(features, counts, "mean+variance", correction=correction)
        torch.testing.assert_close(scaled, torch.stack([centred / variance**0.5, zeros]))
    # a deviation of 0.01 or less is not divided by (dmha-age), unless the floor is lower
    small = torch.tensor([[[0.005], [-0.005]]])
    torch.testing.assert_close(normalise(small, None, "mean+variance"), small)
    torch.testing.assert_close(normalise(small, None, "mean+variance", floor=0.0), small.sign())
    torch.testing.assert_close(normalise(small, None, "mean+variance", floor=0.0, epsilon=75e-6), small.sign() / 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("log-mel", {"norm": "cmvn"}, "unknown norm of a front end 'cmvn'; valid: mean, mean\\+variance, none"),
        ("log-mel", {"n_fft": 256}, "n_fft is 256; give a number of 400 or more"),
        ("log-mel", {"bands": 258}, "bands is 258; give at most as many as there are bins, 257"),
        ("mfcc", {"bands": 202}, "bands is 202; give at most as many as there are bins, 201"),
        ("kaldi-fbank", {"bands": 10_000}, "bands is 10000; give at most as many as there are bins, 257"),
        ("w2v-bert-fbank", {"bands": 258}, "bands is 258; give at most as many as there are bins, 257"),
        ("log-mel", {"scale": 0}, "scale is 0; give a number above 0, such as 32768"),
        ("kaldi-fbank", {"scale": -1.0}, "scale is -1.0; give a number above 0"),
        ("kaldi-fbank", {"bands": 0}, "bands is 0; give a number of 1 or more"),
        ("kaldi-fbank", {"hop_ms": 0.01}, "hop_ms is 0.01, 0 samples at 16000 Hz; give 0.0625 or more"),
        ("kaldi-fbank", {"high": 9_000.0}, "give 0 <= low < high <= 8000"),
        ("speechbrain-fbank", {"low": 7_900.0, "high": -200.0}, "give 0 <= low < high <= 8000"),
        ("mfcc", {"bands": 40}, "coefficients is 80; give at most as many as there are bands, 40"),
        ("w2v-bert-fbank", {"stack": 0}, "stack is 0; give a number of 1 or more"),
        ("w2v-bert-fbank", {"norm": "sum"}, "unknown norm of a front end 'sum'"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(FRONTENDS, name, "front end", options, RATE)


def test_constants_made_in_inference_mode_or_on_meta_serve_training() -> None:
    wave = noise(2_000)[None]
    with torch.device("meta"):
        frontend = FRONTENDS["log-mel"](RATE, bands=33, window_ms=24.0)  # of no other test: nothing is kept yet
        with torch.inference_mode():
            expected, _ = frontend(wave)
    assert not frontend.state_dict()
    wave = wave.clone().requires_grad_()
    features, _ = frontend(wave)
    features.square().sum().backward()
    assert torch.equal(features, expected) and wave.grad.isfinite().all()


@pytest.mark.parametrize("name", FRONTENDS)
def test_exports_with_any_batch_and_length(name: str) -> None:
    frontend = FRONTENDS[name](RATE, bands=20, **({"coefficients": 10} if name == "mfcc" else {}))
    waves, lengths = batch([3_000, 2_000], 1.0)
    dynamic = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    program = torch.export.export(frontend, (waves, lengths), dynamic_shapes=dynamic).module()
    others = batch([7_001, 560, 5_000], 9.0)
    for got, expected in zip(program(*others), frontend(*others), strict=True):
        torch.testing.assert_close(got, expected)
