"""Weights of SpeechBrain's ECAPA-TDNN and x-vector -> options and weights of our parts: new names, the same numbers.

For an utterance alone our network, pooling and projection give what SpeechBrain's do. In a padded batch ours stay the
same, and SpeechBrain's differ: it reflects at the end of the batch, not of the utterance. Its x-vector adds 1e-5 to the
deviations, and noise of 1e-5 to 9e-5, drawn anew at each call, to the means. Ours has no noise; the 1e-5 and the mean
of the noise, 5e-5, are in the bias of its projection.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .pooling import TORCH_STD
from .registry import InputError

State = Mapping[str, Tensor]
Renaming = tuple[str, str | Callable[[re.Match[str]], str]]

# A piece of a name, there -> here; applied in order. The first word of a name here is the part.
_ECAPA: tuple[Renaming, ...] = (
    (r"(^|\.)(conv\d?|norm|asp_bn|shortcut|fc)\.(conv|norm)\.", r"\1\2."),
    (r"^blocks\.0\.", "network.first."),
    (r"^blocks\.(\d+)\.", lambda found: f"network.blocks.{int(found[1]) - 1}."),
    (r"^mfa\.", "network.aggregation."),
    (r"\.tdnn1\.", ".before."),
    (r"\.res2net_block\.blocks\.", ".scales.layers."),
    (r"\.tdnn2\.", ".after."),
    (r"\.se_block\.conv1\.", ".excitation.squeeze."),
    (r"\.se_block\.conv2\.", ".excitation.excite."),
    (r"^asp\.tdnn\.conv\.", "pooling.hidden."),
    (r"^asp\.tdnn\.norm\.", "pooling.norm."),
    (r"^asp\.conv\.", "pooling.score."),
    (r"^asp_bn\.", "projection.norm."),
    (r"^fc\.", "projection.linear."),
)
_ECAPA_HAS = (
    "network.blocks.0.scales.layers.0.conv.weight",
    "network.aggregation.conv.weight",
    "pooling.hidden.weight",
    "projection.linear.weight",
)
# Its x-vector is one list: convolution, activation and norm of each layer, then pooling, then an affine map.
_XVECTOR: tuple[Renaming, ...] = (
    (r"^blocks\.(\d+)\.conv\.", lambda found: f"network.layers.{int(found[1]) // 3}.conv."),
    (r"^blocks\.(\d+)\.norm\.", lambda found: f"network.layers.{int(found[1]) // 3}.norm."),
    (r"^blocks\.\d+\.w\.", "projection.linear."),
)
_XVECTOR_HAS = ("projection.linear.weight", "projection.linear.bias")
# Affine maps that are written there as convolutions of one tap.
_AFFINE = re.compile(r"(squeeze|excite|hidden|score|linear)\.weight$")
# The convolutions whose dilations are options here.
_DILATED = re.compile(r"blocks\.\d+\.conv(\.conv)?|blocks\.\d+\.res2net_block\.blocks\.0\.conv\.conv|mfa\.conv\.conv")
_ADDED = (5e-5, 1e-5)  # to the means and to the deviations, see above
_SCALE = re.compile(r"blocks\.0\.scales\.layers\.\d+\.conv\.weight")


@dataclass(frozen=True)
class Parts:
    """What a model of SpeechBrain's is here.

    Attributes:
        input_size: features of a frame.
        options: of "network", "pooling" and "projection".
        states: weights of the same.
    """

    input_size: int
    options: dict[str, dict[str, Any]]
    states: dict[str, dict[str, Tensor]]


def ecapa_parts(state: State, *, dilations: Sequence[int] | None = None) -> Parts:
    """The network "ecapa-tdnn", the pooling "attentive" and the projection "batchnorm+linear" of an `ECAPA_TDNN`.

    Args:
        state: its state dict, as in an `embedding_model.ckpt`. The names may have a prefix, and others stand beside.
        dilations: of all layers, which no shape tells; None: the default, 1 first and last, 2, 3, 4 ... between.

    Raises:
        InputError: it is no such state dict, or its convolutions are grouped.
    """
    states = _split(state, "blocks.0.conv.conv.weight", _ECAPA, "ECAPA_TDNN", _ECAPA_HAS)
    options = ecapa_options(states, dilations)
    return Parts(states["network"]["first.conv.weight"].shape[1], options, states)


def ecapa_options(states: Mapping[str, State], dilations: Sequence[int] | None = None) -> dict[str, dict[str, Any]]:
    """Options of the parts of an ECAPA-TDNN, read off the shapes of their weights.

    Args:
        states: weights of "network", "pooling" and "projection", as `ecapa_parts` names them.
        dilations: see there.

    Raises:
        InputError: grouped convolutions.
    """
    network, pooling = states["network"], states["pooling"]
    blocks = 1 + max(int(name.split(".")[1]) for name in network if name.startswith("blocks."))
    convs = [network["first.conv.weight"]]
    convs += [network[f"blocks.{i}.scales.layers.0.conv.weight"] for i in range(blocks)]
    convs += [network["aggregation.conv.weight"]]
    widths = [network[f"blocks.{i}.after.conv.weight"].shape for i in range(blocks)]
    if any(width[0] != width[1] for width in widths) or convs[-1].shape[1] != sum(width[0] for width in widths):
        raise InputError("SpeechBrain ECAPA_TDNN: has grouped convolutions, which our network does not; no conversion")
    bottleneck, inputs = pooling["hidden.weight"].shape
    output = convs[-1].shape[0]
    return {
        "network": {
            "channels": [convs[0].shape[0], *[width[0] for width in widths], output],
            "kernel_sizes": [conv.shape[2] for conv in convs],
            "dilations": list(dilations or [1, *range(2, 2 + blocks), 1]),
            "scale": 1 + sum(_SCALE.fullmatch(name) is not None for name in network),
            "se_channels": network["blocks.0.excitation.squeeze.weight"].shape[0],
        },
        "pooling": {"bottleneck": bottleneck, "global_context": inputs == 3 * output},
        "projection": {"size": states["projection"]["linear.weight"].shape[0]},
    }


def xvector_parts(state: State, *, dilations: Sequence[int] | None = None, activation: str = "leaky-relu") -> Parts:
    """The network "x-vector", the pooling "mean+std" and the projection "linear" of an `Xvector`.

    Args:
        state: its state dict. The names may have a prefix, and others stand beside.
        dilations: of all layers, which no shape tells; None: the default, 1, 2, 3 and then 1.
        activation: of all layers, which no shape tells.

    Raises:
        InputError: it is no such state dict.
    """
    states = _split(state, "blocks.0.conv.weight", _XVECTOR, "Xvector", _XVECTOR_HAS)
    network = states["network"]
    convs = [network[f"layers.{i}.conv.weight"] for i in range(sum(name.endswith("conv.weight") for name in network))]
    options: dict[str, dict[str, Any]] = {
        "network": {
            "channels": [conv.shape[0] for conv in convs],
            "kernel_sizes": [conv.shape[2] for conv in convs],
            "dilations": list(dilations or [1, 2, 3, *[1] * len(convs)][: len(convs)]),
            "activation": activation,
        },
        "pooling": dict(TORCH_STD),
        "projection": {"size": states["projection"]["linear.weight"].shape[0]},
    }
    weight, bias = states["projection"]["linear.weight"], states["projection"]["linear.bias"]
    of_means, of_deviations = weight.chunk(2, dim=1)
    states["projection"]["linear.bias"] = bias + _ADDED[0] * of_means.sum(1) + _ADDED[1] * of_deviations.sum(1)
    return Parts(convs[0].shape[1], options, states)


def told_by(module: nn.Module) -> dict[str, Any]:
    """What no shape in a loaded module tells, but the module itself: keywords of `ecapa_parts` or `xvector_parts`.

    Raises:
        InputError: its activations are none that ours has.
    """
    parts = dict(module.named_modules())
    dilated = {
        name: part.dilation[0]
        for name, part in parts.items()
        if isinstance(part, nn.Conv1d) and _DILATED.fullmatch(name)
    }
    if not dilated:
        return {}  # it is something else, which its weights will show
    found = {type(part) for name, part in parts.items() if name.endswith(".activation")}
    valid: dict[type[nn.Module], dict[str, Any]] = {nn.ReLU: {}}
    if "blocks.0.conv" in dilated:  # an x-vector: the activation stands behind the convolution, in the same list
        found = {type(parts[f"blocks.{int(name.split('.')[1]) + 1}"]) for name in dilated}
        valid = {nn.ReLU: {"activation": "relu"}, nn.LeakyReLU: {"activation": "leaky-relu"}}
    if len(found) != 1 or not found <= valid.keys():
        names, known = (", ".join(sorted(kind.__name__ for kind in kinds)) or "none" for kinds in (found, valid))
        raise InputError(f"{type(module).__name__} has the activations: {names}; ours of its kind has one of: {known}")
    return {"dilations": list(dilated.values()), **valid[found.pop()]}


def _split(
    state: State, first: str, renamings: Iterable[Renaming], what: str, needed: Iterable[str]
) -> dict[str, dict[str, Tensor]]:
    """The state dict under our names, a dictionary a part; `first` is the name whose prefix is everyone's."""
    prefix = next((name.removesuffix(first) for name in state if name.endswith(first)), None)
    own = {} if prefix is None else {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    renamed = {_renamed(name, renamings): weight for name, weight in own.items()}
    missing = [name for name in needed if name not in renamed]
    if missing:
        raise InputError(f"no state dict of SpeechBrain's {what}: nothing in it becomes {missing[0]!r}")
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "pooling": {}, "projection": {}}
    for name, weight in renamed.items():
        part, _, inner = name.partition(".")
        affine = weight.dim() == 3 and _AFFINE.search(inner)
        parts.get(part, {})[inner] = weight[..., 0] if affine else weight
    return parts


def _renamed(name: str, renamings: Iterable[Renaming]) -> str:
    for pattern, ours in renamings:
        name = re.sub(pattern, ours, name)
    return name
