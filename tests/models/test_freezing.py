"""Frozen means: no gradient, no dropout, not a bit changed by the optimiser; and all else is trained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hf_speech.errors import InputError
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .tiny import RAW_BACKBONES, STABLE, lively, padded, tiny_config, waveforms

# Norm before the layers ("post-norm" encoders) or behind them.
CASES = [(backbone, {}) for backbone in RAW_BACKBONES]
CASES += [(backbone, STABLE) for backbone in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")]
SPEC_AUGMENT = {"mask_time_prob": 0.3, "mask_time_length": 2}


def model_of(backbone: str, values: dict[str, Any], **settings: Any) -> HfSpeechForSequenceClassification:
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, {**SPEC_AUGMENT, **values}, **settings)))


def norm_is_last(backbone: str, values: dict[str, Any]) -> bool:
    return backbone == "wav2vec2-conformer" or values == STABLE


def below_layers(name: str, norm_last: bool) -> bool:
    """Whether a parameter of the backbone works on what the first layer takes in."""
    parts = ("feature_extractor.", "feature_projection.", "encoder.pos_conv_embed.", "masked_spec_embed")
    return name.startswith(parts) or (name.startswith("encoder.layer_norm.") and not norm_last)


def step(model: HfSpeechForSequenceClassification) -> None:
    """One step of Adam, which moves a key's bias too (its gradient is all rounding), on a padded batch."""
    torch.manual_seed(1)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.1)
    model(**padded(waveforms((9_000, 6_000, 5_000)), 9_500), labels=torch.tensor([0, 1, 2])).loss.backward()
    optimizer.step()


def expect_frozen(model: HfSpeechForSequenceClassification, frozen: Callable[[str], bool]) -> None:
    """Exactly these parameters of the backbone are frozen; a step leaves them as they are and moves all others."""
    prefix = "speech.frame_encoder.backbone."
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = {name for name in before if name.startswith(prefix) and frozen(name.removeprefix(prefix))}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == expected
    step(model)
    for name, parameter in model.named_parameters():
        unmoved = torch.equal(parameter, before[name])
        assert unmoved == (name in expected), name


@pytest.mark.parametrize(("backbone", "values"), CASES)
def test_nothing_is_frozen_unasked(backbone: str, values: dict[str, Any]) -> None:
    expect_frozen(model_of(backbone, values), lambda name: False)


@pytest.mark.parametrize(("backbone", "values"), CASES)
def test_freezing_the_feature_encoder(backbone: str, values: dict[str, Any]) -> None:
    model = model_of(backbone, values)
    model.freeze_feature_encoder()
    expect_frozen(model, lambda name: name.startswith("feature_extractor."))


@pytest.mark.parametrize(("backbone", "values"), CASES)
def test_freezing_layers_freezes_what_lies_below_them(backbone: str, values: dict[str, Any]) -> None:
    model = model_of(backbone, {**values, "num_hidden_layers": 3})
    model.freeze_encoder_layers(2)
    norm_last = norm_is_last(backbone, values)
    expect_frozen(
        model,
        lambda name: below_layers(name, norm_last) or name.startswith(("encoder.layers.0.", "encoder.layers.1.")),
    )


def test_freezing_no_layer_freezes_nothing() -> None:
    model = model_of("wav2vec2", {})
    model.freeze_encoder_layers(0)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("layer", ["last", 1, "weighted_sum"])
@pytest.mark.parametrize(("backbone", "values"), CASES)
def test_freezing_the_backbone(backbone: str, values: dict[str, Any], layer: int | str) -> None:
    model = model_of(backbone, values, layer=layer)
    model.freeze_backbone()
    expect_frozen(model, lambda name: True)
    assert model.training and not any(module.training for module in model.encoder.backbone.modules())
    running = {name: b.clone() for name, b in model.named_buffers() if "running" in name}
    batch = padded(waveforms((9_000, 6_000)), 9_500)
    with torch.no_grad():  # no dropout, no mask, no statistics: the same twice
        assert torch.equal(model(**batch).embeddings, model(**batch).embeddings)
    assert all(torch.equal(dict(model.named_buffers())[name], values) for name, values in running.items())


def test_more_layers_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match="can't freeze 3 layers: the encoder has 2"):
        model_of("wav2vec2", {}).freeze_encoder_layers(3)
