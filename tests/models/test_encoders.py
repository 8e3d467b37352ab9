"""What encoders share: tokens, frame times and weights, freezing, attention kinds, features made inside."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, SeamlessM4TFeatureExtractor
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from hf_speech.errors import InputError
from hf_speech.models.backbones import OWN_BACKBONES
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.models.pooled import AttentionPooling
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.wavlm_sdpa import SDPAWavLMAttention
from hf_speech.testing import tiny_backbone_config

from .tiny import RAW_BACKBONES, TOLERANCE, lively, padded, small, tiny_config, waveforms

WEIGHING = [name for name, part in POOLINGS.items() if issubclass(part, AttentionPooling)]


def model_on(backbone: str, **settings: Any) -> HfSpeechModel:
    return lively(HfSpeechModel(tiny_config(backbone, **settings)))


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["first+cls", "first+cls-learned"])
@pytest.mark.parametrize("backbone", ["wav2vec2", "hubert", "wavlm"])
def test_a_class_token_enters_the_transformer_before_the_frames(backbone: str, pooling: str) -> None:
    model = model_on(backbone, pooling=pooling)
    token = torch.ones(32) if model.encoder.class_token.token is None else model.encoder.class_token.token.normal_()
    stock = AutoModel.from_config(model.encoder.backbone.config, attn_implementation="eager").eval()
    assert not stock.load_state_dict(model.encoder.backbone.state_dict(), strict=False).missing_keys
    wave = waveforms((6_000,))[0][None]
    frames = stock.feature_projection(stock.feature_extractor(wave).transpose(1, 2))
    frames = frames[0] if isinstance(frames, tuple) else frames
    by_hand = stock.encoder(torch.cat([token.expand(1, 1, -1), frames], dim=1)).last_hidden_state
    output = model(wave)
    torch.testing.assert_close(output.last_hidden_state, by_hand, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(output.embeddings, by_hand[:, 0], atol=TOLERANCE, rtol=0)
    assert output.frame_mask.shape == (1, frames.shape[1] + 1)
    assert model.frame_times(2) == [0.0, 0.0125]


def test_spec_augment_does_not_hide_the_token() -> None:
    masks = {"mask_time_prob": 0.6, "mask_time_length": 2, "mask_feature_prob": 0.6, "mask_feature_length": 4}
    model = HfSpeechModel(tiny_config("wav2vec2", masks, pooling="first+cls")).train()
    entered = []
    model.encoder.backbone.encoder.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].clone()))
    for _ in range(10):
        model(torch.randn(2, 8_000))
    frames = torch.cat(entered)
    assert (frames[:, 0] == 1).all()
    assert (frames[:, 1:] == 0).any()  # and the other frames are masked


def test_a_token_and_a_neck_that_mixes_frames_are_refused() -> None:
    with pytest.raises(InputError, match="'first\\+cls' takes the first frame, which neck 'tdnn' mixes with others"):
        HfSpeechModel(tiny_config("wav2vec2", pooling="first+cls", neck="tdnn"))


@torch.inference_mode()
@pytest.mark.parametrize("pooling", WEIGHING)
@pytest.mark.parametrize("backbone", ["wav2vec2", "ecapa-tdnn"])
def test_frame_weights_say_where_the_evidence_lies(backbone: str, pooling: str) -> None:
    model = model_on(backbone, pooling=pooling, pooling_config=small(POOLINGS[pooling]))
    batch = padded(waveforms((8_000, 3_000)), 9_000)
    output = model(**batch, output_frame_weights=True)
    weights, mask = output.frame_weights, output.frame_mask
    assert weights.shape == mask.shape
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[~mask] == 0).all() and (weights >= 0).all()
    assert model(**batch).frame_weights is None
    torch.testing.assert_close(output.embeddings, model(**batch).embeddings, atol=1e-6, rtol=0)
    times = model.frame_times(mask.shape[1])
    assert len(times) == mask.shape[1] and all(late > soon for soon, late in zip(times, times[1:], strict=False))
    # The last real frame lies within its utterance.
    assert times[int(mask[1].sum()) - 1] <= 3_000 / 16_000


def test_poolings_without_weights_say_which_have_them() -> None:
    with pytest.raises(InputError, match=r"'mean' has no frame weights; those that do: attentive, double-multi-head"):
        model_on("wav2vec2")(torch.randn(1, 4_000), output_frame_weights=True)


def test_frame_times_are_the_middles_of_receptive_fields() -> None:
    assert model_on("wav2vec2").frame_times(2) == [0.0125, 0.0325]
    # Two convolutions of 3 frames and stride 2: the middle of seven frames, then four further.
    options = {"size": 8, "heads": 2, "layers": 1, "feedforward": 16}
    with_neck = model_on("wav2vec2", neck="transformer", neck_config=options)
    assert with_neck.frame_times(2) == pytest.approx([0.0125 + 3 * 0.02, 0.0125 + 7 * 0.02])
    # Four maxima of two frames: sixteen transforms of 32 ms, 10 ms apart, 0 to 182 ms.
    four = HfSpeechModel(tiny_config("vgg", {"network_config": {"blocks": 4, "size": 32}}))
    assert four.frame_times(2) == pytest.approx([0.091, 0.251])


def test_wavlm_attends_through_fused_kernels_unless_told_otherwise() -> None:
    config = tiny_config("wavlm")
    fused = HfSpeechModel(config)
    assert {type(layer.attention) for layer in fused.encoder.backbone.encoder.layers} == {SDPAWavLMAttention}
    eager = HfSpeechModel._from_config(tiny_config("wavlm"), attn_implementation="eager")
    assert SDPAWavLMAttention not in {type(layer.attention) for layer in eager.encoder.backbone.encoder.layers}
    eager.load_state_dict(lively(fused).state_dict())
    batch = padded(waveforms((8_000, 3_000)), 9_000)
    with torch.inference_mode():
        torch.testing.assert_close(fused(**batch).embeddings, eager.eval()(**batch).embeddings, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match='attn_implementation="eager"'):
        fused(**batch, output_attentions=True)
    fused.set_attn_implementation("eager")
    assert len(fused(**batch, output_attentions=True).attentions) == 2
    eager.set_attn_implementation("sdpa")
    assert SDPAWavLMAttention in {type(layer.attention) for layer in eager.encoder.backbone.encoder.layers}
    with pytest.raises(InputError, match="unknown attention implementation of wavlm 'flash_attention_2'"):
        fused.set_attn_implementation("flash_attention_2")


@torch.inference_mode()
@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_attention_weights_are_given_by_eager_attention_alone(backbone: str) -> None:
    model = model_on(backbone)
    assert model.config._attn_implementation == "sdpa"
    wave = waveforms((8_000,))[0][None]
    expected = model(wave).embeddings
    with pytest.raises(InputError, match='load the model with attn_implementation="eager"$'):
        model(wave, output_attentions=True)
    model.set_attn_implementation("eager")
    output = model(wave, output_attentions=True)
    frames = output.last_hidden_state.shape[1]
    assert [weights.shape[-2:] for weights in output.attentions] == [(frames, frames)] * 2
    torch.testing.assert_close(output.embeddings, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_wavlm_s_attention_is_chosen_when_it_is_loaded_or_made(kind: str, tmp_path: Path) -> None:
    HfSpeechModel(tiny_config("wavlm")).save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, attn_implementation=kind)
    made = HfSpeechModel.from_backbone(tiny_backbone_config("wavlm"), attn_implementation=kind)
    for model in (loaded, made):
        types = {type(layer.attention) for layer in model.encoder.backbone.encoder.layers}
        assert types == {SDPAWavLMAttention if kind == "sdpa" else WavLMAttention}


def test_networks_of_ours_refuse_activation_checkpointing() -> None:
    with pytest.raises(InputError, match="activation_checkpointing: ecapa-tdnn is small and has none"):
        model_on("ecapa-tdnn").activation_checkpointing_enable()


@torch.inference_mode()
def test_w2v_bert_makes_its_features_inside() -> None:
    model = model_on("wav2vec2-bert")
    wave = waveforms((9_000,))[0]
    features = SeamlessM4TFeatureExtractor()(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
    stock = AutoModel.from_config(model.encoder.backbone.config).eval()
    stock.load_state_dict(model.encoder.backbone.state_dict())
    frames = stock(**features).last_hidden_state
    output = model(wave[None])
    count = output.last_hidden_state.shape[1]
    torch.testing.assert_close(output.last_hidden_state, frames[:, :count], atol=1e-3, rtol=0)
    assert count == features["attention_mask"].sum()


@torch.inference_mode()
@pytest.mark.parametrize("layer", [1, 2, "weighted_sum"])
def test_w2v_bert_gives_any_layer(layer: int | str) -> None:
    whole = model_on("wav2vec2-bert")
    cut = HfSpeechModel(tiny_config("wav2vec2-bert", layer=layer)).eval()
    missing, _ = cut.load_state_dict(whole.state_dict(), strict=False)
    assert missing == (["frame_encoder.layer_mix.layer_weights"] if layer == "weighted_sum" else [])
    batch = padded(waveforms((8_000, 3_000)), 9_000)
    states = whole(**batch, output_hidden_states=True).hidden_states
    expected = sum(states) / 3 if layer == "weighted_sum" else states[int(layer)]
    output = cut(**batch)
    assert len(cut.encoder.backbone.encoder.layers) == (2 if layer == "weighted_sum" else layer)
    mask = output.frame_mask
    torch.testing.assert_close(output.last_hidden_state[mask], expected[mask], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("backbone", [*OWN_BACKBONES, "wav2vec2-bert"])
def test_a_frozen_backbone_stays_as_it_is(backbone: str) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone)))
    model.freeze_backbone()
    before = {name: values.clone() for name, values in model.encoder.backbone.state_dict().items()}
    model.train()
    assert not any(module.training for module in model.encoder.backbone.modules())
    model(torch.randn(3, 8_000), labels=torch.tensor([0, 1, 2])).loss.backward()
    assert all(torch.equal(values, before[name]) for name, values in model.encoder.backbone.state_dict().items())
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.heads.parameters())


@pytest.mark.parametrize("backbone", OWN_BACKBONES)
def test_networks_of_ours_have_no_layers_to_choose(backbone: str) -> None:
    model = HfSpeechForSequenceClassification(tiny_config(backbone))
    if backbone == "wav2vec":  # its convolutions on the waveform alone
        model.freeze("cnn")
        assert {name.split(".")[0] for name, p in model.encoder.backbone.named_parameters() if p.requires_grad} == {
            "context"
        }
        with pytest.raises(InputError, match="no feature projection to freeze"):
            model.freeze("cnn+projection")
    else:
        with pytest.raises(InputError, match="no feature encoder to freeze"):
            model.freeze_feature_encoder()
    with pytest.raises(InputError, match="can't freeze 1 layers: the encoder has 0"):
        model.freeze_encoder_layers(1)
    with pytest.raises(InputError, match="has no layers and no attentions to give"):
        model(torch.randn(1, 8_000), output_hidden_states=True)


def test_w2v_bert_freezes_by_layer() -> None:
    model = HfSpeechForSequenceClassification(tiny_config("wav2vec2-bert"))
    model.freeze_encoder_layers(1)
    layers = model.encoder.backbone.encoder.layers
    assert not any(p.requires_grad for p in layers[0].parameters())
    assert all(p.requires_grad for p in layers[1].parameters())
    assert not any(p.requires_grad for p in model.encoder.backbone.feature_projection.parameters())


@pytest.mark.parametrize("backbone", [*OWN_BACKBONES, *RAW_BACKBONES[:1], "wav2vec2-bert"])
def test_too_short_a_waveform_is_refused_by_its_place(backbone: str) -> None:
    model = model_on(backbone)
    least = model.encoder.min_samples
    if least == 1:
        return  # any waveform has a frame
    with pytest.raises(InputError, match=rf"waveform 1 of the batch has {least - 1} samples: .*at least {least}"):
        model(**padded(waveforms((least, least - 1)), least))
    assert model(torch.randn(1, least)).embeddings.isfinite().all()


def test_our_layers_start_with_the_variance_they_want() -> None:
    model = HfSpeechModel(tiny_config("vgg", {"network_config": {"size": 64}}))
    for conv in (module for module in model.encoder.backbone.modules() if isinstance(module, nn.Conv2d)):
        he = (2 / conv.weight[0].numel()) ** 0.5
        assert conv.weight.std().item() == pytest.approx(he, rel=0.25)
    model = HfSpeechModel(tiny_config("ecapa-tdnn", {"network_config": {"channels": [64] * 5}}))
    for conv in (module for module in model.encoder.backbone.modules() if isinstance(module, nn.Conv1d)):
        uniform = (3 * conv.weight[0].numel()) ** -0.5
        assert conv.weight.std().item() == pytest.approx(uniform, rel=0.15)
