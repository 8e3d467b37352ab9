"""Frozen means: no gradient, no dropout, not a bit changed by the optimiser; and all else is trained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.backbones import OWN_BACKBONES
from hf_speech.models.configuration import BACKBONES, SSL_BACKBONES
from hf_speech.models.encoder import FREEZES
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
def test_freezing_the_projection_leaves_the_embedding_of_masks_to_the_transformer(
    backbone: str, values: dict[str, Any]
) -> None:
    model = model_of(backbone, values)
    model.freeze("cnn+projection")
    expect_frozen(model, lambda name: name.startswith(("feature_extractor.", "feature_projection.")))


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
    with pytest.raises(InputError, match="unknown kind of freezing .all.; valid: backbone, cnn, "):
        model_of("wav2vec2", {}).freeze("all")


# Of every encoder: what its rungs are, which of its modules rest, and that they do rest.


@pytest.mark.parametrize("layer", ["last", 1])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_rungs_have_every_parameter_of_the_backbone_once(backbone: str, layer: int | str) -> None:
    if backbone in OWN_BACKBONES and layer == 1:
        return  # no layers to choose from
    model = HfSpeechForSequenceClassification(tiny_config(backbone, masked(backbone), layer=layer))
    found = [id(p) for rung in model.encoder.rungs() for p in rung.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == {id(p) for p in model.encoder.backbone.parameters()}


def masked(backbone: str) -> dict[str, Any]:
    """Values with which an SSL encoder has all that it can have: masks and every dropout, all large."""
    if backbone in OWN_BACKBONES:
        return {}
    values = {**SPEC_AUGMENT, "num_hidden_layers": 3}
    names = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    return values | dict.fromkeys(names, 0.5)


def resting(model: HfSpeechForSequenceClassification) -> set[str]:
    """Names of the backbone's modules that are in evaluation mode."""
    return {name for name, module in model.encoder.backbone.named_modules() if not module.training}


def below(names: list[str], model: HfSpeechForSequenceClassification) -> set[str]:
    """Names of these modules of the backbone and of all within them."""
    there = dict(model.encoder.backbone.named_modules())
    return {name for name in there if any(name == top or name.startswith(f"{top}.") for top in names)}


@pytest.mark.parametrize(("kind", "layers"), [*((kind, 0) for kind in FREEZES), ("none", 2), ("cnn", 1)])
@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_what_is_frozen_rests_whoever_calls_train(backbone: str, kind: str, layers: int) -> None:
    model = HfSpeechForSequenceClassification(tiny_config(backbone, masked(backbone)))
    model.freeze(kind, layers)
    features = ["feature_projection"] if backbone == "wav2vec2-bert" else ["feature_extractor"]
    expected = {"none": [], "cnn": features, "cnn+projection": ["feature_extractor", "feature_projection"]}.get(kind)
    if layers:
        before = ["feature_extractor", "feature_projection", "encoder.dropout", "encoder.pos_conv_embed"]
        norm = [] if model.encoder.norm_is_last else ["encoder.layer_norm"]
        expected = [*before, *norm, *(f"encoder.layers.{i}" for i in range(layers))]
    for mode in (True, False, True):  # as before and after a validation
        model.train(mode)
    model.encoder.train()
    everything = {name for name, _ in model.encoder.backbone.named_modules()}
    assert resting(model) == (everything if expected is None else below(expected, model))
    assert model.encoder.training and model.head.training
    model.eval()
    assert resting(model) == everything


def seen(module: nn.Module, found: list[Tensor]) -> Any:
    """Notes what a module gives from now on."""
    return module.register_forward_hook(lambda _, __, output: found.append(output[0]))


@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_frozen_layers_see_no_chance_and_keep_no_graph(backbone: str) -> None:
    values = masked(backbone) | {"mask_time_prob": 0.0}
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone, values, layerdrop=0.5))).train()
    model.freeze(layers=2)
    layers = model.encoder.backbone.encoder.layers
    batch = padded(waveforms((9_000, 6_000)), 9_500)
    found: list[Tensor] = []
    hook = seen(layers[1], found)
    torch.manual_seed(0)
    logits = [model(**batch).logits for _ in range(8)]
    hook.remove()
    assert len(found) == 8 and all(torch.equal(values, found[0]) for values in found[1:])
    assert not any(values.requires_grad for values in found)
    assert any(not torch.equal(logits[0], other) for other in logits[1:])


@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_masks_fall_on_a_frozen_projection(backbone: str) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone, masked(backbone)))).train()
    model.freeze("cnn+projection")
    entered: list[Tensor] = []
    encoder = model.encoder.backbone.encoder
    encoder.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].detach().clone()))
    model(**padded(waveforms((16_000, 12_000)), 16_000), labels=torch.tensor([0, 1])).loss.backward()
    embedding = model.encoder.backbone.masked_spec_embed
    hidden = (entered[0] == embedding.detach()).all(-1)
    assert 0 < hidden.float().mean() < 0.6
    assert embedding.grad is not None and embedding.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", ["wav2vec2-conformer", "hubert"])
def test_statistics_of_a_batch_norm_move_where_it_is_trained_only(backbone: str) -> None:
    values = {"conv_pos_batch_norm": True} if backbone == "hubert" else {}
    model = model_of(backbone, values).train()
    batch = padded(waveforms((9_000, 6_000)), 9_500)
    for layers, moved in ((1, {"hubert": set(), "wav2vec2-conformer": {"1"}}), (0, {"hubert": {""}})):
        if layers:
            model.freeze(layers=layers)
        elif backbone == "hubert":
            model.encoder.freeze(0)
        else:
            continue
        before = {name: values.clone() for name, values in model.named_buffers() if "running_mean" in name}
        assert before
        model(**batch)
        after = dict(model.named_buffers())
        found = {name for name, values in before.items() if not torch.equal(values, after[name])}
        assert len(found) == len(moved[backbone])
        assert all(f"layers.{number}." in name for name in found for number in moved[backbone] if number)


def test_thawing_gives_back_what_freezing_took_and_no_more() -> None:
    model = model_of("wav2vec2", {"mask_time_prob": 0.0, "mask_feature_prob": 0.1, "mask_feature_length": 4})
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    assert not before["speech.frame_encoder.backbone.masked_spec_embed"]  # no mask of time, so it is not used
    model.train()
    for count in (6, 2, 5, 0):
        model.encoder.freeze(count)
        lowest = {id(p) for rung in model.encoder.rungs()[:count] for p in rung.parameters()}
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == (before[name] and id(parameter) not in lowest), (count, name)
    assert all(module.training for module in model.modules())


def test_freezing_adds_up() -> None:
    model = model_of("wav2vec2", {})
    model.freeze_encoder_layers(1)
    model.freeze_feature_encoder()
    model.freeze("none")
    assert model.encoder.frozen_rungs == model.encoder.rungs_of(layers=1) == 4


def test_a_gradient_of_before_is_forgotten() -> None:
    model = model_of("wav2vec2", {}).train()
    model(torch.randn(2, 8_000), labels=torch.tensor([0, 1])).loss.backward()
    model.freeze_backbone()
    assert all(p.grad is None for p in model.encoder.backbone.parameters())


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # what peft asks by an old name
@pytest.mark.parametrize("kind", ["none", "cnn", "backbone"])
def test_low_rank_updates_are_trained_in_training_mode(kind: str) -> None:
    model = model_of("wav2vec2", masked("wav2vec2"))
    model.freeze(kind)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], lora_dropout=0.5)).train()
    backbone = model.encoder.backbone
    assert backbone.training and all(layer.training for layer in backbone.encoder.layers)
    assert all(module.training for name, module in backbone.named_modules() if "lora_dropout" in name)
    assert backbone.feature_extractor.training == (kind == "none")
    model.encoder.freeze(model.encoder.frozen_rungs)  # what peft has frozen stays frozen
    assert all("lora_" in name for name, p in adapted.named_parameters() if p.requires_grad)
