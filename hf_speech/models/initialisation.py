"""How weights start, where transformers' deviation of 0.02, made for Transformers, is not what a layer wants."""

from torch import nn
from transformers import initialization as init


def reset_as_torch(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> None:
    """Draws weights and bias uniformly from +-1 / sqrt(inputs), as torch does; what was loaded stays."""
    bound = layer.weight[0].numel() ** -0.5
    init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        init.uniform_(layer.bias, -bound, bound)
