"""fairseq's wav2vec 1.0 checkpoints -> the network "wav2vec": the names of the weights, and its options.

fairseq's names and what its settings mean are read off its published source (fairseq/models/wav2vec/wav2vec.py) and the
command line of the published large model (examples/wav2vec/README.md).
"""

import argparse
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .fairseq_settings import conv_stack, settings_of
from .registry import InputError
from .state_dicts import Names, rename_weights, stack_of

_WHAT = "a wav2vec 1.0 of fairseq's"
# A block is (convolution, dropout, norm, activation); in the aggregator, padding stands before it.
_NAMES: Names = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.weight", r"encoder.\1.conv.weight"),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(weight|bias)", r"encoder.\1.norm.\2"),
    (r"feature_aggregator\.conv_layers\.(\d+)\.1\.(weight|bias)", r"context.\1.conv.\2"),
    (r"feature_aggregator\.conv_layers\.(\d+)\.3\.(weight|bias)", r"context.\1.norm.\2"),
)
_LEFT_OUT = (r"wav2vec_predictions\..*", r"project_features\..*")  # of pretraining
_STRIDES: Mapping[
    tuple[int, ...], tuple[int, ...]
] = {  # of the published models, by their kernels; the second is fairseq's default
    (10, 8, 4, 4, 4, 1, 1): (5, 4, 2, 2, 2, 1, 1),
    (10, 8, 4, 4, 4, 1, 1, 1): (5, 4, 2, 2, 2, 1, 1, 1),
}


def wav2vec_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of `Wav2Vec`; the predictor of pretraining is left out.

    Raises:
        InputError: a weight has no place there (a quantizer, a recurrent aggregator, projections on its shortcuts), or
            the state dict is not whole.
    """
    weights, _ = rename_weights(state, _NAMES, _LEFT_OUT, _WHAT)
    for needed in ("encoder.0.conv.weight", "encoder.0.norm.weight", "context.0.norm.weight"):
        if needed not in weights:
            raise InputError(f"no whole state dict of {_WHAT}: nothing in it becomes {needed}")
    return weights


def wav2vec_options(
    args_or_cfg: argparse.Namespace | Mapping[str, Any] | None, state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Options of `Wav2Vec` for a checkpoint.

    Channels, kernels and biases are read from the shapes; strides, padding, shortcuts, log compression and the
    activation from the settings. Without them they are those of the published large model.

    Args:
        args_or_cfg: the checkpoint's settings, or None.
        state: fairseq's state dict.

    Raises:
        InputError: the settings contradict the shapes or ask for what `Wav2Vec` does not have, or the strides are not
            to be known.
    """
    settings, weights = settings_of(args_or_cfg), wav2vec_weights(state)
    if settings.get("skip_connections_feat", False):
        raise InputError("the encoder of this wav2vec has shortcuts (skip_connections_feat), which ours does not have")
    convolutions = stack_of(weights, r"encoder\.(\d+)\.conv\.weight")
    context = stack_of(weights, r"context\.(\d+)\.conv\.weight")
    width = convolutions[-1].shape[0]
    if any(weight.shape[:2] != (width, width) for weight in context):
        raise InputError(f"the aggregator of this wav2vec changes its channels from {width}, which ours does not do")
    return {
        "conv_layers": [list(layer) for layer in conv_stack(settings, convolutions, _STRIDES)],
        "context_kernels": [weight.shape[2] for weight in context],
        "context_bias": "context.0.conv.bias" in weights,
        "context_padding": "zero" if settings.get("agg_zero_pad", False) else "replicate",
        "skip": bool(settings.get("skip_connections_agg", True)),
        "residual_scale": settings.get("residual_scale", 0.5),
        "log_compression": bool(settings.get("log_compression", True)),
        "activation": settings.get("activation", "relu"),
    }
