"""fairseq's wav2vec 2.0 checkpoints -> transformers' `Wav2Vec2Model`: the names of the weights, and a configuration.

Baevski et al., "wav2vec 2.0", NeurIPS 2020. fairseq's names are read off its published source
(fairseq/models/wav2vec/wav2vec2.py); the two libraries compute the same function of the same weights.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import Wav2Vec2Config

from .fairseq_settings import conv_stack, settings_of
from .registry import InputError, lookup
from .state_dicts import Names, rename_weights, renamed, stack_of

_WHAT = "a wav2vec 2.0 of fairseq's"
_CONV = r"feature_extractor\.conv_layers\.(\d+)"
_LAYER = r"encoder\.layers\.(\d+)"
_AFFINE = r"\.(weight|bias)"
ENCODER_NAMES: Names = (
    (r"mask_emb", "masked_spec_embed"),
    # A convolution's block is (convolution, dropout, norm, GELU); a layer norm stands between two transpositions.
    (_CONV + r"\.0" + _AFFINE, r"feature_extractor.conv_layers.\1.conv.\2"),
    (_CONV + r"\.2(?:\.1)?" + _AFFINE, r"feature_extractor.conv_layers.\1.layer_norm.\2"),
    (r"layer_norm" + _AFFINE, r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj" + _AFFINE, r"feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.0\.bias", "encoder.pos_conv_embed.conv.bias"),
    (r"encoder\.pos_conv\.0\.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"encoder\.pos_conv\.0\.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"encoder\.layer_norm" + _AFFINE, r"encoder.layer_norm.\1"),
    (_LAYER + r"\.self_attn\.(q_proj|k_proj|v_proj|out_proj)" + _AFFINE, r"encoder.layers.\1.attention.\2.\3"),
    (_LAYER + r"\.self_attn_layer_norm" + _AFFINE, r"encoder.layers.\1.layer_norm.\2"),
    (_LAYER + r"\.fc1" + _AFFINE, r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (_LAYER + r"\.fc2" + _AFFINE, r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (_LAYER + r"\.final_layer_norm" + _AFFINE, r"encoder.layers.\1.final_layer_norm.\2"),
)
PRETRAINING_NAMES: Names = (
    (r"quantizer\.vars", "quantizer.codevectors"),
    (r"quantizer\.weight_proj" + _AFFINE, r"quantizer.weight_proj.\1"),
    (r"project_q" + _AFFINE, r"project_q.\1"),
    (r"final_proj" + _AFFINE, r"project_hid.\1"),
)
_FINE_TUNED = "w2v_encoder.w2v_model."  # where a transcriber of fairseq keeps its encoder
_LEFT_OUT = (*(theirs for theirs, _ in PRETRAINING_NAMES), r"target_glu\..*", r"w2v_encoder\.proj\..*")
_LATER_NORM = "feature_extractor.conv_layers.1.layer_norm.weight"  # a group norm stands behind the first layer only

# Of every published model, by its kernels.
_STRIDES: Mapping[tuple[int, ...], tuple[int, ...]] = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2)}
# fairseq's settings -> ours, and the values of the base model (LibriSpeech 960 h) where a checkpoint has no settings.
_RATES = {
    "dropout": ("hidden_dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.0),
    "dropout_input": ("feat_proj_dropout", 0.1),
    "dropout_features": ("feat_quantizer_dropout", 0.1),
    "encoder_layerdrop": ("layerdrop", 0.05),
}
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new"}


def wav2vec2_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's weights under the names of transformers' `Wav2Vec2Model`; `left_out` lists those that stay behind.

    Args:
        state: fairseq's state dict, of a pretrained model or of a transcriber fine-tuned from one.

    Raises:
        InputError: a weight has no place in a wav2vec 2.0 encoder, or the encoder is incomplete.
    """
    weights, _ = rename_weights(_bare(state), ENCODER_NAMES, _LEFT_OUT, _WHAT)
    for needed in ("post_extract_proj.weight", "encoder.pos_conv.0.weight_v", "encoder.layers.0.fc1.bias"):
        if renamed(needed, ENCODER_NAMES) not in weights:
            raise InputError(f"no whole state dict of {_WHAT}: it lacks {needed}")
    return weights


def left_out(state: Mapping[str, Tensor]) -> list[str]:
    """The weights that the encoder has no use for: pretraining's quantizer and projections, a transcriber's output."""
    return rename_weights(_bare(state), ENCODER_NAMES, _LEFT_OUT, _WHAT)[1]


def wav2vec2_pretraining_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights under the names of transformers' `Wav2Vec2ForPreTraining`, to go on with pretraining.

    Raises:
        InputError: as `wav2vec2_weights`; or the parts of pretraining are missing, as in a fine-tuned model.
    """
    weights = {f"wav2vec2.{name}": value for name, value in wav2vec2_weights(state).items()}
    for name, value in state.items():
        new = renamed(name, PRETRAINING_NAMES)
        if new is not None:
            weights[new] = value
    if "quantizer.codevectors" not in weights:
        raise InputError("the checkpoint has no quantizer: pretraining can go on from a pretrained one only")
    return weights


def wav2vec2_config(
    args_or_cfg: argparse.Namespace | Mapping[str, Any] | None, state: Mapping[str, Tensor]
) -> Wav2Vec2Config:
    """The configuration of transformers' model for a checkpoint of fairseq: see `wav2vec2_config_of`.

    Args:
        args_or_cfg: the checkpoint's settings, or None.
        state: fairseq's state dict; its quantizer's sizes are read too.

    Raises:
        InputError: as `wav2vec2_weights` and `wav2vec2_config_of`.
    """
    config = wav2vec2_config_of(wav2vec2_weights(state), settings_of(args_or_cfg))
    config.update(_quantizer(state))
    return config


def wav2vec2_config_of(weights: Mapping[str, Tensor], settings: Mapping[str, Any] | None = None) -> Wav2Vec2Config:
    """The configuration of a `Wav2Vec2Model` for weights under transformers' names.

    Sizes are read from the shapes. Strides, attention heads, the place of the norms, the activation and the dropout
    rates are read from the settings; without them they are what the published models have: strides 5, 2, 2, 2, 2, 2, 2;
    heads of 64 dimensions; the norm inside the layers ("stable") where the convolutions have layer norms; GELU; the
    rates of the base model. SpecAugment stays as transformers has it: pretraining's masks (mask_prob) augment nothing.

    Args:
        weights: of the encoder.
        settings: fairseq's names -> values; none need be given.

    Raises:
        InputError: the settings contradict the shapes, or the strides are not to be known.
    """
    settings = settings or {}
    width, by_layer = len(weights["feature_projection.projection.bias"]), _LATER_NORM in weights
    taps = weights["encoder.pos_conv_embed.conv.parametrizations.weight.original1"]  # (width, width / groups, taps)
    heads = settings.get("encoder_attention_heads", width // 64)
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise InputError(f"{heads} attention heads do not divide {width} dimensions: give encoder_attention_heads")
    convolutions = stack_of(weights, r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight")
    channels, kernels, strides = zip(*conv_stack(settings, convolutions, _STRIDES), strict=True)
    return Wav2Vec2Config(
        hidden_size=width,
        num_hidden_layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers.")),
        num_attention_heads=heads,
        intermediate_size=len(weights["encoder.layers.0.feed_forward.intermediate_dense.bias"]),
        hidden_act=lookup(_ACTIVATIONS, settings.get("activation_fn", "gelu"), "activation of fairseq's"),
        feat_extract_norm="layer" if by_layer else "group",
        do_stable_layer_norm=bool(settings.get("layer_norm_first", by_layer)),
        num_conv_pos_embeddings=taps.shape[2],
        num_conv_pos_embedding_groups=width // taps.shape[1],
        conv_dim=channels,
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in weights,
        **_rates(settings),
    )


def wav2vec2_normalises(
    args_or_cfg: argparse.Namespace | Mapping[str, Any] | None, state: Mapping[str, Tensor]
) -> bool:
    """Whether waveforms are brought to mean 0 and variance 1: `do_normalize` of the feature extractor.

    Read from the settings (`normalize`, of the task); without them it is so where the convolutions have layer norms, as
    in the published models.
    """
    by_layer = _LATER_NORM in wav2vec2_weights(state)
    return bool(settings_of(args_or_cfg).get("normalize", by_layer))


def _rates(settings: Mapping[str, Any]) -> dict[str, float]:
    rates = {}
    for theirs, (ours, default) in _RATES.items():
        rate = settings.get(theirs, default)
        if not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise InputError(f"{theirs} of the settings is {rate!r}: give a probability, from 0 to 1")
        rates[ours] = float(rate)
    return rates


def _quantizer(state: Mapping[str, Tensor]) -> dict[str, int]:
    if "quantizer.vars" not in state:
        return {}
    entries, size = state["quantizer.vars"].shape[1:]
    projected, width = state["project_q.weight"].shape
    return {
        "num_codevector_groups": width // size,
        "num_codevectors_per_group": entries // (width // size),
        "codevector_dim": width,
        "proj_codevector_dim": projected,
    }


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_FINE_TUNED): value for name, value in state.items()}
