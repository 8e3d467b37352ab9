"""Checkpoints of four published systems -> settings of `HfSpeechConfig` and weights of its parts.

dmha          double multi-head attention over a VGG (India et al., ICASSP 2021): `.chkpt` {model, settings, ...}
ft-ser        emotion recognition on wav2vec 2.0 (Chen & Rudnicky, 2110.06309): Lightning's `.ckpt`, all its stages
few-samples   speaker recognition with little data (Vaessen & van Leeuwen, 2203.14688): Lightning's `.ckpt`
aishell4-sid  who speaks in a meeting (AISHELL-4), on wav2vec 2.0: Lightning's `.ckpt`

The names on their side are read off their published sources. For an utterance alone ours gives what theirs does, but
for what each function says; in a padded batch ours stays the same, and theirs reads the padding.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from .conversion_fairseq import wav2vec2_config_of
from .conversion_wav2vec import wav2vec_options, wav2vec_weights
from .pooling import TORCH_STD
from .registry import InputError, lookup
from .state_dicts import Names, rename_weights, stack_of, state_of
from .vgg import halved

Checkpoint = Mapping[str, Any]

_BANDS = 80  # of dmha's spectrograms
_AFFINE = r"\.(weight|bias)"
_POSITIONS = r"(encoder:encoder\.pos_conv_embed\.conv)"
# Weight norm as torch kept it before version 2.1.
_MODERN: Names = (
    (_POSITIONS + r"\.weight_g", r"\1.parametrizations.weight.original0"),
    (_POSITIONS + r"\.weight_v", r"\1.parametrizations.weight.original1"),
    (r"(.+)", r"\1"),
)
_DMHA: Names = (
    # The convolutions are numbered by block and place there, the stages from 1.
    (r"front_end\.conv(\d)([12])" + _AFFINE, lambda m: f"network:convolutions.{2 * int(m[1]) + int(m[2]) - 3}.{m[3]}"),
    (r"front_end\.layer(\d)\.(.+)", lambda m: f"network:stages.{int(m[1]) - 1}.{m[2]}"),
    (r"front_end\.((?:conv|bn)1\..+)", r"network:\1"),
    (r"poolingLayer\.(?:utteranceAttention\.)?query", "pooling:queries"),
    (r"poolingLayer\.headsAttention\.att", "pooling:head_query"),
    (r"poolingLayer\.att", "pooling:query"),
    (r"fc1" + _AFFINE, r"projection:hidden.\1"),
    (r"fc2" + _AFFINE, r"projection:linear.\1"),
    (r"b2\.(\w+)", r"projection:norm.\1"),
    (r"preLayer" + _AFFINE, r"head:affine.\1"),
    (r"predictionLayer\.W", "head:weight"),
)
_FT_SER: Names = (
    (r"(?:model\.)?wav2vec2\.(?:wav2vec2PT\.)?wav2vec2\.(.+)", r"encoder:\1"),
    (r"wav2vec2\.wav2vec2PT\.((?:quantizer|project_hid|project_q)\..+)", r"pretraining:\1"),
    (r"model\.linear_head\.1" + _AFFINE, r"head:classifier.\1"),
    (r"linearheads\.(\d+)\.l1" + _AFFINE, r"clusters:\1.hidden.\2"),
    (r"linearheads\.(\d+)\.l2" + _AFFINE, r"clusters:\1.classifier.\2"),
    (r"wav2vec\.wav2vec\.(.+)", r"network:\1"),
    (r"wav2vec\.conv" + _AFFINE, r"reduction:\1"),
    (r"linearhead\.l1" + _AFFINE, r"frame_head:hidden.\1"),
    (r"linearhead\.l2" + _AFFINE, r"frame_head:classifier.\1"),
)
_FT_SER_UNUSED = (
    r"criterion\.weight",  # of the classes, in the loss
    r"model\.rnn_head\..+",
    r"rnn\..+",
    r"linearhead_rnn\..+",
    r"linearheads\.\d+" + _AFFINE,
)
_FEW_SAMPLES: Names = (
    (r"backbone\.wav2vec2\.feature_extractor\.extractor\.(.+)", r"encoder:feature_extractor.\1"),
    (r"backbone\.wav2vec2\.feature_projector\.projector\.(.+)", r"encoder:feature_projection.\1"),
    (r"backbone\.wav2vec2\.encoder\.encoder\.(.+)", r"encoder:encoder.\1"),
    (r"backbone\.wav2vec2\.masked_spec_embed", "encoder:masked_spec_embed"),
    (r"backbone\.cls_token", "token:weight"),
    (r"backbone\.((?:blocks|mfa|asp|asp_bn|fc)\..+)", r"speechbrain:\1"),
    (r"classifier\.(?:classifier\.)?weights", "head:weight"),
    (r"classifier\.classifier" + _AFFINE, r"head:classifier.\1"),
)
_AISHELL4: Names = (
    (r"wav2vec2\.(.+)", r"encoder:\1"),
    (r"classifier" + _AFFINE, r"head:classifier.\1"),
    (r"classifier\.0" + _AFFINE, r"head:hidden.\1"),
    (r"classifier\.3" + _AFFINE, r"head:classifier.\1"),
)


@dataclass(frozen=True)
class System:
    """What a checkpoint of another system is here.

    Attributes:
        settings: fields of `HfSpeechConfig`; those left out keep their defaults.
        states: weights a part: "encoder" under the names of transformers' `Wav2Vec2Model`, "network", "pooling",
            "projection" and "head" under ours; further ones, which no part of ours has, as the functions say.
        left_out: names of weights that have no use.
    """

    settings: dict[str, Any]
    states: dict[str, dict[str, Tensor]]
    left_out: list[str]


def dmha_system(checkpoint: Checkpoint) -> System:
    """A speaker or age classifier with double multi-head attention, or with one of its simpler poolings.

    The queries are scaled: where the paper divides a score by sqrt(d), as we do, the code divides by the root of the
    number of heads in the first attention, and by nothing in the second. Embeddings are then the same, but with the
    residual front end: there, frames are averaged over time before the attention; ours keeps them. So are the scores:
    the affine map between the embedding and the classes' centres is the head's `affine`.

    Args:
        checkpoint: as read from the file; its `settings` may be missing: 80 bands, scale 30 and margin 0.4 are assumed.

    Raises:
        InputError: it is something else, or has the pooling "Attention Statistical", which is no pooling of ours.
    """
    states, unused = _parts(checkpoint, "model", _DMHA, (r"b1\..+", r"b3\..+", r"front_end\.fc\..+"), "dmha")
    _need(states, "dmha", "network", "projection:hidden.weight", "projection:linear.weight", "head:weight")
    given = checkpoint.get("settings")
    given = vars(given) if isinstance(given, argparse.Namespace) else dict(given or {})
    states["head"]["weight"] = states["head"]["weight"].T.contiguous()
    backbone, width = _dmha_network(states)
    size, pooled = states["projection"]["hidden.weight"].shape
    settings = {
        "backbone_config": {**backbone, "frontend": "log-mel", "frontend_config": {"norm": _dmha_norm(given)}},
        **_dmha_pooling(states, width, pooled, given),
        "projection": "dmha",
        "projection_config": {"size": size, "as_in": "code"},
        "head": "cosine",
        "head_config": {
            "scale": float(given.get("scalingFactor", 30.0)),
            "affine": "affine.weight" in states["head"],
        },
        "loss": "am_softmax",
        "loss_config": {
            "margin": float(given.get("marginFactor", 0.4)),
            "annealing": bool(given.get("annealing", False)),
        },
        "num_labels": len(states["head"]["weight"]),
    }
    return System(settings, states, unused)


def ft_ser_system(checkpoint: Checkpoint) -> System:
    """A stage of ft-ser's emotion recognition.

    - Fine-tuned (V-FT, and after the other stages): "encoder" and "head"; ReLU on the frames, their mean, an affine
      map. Theirs leaves the last real frame out of the mean, ours does not. Its recurrent layer is never called.
    - TAPT: "encoder", and "pretraining": quantizer, project_hid, project_q, as in `Wav2Vec2ForPreTraining`.
    - P-TAPT, second stage: "encoder", and "clusters": a head "tanh" a clustering, its number first in the names.
    - P-TAPT, first stage: "network" for the backbone "wav2vec"; "reduction": the convolution (512 -> 512, 4 taps,
      stride 2) with ReLU behind it; "frame_head": the head "tanh" that sees every frame.

    Raises:
        InputError: it is something else.
    """
    states, unused = _parts(checkpoint, "state_dict", _FT_SER, _FT_SER_UNUSED, "ft-ser")
    if "network" in states:
        first = states["network"]
        states["network"] = wav2vec_weights(first)
        network = {"model_type": "wav2vec", "network_config": wav2vec_options(None, first)}
        return System({"backbone_config": network}, states, unused)
    _need(states, "ft-ser", "encoder")
    settings: dict[str, Any] = {"backbone_config": _encoder_config(states)}
    if "head" in states:
        _need(states, "ft-ser", "head:classifier.bias")
        labels = len(states["head"]["classifier.bias"])
        settings |= {"neck": "relu", "pooling": "mean", "head": "linear", "loss": "cross_entropy", "num_labels": labels}
    return System(settings, states, unused)


def few_samples_system(checkpoint: Checkpoint, *, pooling: str = "mean") -> System:
    """A speaker recognition network of few-samples: wav2vec 2.0, ECAPA-TDNN or x-vector.

    Of the latter two, "speechbrain" has the weights of SpeechBrain's network under its own names, which
    `conversion_speechbrain` takes; "head" has the centres, "token" the class token (weight), where there is one. The
    embeddings of enrolled speakers are left out.

    Args:
        checkpoint: as read from the file.
        pooling: of a wav2vec 2.0, which the file does not tell; a class token in it has "first+cls", or
            "first+cls-learned" where its numbers are no longer 1.

    Raises:
        InputError: it is something else.
    """
    ignored = (r"(?:mean|std|enrolled)_embeddings?", r"metric_.+")
    states, unused = _parts(checkpoint, "state_dict", _FEW_SAMPLES, ignored, "few-samples")
    _need(states, "few-samples", "head")
    if "classifier.weight" in states["head"]:
        own: dict[str, Any] = {"head": "linear", "loss": "cross_entropy"}
    else:
        own = {"head": "cosine", "head_config": {"scale": 30.0}, "loss": "aam_softmax", "loss_config": {"margin": 0.2}}
    own["num_labels"] = len(next(iter(states["head"].values())))
    if "speechbrain" in states:
        return System(own, states, unused)
    _need(states, "few-samples", "encoder")
    if "token" in states:
        learned = bool((states["token"]["weight"] != 1).any())
        pooling = "first+cls-learned" if learned else "first+cls"
    # Waveforms are normalised there, whatever the encoder.
    settings = {"backbone_config": _encoder_config(states), "pooling": pooling, "do_normalize": True}
    return System(settings | own, states, unused)


def aishell4_system(checkpoint: Checkpoint) -> System:
    """A meeting's speaker classifier of aishell4-sid, baseline (mean) or transfer (mean and deviation).

    Waveforms are not normalised there, although its encoder was trained so; the settings say the same.

    Raises:
        InputError: it is something else.
    """
    states, unused = _parts(checkpoint, "state_dict", _AISHELL4, (), "aishell4-sid")
    _need(states, "aishell4-sid", "encoder", "head:classifier.weight", "head:classifier.bias")
    given, head = dict(checkpoint.get("hyper_parameters") or {}), states["head"]
    backbone = _encoder_config(states)
    first = head.get("hidden.weight", head["classifier.weight"])
    default = "mean" if first.shape[1] == backbone.hidden_size else "mean+std"
    pooling = str(given.get("pooling_method", default))
    settings = {
        "backbone_config": backbone,
        "pooling": pooling,
        "pooling_config": dict(TORCH_STD) if pooling == "mean+std" else {},
        "do_normalize": False,
        "loss": "cross_entropy",
        "num_labels": len(head["classifier.bias"]),
        "head": "linear",
    }
    if "hidden.weight" in head:
        settings |= {"head": "mlp", "head_config": {"size": len(head["hidden.bias"]), "dropout": 0.3}}
    return System(settings, states, unused)


def _parts(
    checkpoint: Checkpoint, key: str, names: Names, left_out: tuple[str, ...], what: str
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """The weights a part, and the names of those left out."""
    weights, unused = rename_weights(state_of(checkpoint, key, what), names, left_out, what)
    states: dict[str, dict[str, Tensor]] = {}
    for name, value in rename_weights(weights, _MODERN, (), what)[0].items():
        part, _, inner = name.partition(":")
        states.setdefault(part, {})[inner] = value
    return states, unused


def _need(states: Mapping[str, Mapping[str, Tensor]], what: str, *needed: str) -> None:
    """Raises InputError where a part, or a weight of it ("head:weight"), is missing."""
    for name in needed:
        part, _, weight = name.partition(":")
        if part not in states or (weight and weight not in states[part]):
            raise InputError(
                f"no whole state dict of {what}: nothing in it becomes the {' '.join((part, weight)).strip()}"
            )


def _encoder_config(states: Mapping[str, Mapping[str, Tensor]]) -> PreTrainedConfig:
    for needed in ("feature_projection.projection.bias", "encoder.layers.0.feed_forward.intermediate_dense.bias"):
        if needed not in states["encoder"]:
            raise InputError(f"no whole wav2vec 2.0 in the state dict: nothing in it becomes {needed}")
    return wav2vec2_config_of(states["encoder"])


def _dmha_network(states: Mapping[str, Mapping[str, Tensor]]) -> tuple[dict[str, Any], int]:
    """Type and options of the front end, and the dimensions of its frames."""
    network = states["network"]
    if "stages.2.1.bn2.weight" in network:
        width = len(network["stages.2.1.bn2.weight"])
        return {"model_type": "residual-vgg", "network_config": {"size": 2 * width}}, width
    convolutions = stack_of(network, r"convolutions\.(\d+)\.weight")
    blocks, size = len(convolutions) // 2, len(convolutions[-1])
    options = {"blocks": blocks, "size": size}
    return {"model_type": "vgg", "network_config": options}, size * halved(_BANDS, blocks)


def _dmha_norm(given: Mapping[str, Any]) -> str:
    return lookup({"cmn": "mean", "cmvn": "mean+variance"}, given.get("normalization", "cmn"), "normalization of dmha")


def _dmha_pooling(
    states: dict[str, dict[str, Tensor]], width: int, pooled: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Name and options of the pooling; its queries, transposed and scaled, take the place of the original's."""
    own = states.pop("pooling", {})
    if pooled == 2 * width and "query" in own:
        raise InputError(
            "dmha: the pooling 'Attention Statistical' sums squares without weights, which none of ours does"
        )
    if pooled != (width // own["queries"].shape[1] if "head_query" in own else width if own else 2 * width):
        raise InputError(
            f"dmha: frames of {width} dimensions don't give pooled vectors of {pooled}; is it another network?"
        )
    if not own:
        return {"pooling": "mean+std", "pooling_config": dict(TORCH_STD)}
    if "query" in own:
        states["pooling"] = {"queries": own["query"].T * width**0.5}
        return {"pooling": "self-attention"}
    size, heads = own["queries"].shape
    states["pooling"] = {"queries": own["queries"].T * (size / heads) ** 0.5}
    if "head_query" not in own:
        return {"pooling": "multi-head", "pooling_config": {"heads": heads}}
    states["pooling"]["head_query"] = own["head_query"].T * size**0.5
    return {"pooling": "double-multi-head", "pooling_config": {"heads": heads, "head_drop": _dmha_drop(given)}}


def _dmha_drop(given: Mapping[str, Any]) -> float:
    """How often a head was left out in training: once in so many times, a whole number; 0: never."""
    chance = float(given.get("mask_prob", 0.3))
    if not 0 <= chance <= 0.5:
        raise InputError(f"dmha: mask_prob is {chance:g}, with which no head is ever trained; give a number up to 0.5")
    return 1 / int(1 / chance) if chance else 0.0
