"""Learning rates that fall from layer to layer: of every encoder, cut, frozen in part, or wrapped by peft."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hf_speech.errors import InputError
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.training.freezing import layer_scales, parameter_groups

from ..models.tiny import tiny_config
from .test_freezing import MASKED, PREFIX, model_of


@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_rates_fall_from_layer_to_layer(backbone: str) -> None:
    model = model_of(backbone, **MASKED)
    scales = layer_scales(model, 0.5)
    assert set(scales) == {name for name, _ in model.named_parameters()}
    for name, scale in scales.items():
        inner = name.removeprefix(PREFIX)
        if name == inner:
            expected = 1.0
        elif inner.startswith("encoder.layers."):
            expected = {"3": 1.0, "2": 0.5, "1": 0.25, "0": 0.125}[inner.split(".")[2]]
        elif inner.startswith("encoder.layer_norm.") and model.encoder.norm_is_last:
            expected = 1.0
        else:
            expected = 0.0625
        assert scale == expected, name


def test_rates_of_a_cut_encoder_and_a_wrapped_one() -> None:
    cut = HfSpeechForSequenceClassification(tiny_config("wav2vec2", {"num_hidden_layers": 4}, layer=2))
    assert layer_scales(cut, 0.5)[f"{PREFIX}encoder.layers.1.final_layer_norm.weight"] == 1
    assert layer_scales(cut, 0.5)[f"{PREFIX}feature_projection.projection.weight"] == 0.25
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapted = get_peft_model(cut, LoraConfig(target_modules=["q_proj"], modules_to_save=["heads.0"]))
    scales = layer_scales(adapted, 0.5)
    updates = {name: scale for name, scale in scales.items() if "lora_" in name}
    assert len(updates) == 4 and all(scale == (1 if "layers.1." in name else 0.5) for name, scale in updates.items())
    assert {scale for name, scale in scales.items() if "modules_to_save" in name} == {1.0}
    groups = parameter_groups(adapted, 1e-3, 0.1, list(scales), 0.5)
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in adapted.parameters())


def test_groups_have_each_trained_parameter_once_at_its_rate() -> None:
    model = model_of()
    model.freeze("cnn")
    decayed = [name for name, p in model.named_parameters() if p.dim() > 1]
    groups = parameter_groups(model, 2e-3, 0.1, decayed, 0.5)
    names = {id(p): name for name, p in model.named_parameters()}
    scales = layer_scales(model, 0.5)
    found = [names[id(p)] for group in groups for p in group["params"]]
    assert sorted(found) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    for group in groups:
        for p in group["params"]:
            name = names[id(p)]
            assert group["lr"] == pytest.approx(2e-3 * scales[name])
            assert group["weight_decay"] == (0.1 if name in decayed else 0.0)
    assert len(groups) == 2 * 5  # layers 4 to 1 and what is below, with decay and without
    # Plain gradient descent moves each parameter by its own rate times its gradient.
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(torch.randn(2, 6_000), labels=torch.tensor([0, 1])).loss.backward()
    torch.optim.SGD([{**group, "weight_decay": 0.0} for group in groups]).step()
    for name, p in model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(p.detach(), before[name] - 2e-3 * scales[name] * p.grad, atol=1e-7, rtol=1e-5)


def test_a_decay_of_one_is_no_decay() -> None:
    for backbone in ("wav2vec2", "ecapa-tdnn"):
        assert set(layer_scales(model_of(backbone), 1.0).values()) == {1.0}


@pytest.mark.parametrize(
    ("backbone", "decay", "said"),
    [
        ("ecapa-tdnn", 0.5, "layer_decay is 0.5, but this encoder (EcapaTDNN) has no layers; leave it out"),
        ("wav2vec2", 0.0, "layer_decay is 0.0; give a number above 0 and at most 1"),
        ("wav2vec2", 1.5, "layer_decay is 1.5; give a number above 0 and at most 1"),
        ("wav2vec2", float("nan"), "layer_decay is nan"),
    ],
)
def test_impossible_decays_are_refused(backbone: str, decay: float, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        layer_scales(model_of(backbone), decay)
    assert said in str(refusal.value)
