"""A layer: its frames are the whole encoder's, and what lies above it is neither built nor paid for."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, Wav2Vec2Config

from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel

from .tiny import RAW_BACKBONES, STABLE, lively, tiny_config, waveforms

ENCODERS = [(backbone, {}) for backbone in RAW_BACKBONES]
ENCODERS += [(backbone, STABLE) for backbone in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")]


@torch.inference_mode()
@pytest.mark.parametrize(("backbone", "values"), ENCODERS)
def test_layer_k_is_the_whole_encoder_s_hidden_state_k(backbone: str, values: dict) -> None:
    values = {"num_hidden_layers": 4, **values}
    stock = lively(AutoModel.from_config(tiny_config(backbone, values).backbone_config))
    wave = waveforms((9_000,))[0][None]
    expected = stock(wave, output_hidden_states=True)
    for k in (1, 2, 4):
        ours = HfSpeechModel(tiny_config(backbone, values, layer=k, pooling="mean")).eval()
        ours.encoder.load_stock_weights(stock.state_dict())
        found = ours(wave, output_hidden_states=True)
        torch.testing.assert_close(found.last_hidden_state, expected.hidden_states[k], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.embeddings, expected.hidden_states[k].mean(1), atol=1e-5, rtol=0)
        assert len(found.hidden_states) == k + 1
    assert (expected.hidden_states[1] - expected.hidden_states[2]).abs().max() > 0.1


@torch.inference_mode()
@pytest.mark.parametrize(("backbone", "values"), ENCODERS)
def test_the_weighted_sum_weighs_input_and_all_layers(backbone: str, values: dict) -> None:
    model = lively(HfSpeechModel(tiny_config(backbone, values, layer="weighted_sum", pooling="mean")))
    found = model(waveforms((9_000,))[0][None], output_hidden_states=True)
    weights = model.encoder.layer_mix.layer_weights.softmax(0)
    expected = sum(w * states for w, states in zip(weights, found.hidden_states, strict=True))
    assert len(weights) == 3
    torch.testing.assert_close(found.last_hidden_state, expected)
    with torch.no_grad():
        model.encoder.layer_mix.layer_weights.copy_(torch.tensor([-1e4, 0.0, -1e4]))
    only_first = model(waveforms((9_000,))[0][None], output_hidden_states=True)
    torch.testing.assert_close(only_first.last_hidden_state, found.hidden_states[1])


def test_the_weights_of_the_layers_start_equal() -> None:
    model = HfSpeechModel(tiny_config("wav2vec2", layer="weighted_sum"))
    torch.testing.assert_close(model.encoder.layer_mix.layer_weights.softmax(0), torch.full((3,), 1 / 3))


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_only_the_layers_that_count_are_built(backbone: str) -> None:
    model = HfSpeechForSequenceClassification(tiny_config(backbone, {"num_hidden_layers": 12}, layer=4))
    layers = {key.split(".layers.")[1].split(".")[0] for key in model.state_dict() if ".encoder.layers." in key}
    assert layers == {"0", "1", "2", "3"}
    assert model.config.backbone_config.num_hidden_layers == 12  # the checkpoint's depth stays on record


@pytest.mark.parametrize("layer", ["last", 1, "weighted_sum"])
@pytest.mark.parametrize("values", [{}, STABLE])
@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_every_trained_parameter_gets_a_gradient(backbone: str, values: dict, layer: int | str) -> None:
    # distributed training stops at a parameter without one
    if values and (backbone, values) not in ENCODERS:
        values = {}
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone, values, layer=layer, head="mlp"))).train()
    wave = torch.stack(waveforms((5_000, 5_000)))
    model(wave, labels=torch.tensor([0, 1])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def flops(layer: int) -> int:
    """Floating-point operations for one second of speech in an encoder of base size."""
    config = HfSpeechConfig(backbone_config=Wav2Vec2Config(), layer=layer)
    # Eager attention is made of matrix products, which the counter knows.
    model = HfSpeechModel._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 16_000))
    return counter.get_total_flops()


def test_four_of_twelve_layers_cost_at_most_0_60_of_all() -> None:
    four, twelve = flops(4), flops(12)
    print(f"FLOPs for 1 s: layer 4 {four / 1e9:.2f} G, layer 12 {twelve / 1e9:.2f} G, ratio {four / twelve:.3f}")
    assert twelve > 10e9
    assert four / twelve <= 0.60
