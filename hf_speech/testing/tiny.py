"""Tiny backbones of every kind: random weights, a few thousand parameters, no download."""

from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import lookup

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# What sets one kind of checkpoint apart from the others (feat_extract_norm as its base or, failing that, only size).
BACKBONES: dict[str, dict[str, Any]] = {
    "wav2vec2": {"feat_extract_norm": "group"},
    "hubert": {"feat_extract_norm": "group"},
    "wavlm": {"feat_extract_norm": "group"},
    "unispeech-sat": {"feat_extract_norm": "group"},
    "data2vec-audio": {"feat_extract_norm": "layer", "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3},
    "wav2vec2-conformer": {"feat_extract_norm": "layer", "conv_bias": True, "conv_depthwise_kernel_size": 5},
    "wav2vec2-bert": {"conv_depthwise_kernel_size": 5},
    # The networks of this package; their front ends are the real ones.
    "x-vector": {"network_config": {"channels": [16, 16, 16, 16, 24]}},
    "ecapa-tdnn": {"network_config": {"channels": [16, 16, 16, 16, 24], "scale": 4, "se_channels": 8}},
    "vgg": {"network_config": {"size": 16}},
    "residual-vgg": {"network_config": {"size": 16}},
    "spectrum": {},
    "wav2vec": {
        "network_config": {
            "conv_layers": [[8, 10, 5], [8, 8, 4], [8, 4, 2], [8, 4, 2], [8, 4, 2]],
            "context_kernels": [2, 3],
        }
    },
}

_TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "feat_proj_dropout": 0.1,
    "final_dropout": 0.1,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "num_codevectors_per_group": 8,
    "num_codevector_groups": 2,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
}


def tiny_backbone_config(model_type: str = "wav2vec2", **overrides: Any) -> "PretrainedConfig":
    """The config of a tiny backbone with the convolutions and the norm of the real one.

    Kernels and strides are the real ones (of SSL encoders: receptive field 400 samples, hop 320), so frame counts are
    too.

    Args:
        model_type: a name in `BACKBONES`: wav2vec2, hubert, ecapa-tdnn ...
        overrides: fields of the config, as num_hidden_layers=4.

    Raises:
        InputError: another model type, or a field that the config does not have.
    """
    from transformers import AutoConfig

    from ..models.backbones import OWN_BACKBONES

    own = lookup(BACKBONES, model_type, "tiny backbone")
    make = OWN_BACKBONES.get(model_type) or partial(AutoConfig.for_model, model_type)
    fields = make().to_dict()
    for name in overrides:
        lookup(fields, name, f"field of the {model_type} config")
    values = {name: value for name, value in {**_TINY, **own}.items() if name in fields}
    if model_type in OWN_BACKBONES:
        values = own  # of a name that SSL encoders have, such as num_hidden_layers, these mean something else
    return make(**{**values, **overrides})
