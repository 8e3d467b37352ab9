"""LayerDrop for the layers of an encoder of transformers, one by one.

Fan, Grave & Joulin, "Reducing Transformer Depth on Demand with Structured Dropout", ICLR 2020, section 3. transformers
skips layers in the encoder's loop, whether or not a layer is trained; here a layer skips itself, in training mode only,
so that frozen ones, which are in evaluation mode, are always there.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class SkipsItself:
    """What a layer that may be skipped has before its own class.

    Attributes:
        layerdrop: probability.
    """

    layerdrop: float
    training: bool

    def forward(self, hidden_states: Tensor, *arguments: Any, **settings: Any) -> Any:
        """As the layer's own, or in training, with the probability `layerdrop`, what came in."""
        if self.training and torch.rand(()) < self.layerdrop:
            # WavLM's layers hand the position bias on.
            return (hidden_states, settings["position_bias"]) if "position_bias" in settings else hidden_states
        return super().forward(hidden_states, *arguments, **settings)  # type: ignore[misc]


def let_skip(layers: nn.ModuleList, probability: float, first: int = 0) -> None:
    """Gives layers the chance to be skipped in training; parameters and their names stay as they are.

    Args:
        layers: of an encoder whose configuration has a LayerDrop of 0.
        probability: for each layer.
        first: the lowest one that may be skipped, counted from 0.
    """
    for layer in layers[first:] if probability > 0 else ():
        kind: Any = type(layer)
        layer.__class__ = _skipping(kind)
        layer.layerdrop = float(probability)


@cache
def _skipping(kind: type[nn.Module]) -> type[nn.Module]:
    """A class of layers that may be skipped, with the same name: those who shard a model find its layers by it."""
    return type(kind.__name__, (SkipsItself, kind), {})
