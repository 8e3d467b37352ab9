"""What fairseq's checkpoints hold: a state dict, and the settings of the run that wrote it.

A checkpoint is a dictionary: `model` is the state dict; the settings are `args`, a namespace, or in later versions
`cfg`, a dictionary with the groups `model`, `task` and others.
"""

import argparse
import ast
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .registry import InputError
from .state_dicts import state_of

Layers = list[tuple[int, int, int]]
_LONGEST_STACK = 100  # convolutions in a row; a bound on what a file can make us build


def fairseq_parts(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict and the settings in a checkpoint of fairseq; a bare state dict has no settings.

    Raises:
        InputError: there is no state dict.
    """
    state = state_of(checkpoint, "model", "fairseq")
    return state, settings_of(checkpoint.get("cfg") or checkpoint.get("args"))


def settings_of(args_or_cfg: argparse.Namespace | Mapping[str, Any] | None) -> dict[str, Any]:
    """A run's settings by name, whichever way fairseq kept them.

    A fine-tuned model's settings hold those of the model that it started from, as `w2v_args`; where both have a name,
    the inner one counts: it describes the network.
    """
    if isinstance(args_or_cfg, argparse.Namespace):
        args_or_cfg = vars(args_or_cfg)
    settings = dict(args_or_cfg or {})
    if isinstance(settings.get("model"), Mapping | argparse.Namespace):
        settings = settings_of(settings.get("task")) | settings_of(settings["model"])
    inner = settings.pop("w2v_args", None)
    return settings if inner is None else settings | settings_of(inner)


def conv_layers_of(text: str) -> Layers:
    """Reads fairseq's description of a stack of convolutions, without running it.

    Args:
        text: a Python expression of lists, tuples, whole numbers, + and *, as its flags take it.

    Returns:
        (channels, kernel, stride) of each layer.

    Raises:
        InputError: it is something else.

    >>> conv_layers_of("[(512, 10, 5)] + [(512, 3, 2)] * 2")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    """
    try:
        layers = _value(ast.parse(text.strip(), mode="eval").body)
    except (AttributeError, SyntaxError, TypeError, ValueError, RecursionError) as error:
        raise _no_layers(text) from error
    if not isinstance(layers, list) or not all(_is_layer(layer) for layer in layers) or not layers:
        raise _no_layers(text)
    return layers


def conv_stack(
    settings: Mapping[str, Any], weights: Sequence[Tensor], strides: Mapping[tuple[int, ...], tuple[int, ...]]
) -> Layers:
    """(channels, kernel, stride) of each convolution of the feature extractor.

    Args:
        settings: the run's; `conv_feature_layers` there tells the strides.
        weights: of the convolutions, (out, in, taps) each.
        strides: kernels -> strides of published models, for checkpoints without settings.

    Raises:
        InputError: the settings are of other convolutions, or the strides are not to be known.
    """
    channels, kernels = tuple(w.shape[0] for w in weights), tuple(w.shape[2] for w in weights)
    if "conv_feature_layers" not in settings:
        if kernels not in strides:
            raise InputError(
                f"the strides of convolutions with kernels {kernels} are not known: give conv_feature_layers"
            )
        return list(zip(channels, kernels, strides[kernels], strict=True))
    layers = conv_layers_of(settings["conv_feature_layers"])
    if [layer[:2] for layer in layers] != list(zip(channels, kernels, strict=True)):
        raise InputError(
            f"conv_feature_layers {layers} are not the checkpoint's: channels {channels}, kernels {kernels}"
        )
    return layers


def _is_layer(layer: object) -> bool:
    return isinstance(layer, tuple) and len(layer) == 3 and all(isinstance(n, int) and n > 0 for n in layer)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Tuple(elts=parts):
            return tuple(_value(part) for part in parts)
        case ast.List(elts=parts):
            return [_value(part) for part in parts]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _checked(_value(left) + _value(right))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            first, second = _value(left), _value(right)
            if any(isinstance(n, int) and n > _LONGEST_STACK for n in (first, second)):
                raise ValueError("too long")
            return _checked(first * second)
    raise ValueError(f"{type(node).__name__} is not understood")


def _checked(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) > _LONGEST_STACK:
        raise ValueError("too long")
    return value


def _no_layers(text: object) -> InputError:
    return InputError(
        f"{str(text)[:80]!r} does not describe convolutions; expected is a list such as [(512, 10, 5)] + "
        "[(512, 3, 2)] * 4, a (channels, kernel, stride) a layer"
    )
