"""State dicts of other code bases: where a checkpoint keeps one, and new names for its weights."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from .registry import InputError

# A pattern that a whole name fits -> the new name, with the pattern's groups in it, or what makes it of the match.
Names = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


def state_of(checkpoint: Mapping[str, Any], key: str, what: str) -> dict[str, Tensor]:
    """The state dict that a checkpoint keeps under a key; a bare state dict is taken too.

    Args:
        checkpoint: what `read_checkpoint` gives.
        key: where this kind of checkpoint has its state dict ("model", "state_dict").
        what: the kind, for the message.

    Raises:
        InputError: there is none.
    """
    state = checkpoint.get(key, checkpoint)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"no checkpoint of {what}: a dictionary with a state dict under {key!r} is expected, or a state dict; this "
            f"one has {', '.join(list(map(str, checkpoint))[:8]) or 'nothing'}"
        )
    return dict(state)


def renamed(name: str, names: Names) -> str | None:
    r"""The new name by the first pattern that fits; None where none does.

    >>> renamed("encoder.3.fc1.bias", [(r"encoder\.(\d+)\.fc1\.(weight|bias)", r"layers.\1.up.\2")])
    'layers.3.up.bias'
    """
    for pattern, replacement in names:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement) if isinstance(replacement, str) else replacement(match)
    return None


def rename_weights(
    state: Mapping[str, Tensor], names: Names, left_out: Sequence[str], what: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under new names, and the old names of those that are left out.

    Args:
        state: a state dict.
        names: see `Names`.
        left_out: patterns of names that have no use here.
        what: whose state dict it should be, for the message.

    Raises:
        InputError: a name fits no pattern: the state dict is of something else.
    """
    weights: dict[str, Tensor] = {}
    unused, strange = [], []
    for name, value in state.items():
        new = renamed(name, names)
        if new is not None:
            weights[new] = value
        elif any(re.fullmatch(pattern, name) for pattern in left_out):
            unused.append(name)
        else:
            strange.append(name)
    if strange:
        raise InputError(f"no state dict of {what}: {len(strange)} weights have no place in it, such as {strange[0]}")
    return weights, unused


def stack_of(weights: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    """The weights whose names fit a pattern with a number in it, in the order of the numbers."""
    found = [(int(match[1]), weights[name]) for name in weights if (match := re.fullmatch(pattern, name))]
    return [weight for _, weight in sorted(found, key=lambda pair: pair[0])]
