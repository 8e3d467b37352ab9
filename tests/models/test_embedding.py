"""`embed`: waveforms of any lengths to embeddings, in their order, as the model itself gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.errors import InputError
from hf_speech.models.embedding import evaluating, normalised
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel

from .tiny import STABLE, TOLERANCE, lively, tiny_config, waveforms

LENGTHS = (9_000, 16_000, 600, 12_345, 5_000)


def model_of(backbone: str, **settings: Any) -> HfSpeechForSequenceClassification:
    overrides = STABLE if backbone == "wav2vec2" else {}
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, overrides, pooling="mean+std", **settings)))


@pytest.mark.parametrize("batch_seconds", [0.1, 1.0, 60.0])
@pytest.mark.parametrize(("backbone", "normalize"), [("wav2vec2", None), ("wav2vec2", False), ("ecapa-tdnn", None)])
def test_each_is_what_the_feature_extractor_and_the_model_give_it_alone(
    backbone: str, normalize: bool | None, batch_seconds: float
) -> None:
    model = model_of(backbone, do_normalize=normalize)
    assert model.config.normalizes == (backbone == "wav2vec2" and normalize is None)
    # The shortest of ECAPA-TDNN is longer than one receptive field of wav2vec2.
    waves = [wave + 0.5 for wave in waveforms([max(n, model.encoder.min_samples) for n in LENGTHS])]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=model.config.normalizes)
    with torch.no_grad():
        alone = [model(**extractor(w.numpy(), sampling_rate=16_000, return_tensors="pt")).embeddings for w in waves]
    wanted = torch.cat(alone)
    found = model.embed(waves, sampling_rate=16_000, batch_seconds=batch_seconds)
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)
    assert wanted.std(0).max() > 1000 * TOLERANCE
    backwards = model.embed([wave.numpy() for wave in waves[::-1]], batch_seconds=batch_seconds)
    torch.testing.assert_close(backwards, wanted.flip(0), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("level", [1e-3, 1.0, 300.0])
def test_normalisation_is_the_feature_extractor_s(level: float) -> None:
    wave = level * (torch.randn(5_000, generator=torch.Generator().manual_seed(0)) + 3)
    wanted = Wav2Vec2FeatureExtractor(do_normalize=True)(wave.numpy(), sampling_rate=16_000)["input_values"][0]
    np.testing.assert_allclose(normalised(wave).numpy(), wanted, atol=2e-5)


def test_the_base_model_and_a_loaded_one_embed_alike(tmp_path: Path) -> None:
    model = model_of("wav2vec2", head="mlp")
    waves = waveforms(LENGTHS)
    wanted = model.embed(waves)
    assert torch.equal(model.speech.embed(waves), wanted)
    model.save_pretrained(tmp_path)
    assert torch.equal(HfSpeechModel.from_pretrained(tmp_path).embed(waves), wanted)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was_even_after_a_refusal(training: bool) -> None:
    model = model_of("wav2vec2")
    waves = waveforms(LENGTHS[:2])
    quiet = model.embed(waves)
    model.train(training)
    assert torch.equal(model.embed(waves), quiet)  # no dropout
    with pytest.raises(InputError):
        model.embed([*waves, torch.zeros(3)])
    assert model.training == training and model.speech.training == training


def test_each_part_has_its_own_mode_again() -> None:
    model = model_of("wav2vec2").train()
    model.speech.pooling.eval()
    model.encoder.backbone.encoder.layers[0].eval()
    modes = {name: part.training for name, part in model.named_modules()}
    assert set(modes.values()) == {True, False}
    model.embed(waveforms(LENGTHS[:2]))
    assert {name: part.training for name, part in model.named_modules()} == modes
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not any(part.training for part in model.modules())
        raise ZeroDivisionError
    assert {name: part.training for name, part in model.named_modules()} == modes


def test_a_reversed_view_is_embedded() -> None:
    model = model_of("wav2vec2")
    wave = waveforms(LENGTHS[:1])[0]
    assert torch.equal(model.embed([wave.numpy()[::-1]]), model.embed([wave.flip(0)]))


def test_one_array_is_no_list() -> None:
    for one in (waveforms(LENGTHS[:1])[0], waveforms(LENGTHS[:1])[0].numpy()):
        with pytest.raises(InputError, match="waveforms is one array: give a list of them"):
            model_of("wav2vec2").embed(one)


def test_none_are_none() -> None:
    found = model_of("wav2vec2").embed([])
    assert found.shape == (0, 64)


@pytest.mark.parametrize(
    ("waveform", "rate", "said"),
    [
        (torch.zeros(800), 8_000, "sampling_rate is 8000, but the model takes 16000 samples per second: resample"),
        (torch.zeros(399), None, "waveform 1 has 399 samples: the model needs at least 400"),
        (torch.zeros(1, 800), None, "waveform 1 has shape (1, 800): give mono, (samples,)"),
        (torch.zeros(800, dtype=torch.int16), None, "waveform 1 holds torch.int16 numbers: give floats in [-1, 1]"),
        ("a.wav", None, "waveform 1 is a str: give an array or a tensor of floats, (samples,)"),
        (None, None, "waveform 1 is a NoneType: give an array or a tensor of floats, (samples,)"),
        (np.array(["a"]), None, "waveform 1 is a ndarray: give an array or a tensor of floats, (samples,)"),
        (np.full(800, np.nan), None, "waveform 1 holds NaN or infinite samples"),
    ],
)
def test_what_can_not_be_embedded_is_named(waveform: Any, rate: int | None, said: str) -> None:
    with pytest.raises(InputError) as caught:
        model_of("wav2vec2").embed([torch.zeros(800), waveform], sampling_rate=rate)
    assert said in str(caught.value)
