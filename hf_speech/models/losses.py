"""Losses as pure functions of tensors, computed in float32 whatever the model's precision.

Each takes `(logits (B, C), labels (B,), config)` and gives a scalar; the config holds the loss's own numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .configuration import HfSpeechConfig


def cross_entropy(logits: Tensor, labels: Tensor, config: HfSpeechConfig) -> Tensor:
    """Mean cross-entropy; with class weights, the weighted mean (sum of weights below the line).

    Args:
        logits: (B, C).
        labels: (B,) class numbers.
        config: its `class_weights`, C factors, or None.
    """
    weights = config.class_weights
    factors = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=logits.device)
    return F.cross_entropy(logits.float(), labels, factors)


def mse(logits: Tensor, labels: Tensor, config: HfSpeechConfig) -> Tensor:
    """Mean squared error in units of the target's standard deviation.

    Args:
        logits: (B, 1), in the target's own unit.
        labels: (B,), in the same.
        config: its `target_std`.
    """
    return _standardised_error(logits, labels, config).square().mean()


def l1(logits: Tensor, labels: Tensor, config: HfSpeechConfig) -> Tensor:
    """Mean absolute error in units of the target's standard deviation; arguments as in `mse`."""
    return _standardised_error(logits, labels, config).abs().mean()


def _standardised_error(logits: Tensor, labels: Tensor, config: HfSpeechConfig) -> Tensor:
    return (logits.float().squeeze(-1) - labels.float()) / config.target_std


LOSSES = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "l1": l1,
}
