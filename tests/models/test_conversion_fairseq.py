"""fairseq's wav2vec 2.0 checkpoints become transformers' models, with equal outputs."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

from hf_speech.errors import InputError
from hf_speech.models.checkpoints import read_checkpoint
from hf_speech.models.conversion_fairseq import (
    left_out,
    wav2vec2_config,
    wav2vec2_normalises,
    wav2vec2_pretraining_weights,
    wav2vec2_weights,
)
from hf_speech.models.fairseq_settings import conv_layers_of, fairseq_parts, settings_of

from .tiny import lively

BASE: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 40, "num_hidden_layers": 2}
CASES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
    },
    "own convolutions": {"conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 2), "conv_dim": (12, 12, 20)},
}


def config_of(case: str) -> Wav2Vec2Config:
    """Every size another number, so that no two can be mixed up."""
    small = {
        "conv_dim": (12,) * 7,
        "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 2,
        "num_codevector_groups": 2,
        "num_codevectors_per_group": 5,
        "codevector_dim": 14,
        "proj_codevector_dim": 9,
        "feat_quantizer_dropout": 0.1,
        "layerdrop": 0.05,
        "activation_dropout": 0.0,
    }
    return Wav2Vec2Config(**{**small, **BASE, **CASES[case]})


# Facts from fairseq's source, by which the names below were written out by hand.
# fairseq/models/wav2vec/wav2vec2.py, Wav2Vec2Model.__init__: feature_extractor, post_extract_proj, quantizer,
#   project_q, mask_emb, encoder, layer_norm (over the features), final_proj.
# ConvFeatureExtractionModel: conv_layers[i] = Sequential(conv 0, dropout 1, norm 2, GELU 3), with norm 2 in the first
#   layer only in mode "default"; in mode "layer_norm" 2 is Sequential(TransposeLast 0, LayerNorm 1, TransposeLast 2).
# TransformerEncoder: pos_conv = Sequential(weight-normed convolution (dim 2) 0, SamePad, GELU), layers, layer_norm.
# TransformerSentenceEncoderLayer: self_attn (k_proj, v_proj, q_proj, out_proj), self_attn_layer_norm, fc1, fc2,
#   final_layer_norm.
# fairseq/modules/gumbel_vector_quantizer.py: vars (1, groups * vars, dim), weight_proj.
def in_fairseq(model: Wav2Vec2ForPreTraining) -> dict[str, Tensor]:
    """A model's weights as fairseq would have saved them."""
    config, ours = model.config, model.state_dict()
    pairs = {
        "mask_emb": "wav2vec2.masked_spec_embed",
        "layer_norm.weight": "wav2vec2.feature_projection.layer_norm.weight",
        "layer_norm.bias": "wav2vec2.feature_projection.layer_norm.bias",
        "post_extract_proj.weight": "wav2vec2.feature_projection.projection.weight",
        "post_extract_proj.bias": "wav2vec2.feature_projection.projection.bias",
        "encoder.pos_conv.0.bias": "wav2vec2.encoder.pos_conv_embed.conv.bias",
        "encoder.pos_conv.0.weight_g": "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        "encoder.pos_conv.0.weight_v": "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        "encoder.layer_norm.weight": "wav2vec2.encoder.layer_norm.weight",
        "encoder.layer_norm.bias": "wav2vec2.encoder.layer_norm.bias",
        "quantizer.vars": "quantizer.codevectors",
        "quantizer.weight_proj.weight": "quantizer.weight_proj.weight",
        "quantizer.weight_proj.bias": "quantizer.weight_proj.bias",
        "project_q.weight": "project_q.weight",
        "project_q.bias": "project_q.bias",
        "final_proj.weight": "project_hid.weight",
        "final_proj.bias": "project_hid.bias",
    }
    for i in range(len(config.conv_dim)):
        theirs, here = f"feature_extractor.conv_layers.{i}", f"wav2vec2.feature_extractor.conv_layers.{i}"
        pairs[f"{theirs}.0.weight"] = f"{here}.conv.weight"
        if config.conv_bias:
            pairs[f"{theirs}.0.bias"] = f"{here}.conv.bias"
        if config.feat_extract_norm == "layer":
            pairs[f"{theirs}.2.1.weight"] = f"{here}.layer_norm.weight"
            pairs[f"{theirs}.2.1.bias"] = f"{here}.layer_norm.bias"
        elif i == 0:
            pairs[f"{theirs}.2.weight"] = f"{here}.layer_norm.weight"
            pairs[f"{theirs}.2.bias"] = f"{here}.layer_norm.bias"
    for i in range(config.num_hidden_layers):
        theirs, here = f"encoder.layers.{i}", f"wav2vec2.encoder.layers.{i}"
        for kind in ("weight", "bias"):
            pairs[f"{theirs}.self_attn.k_proj.{kind}"] = f"{here}.attention.k_proj.{kind}"
            pairs[f"{theirs}.self_attn.v_proj.{kind}"] = f"{here}.attention.v_proj.{kind}"
            pairs[f"{theirs}.self_attn.q_proj.{kind}"] = f"{here}.attention.q_proj.{kind}"
            pairs[f"{theirs}.self_attn.out_proj.{kind}"] = f"{here}.attention.out_proj.{kind}"
            pairs[f"{theirs}.self_attn_layer_norm.{kind}"] = f"{here}.layer_norm.{kind}"
            pairs[f"{theirs}.fc1.{kind}"] = f"{here}.feed_forward.intermediate_dense.{kind}"
            pairs[f"{theirs}.fc2.{kind}"] = f"{here}.feed_forward.output_dense.{kind}"
            pairs[f"{theirs}.final_layer_norm.{kind}"] = f"{here}.final_layer_norm.{kind}"
    assert sorted(pairs.values()) == sorted(ours)  # nothing of the model is forgotten
    return {theirs: ours[here] for theirs, here in pairs.items()}


def args_of(config: Wav2Vec2Config) -> Namespace:
    """The settings as fairseq's flags would have them."""
    layers = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    return Namespace(
        arch="wav2vec2",
        extractor_mode="layer_norm" if config.feat_extract_norm == "layer" else "default",
        conv_feature_layers=" + ".join(f"[{layer}]" for layer in layers),
        encoder_attention_heads=config.num_attention_heads,
        layer_norm_first=config.do_stable_layer_norm,
        activation_fn="gelu",
        dropout=0.0,
        attention_dropout=0.2,
        activation_dropout=0.3,
        dropout_input=0.4,
        dropout_features=0.5,
        encoder_layerdrop=0.6,
        normalize=config.feat_extract_norm == "layer",
    )


def pretraining_model(case: str) -> Wav2Vec2ForPreTraining:
    model = lively(Wav2Vec2ForPreTraining(config_of(case)))
    with torch.no_grad():
        model.quantizer.codevectors.normal_()
        model.wav2vec2.masked_spec_embed.normal_()
    return model


@torch.inference_mode()
@pytest.mark.parametrize("kept_as", ["args", "cfg", "fine-tuned"])
@pytest.mark.parametrize("case", CASES)
def test_the_outputs_are_the_same_bits(case: str, kept_as: str, tmp_path: Path) -> None:
    original = pretraining_model(case)
    state, args = in_fairseq(original), args_of(original.config)
    if kept_as == "args":
        content = {"model": state, "args": args, "extra_state": {"epoch": 3}}
    elif kept_as == "cfg":
        content = {"model": state, "args": None, "cfg": {"model": vars(args), "task": {"normalize": args.normalize}}}
    else:  # a transcriber: its own settings outside, no parts of pretraining, an output layer of its own
        inner = {
            f"w2v_encoder.w2v_model.{k}": v for k, v in state.items() if not k.startswith(("quant", "proj", "final"))
        }
        output = {"w2v_encoder.proj.weight": torch.ones(4, 32), "w2v_encoder.proj.bias": torch.ones(4)}
        content = {"model": inner | output, "args": Namespace(dropout=0.9, w2v_args=args)}
    torch.save(content, tmp_path / "a.pt")

    state, settings = fairseq_parts(read_checkpoint(tmp_path / "a.pt"))
    converted = Wav2Vec2Model(wav2vec2_config(settings, state)).eval()
    converted.load_state_dict(wav2vec2_weights(state))
    waves = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(8_000) < torch.tensor([[8_000], [5_000]])).long()
    expected = original.wav2vec2(waves, attention_mask=mask).last_hidden_state
    assert expected.std() > 0.1
    assert torch.equal(converted(waves, attention_mask=mask).last_hidden_state, expected)
    config = converted.config
    rates = (config.hidden_dropout, config.attention_dropout, config.activation_dropout, config.feat_proj_dropout)
    assert (*rates, config.feat_quantizer_dropout, config.layerdrop) == (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert wav2vec2_normalises(settings, state) is args.normalize


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_pretraining_goes_on_where_it_ended(case: str) -> None:
    original = pretraining_model(case)
    state = in_fairseq(original)
    converted = Wav2Vec2ForPreTraining(wav2vec2_config(args_of(original.config), state)).eval()
    converted.load_state_dict(wav2vec2_pretraining_weights(state))
    waves = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(1))
    expected, found = original(waves), converted(waves)
    assert torch.equal(found.projected_states, expected.projected_states)
    assert torch.equal(found.projected_quantized_states, expected.projected_quantized_states)
    assert torch.equal(found.codevector_perplexity, expected.codevector_perplexity)


@pytest.mark.parametrize("case", CASES)
def test_what_stays_behind_is_listed(case: str) -> None:
    state = in_fairseq(pretraining_model(case))
    expected = ["quantizer.vars", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias"]
    expected += ["project_q.weight", "project_q.bias", "final_proj.weight", "final_proj.bias"]
    assert left_out(state) == expected
    assert len(wav2vec2_weights(state)) == len(state) - len(expected)


def test_without_settings_the_published_models_are_assumed() -> None:
    """Shapes of the base and the large model, without their numbers."""
    with torch.device("meta"):
        base = in_fairseq(Wav2Vec2ForPreTraining(Wav2Vec2Config()))
        large = in_fairseq(
            Wav2Vec2ForPreTraining(
                Wav2Vec2Config(
                    hidden_size=1024,
                    num_hidden_layers=24,
                    num_attention_heads=16,
                    intermediate_size=4096,
                    feat_extract_norm="layer",
                    do_stable_layer_norm=True,
                    conv_bias=True,
                    codevector_dim=768,
                    proj_codevector_dim=768,
                )
            )
        )
    found, wide = wav2vec2_config(None, base), wav2vec2_config({}, large)
    # transformers' defaults are the sizes of the base model (2006.11477, section 4.2)
    defaults, sizes = Wav2Vec2Config().to_dict(), found.to_dict()
    differing = {name: sizes[name] for name in defaults if sizes[name] != defaults[name]}
    rates = {"layerdrop": 0.05, "activation_dropout": 0.0, "feat_proj_dropout": 0.1, "feat_quantizer_dropout": 0.1}
    assert differing == rates
    assert (wide.num_hidden_layers, wide.num_attention_heads, wide.intermediate_size) == (24, 16, 4096)
    assert wide.do_stable_layer_norm and wide.feat_extract_norm == "layer" and wide.conv_bias
    assert (wide.codevector_dim, wide.proj_codevector_dim, wide.num_codevectors_per_group) == (768, 768, 320)
    assert not wav2vec2_normalises(None, base) and wav2vec2_normalises(None, large)
    assert wav2vec2_normalises({"task": {"normalize": True}, "model": {}}, base)


def test_other_models_are_refused() -> None:
    state = in_fairseq(pretraining_model("base"))
    with pytest.raises(InputError, match=r"2 weights have no place in it, such as label_embs_concat"):
        wav2vec2_weights(
            {**state, "label_embs_concat": torch.ones(2), "encoder.layers.0.self_attn.bias_k": torch.ones(2)}
        )
    missing = {name: value for name, value in state.items() if name != "encoder.pos_conv.0.weight_v"}
    with pytest.raises(InputError, match=r"lacks encoder\.pos_conv\.0\.weight_v"):
        wav2vec2_config(None, missing)
    with pytest.raises(
        InputError, match=r"no whole state dict of a wav2vec 2\.0 of fairseq's: it lacks post_extract_pr"
    ):
        wav2vec2_weights({})
    fine_tuned = {name: value for name, value in state.items() if not name.startswith("quantizer")}
    with pytest.raises(InputError, match="has no quantizer"):
        wav2vec2_pretraining_weights(fine_tuned)
    with pytest.raises(InputError, match=r"a dictionary with a state dict under 'model' is expected.*has epoch, best"):
        fairseq_parts({"epoch": 3, "best": None})


def test_settings_of_another_model_are_refused() -> None:
    model = pretraining_model("own convolutions")
    state, args = in_fairseq(model), vars(args_of(model.config))
    with pytest.raises(InputError, match=r"strides .* kernels \(10, 8, 4\) are not known: give conv_feature_layers"):
        wav2vec2_config({"encoder_attention_heads": 4}, state)
    with pytest.raises(InputError, match="0 attention heads do not divide 32 dimensions: give encoder_attention_heads"):
        wav2vec2_config(None, state)
    with pytest.raises(InputError, match=r"are not the checkpoint's: channels \(12, 12, 20\), kernels \(10, 8, 4\)"):
        wav2vec2_config({**args, "conv_feature_layers": "[(512, 10, 5)]"}, state)
    with pytest.raises(InputError, match="5 attention heads do not divide 32 dimensions"):
        wav2vec2_config({**args, "encoder_attention_heads": 5}, state)
    for rate in ("high", None, -0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"dropout_input of the settings is .*: give a probability, from 0 to 1"):
            wav2vec2_config({**args, "dropout_input": rate}, state)
    with pytest.raises(InputError, match=r"unknown activation of fairseq's 'swish'.*valid: gelu, gelu_accurate, "):
        wav2vec2_config({**args, "activation_fn": "swish"}, state)


def test_descriptions_of_convolutions_are_read() -> None:
    # The two of the published runs (examples/wav2vec/README.md), against Python's own reading of them.
    for text in (
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2",
        "[(512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1)]",
        " 2 * [(1, 2, 3)]",
    ):
        assert conv_layers_of(text) == eval(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[(512, 10, 5)] * 1000000000",
        "[(512, 10, 5)] * 100 + [(512, 10, 5)]",
        "[(512, 10)]",
        "[(512, 10, -5)]",
        "[(512, 10, 0.5)]",
        "[(512, 10, 5)",
        "[]",
        "512",
        "[(1, 1, 1)] + (1, 1, 1)",
        "(" * 5_000 + ")" * 5_000,
    ],
)
def test_what_describes_no_convolutions_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"does not describe convolutions; expected is a list such as \[\(512, 10, 5\)\]"
    ):
        conv_layers_of(text)


def test_settings_are_found_wherever_fairseq_keeps_them() -> None:
    assert settings_of(None) == {}
    assert settings_of(Namespace(dropout=0.1)) == {"dropout": 0.1}
    assert settings_of({"model": {"dropout": 0.1}, "task": Namespace(normalize=True)}) == {
        "dropout": 0.1,
        "normalize": True,
    }
    nested = {"model": {"dropout": 0.9, "layerdrop": 0.2, "w2v_args": {"model": {"dropout": 0.1}, "task": None}}}
    assert settings_of(nested) == {"dropout": 0.1, "layerdrop": 0.2}
