"""Batch norms that know what is real: over the real frames of a batch, and over its utterances.

Ioffe & Szegedy, "Batch Normalization", ICML 2015. Both have the parameter names of `nn.BatchNorm1d`.
"""

import torch
from torch import Tensor, nn

from .masking import length_mask
from .registry import InputError


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over frames, which in training takes its statistics from the real ones only.

    A batch with one real frame in all has the variance 0; it gives the bias, and does not spoil the running variance.

    Args:
        num_features: C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """Normalises frames.

        Args:
            values: (B, C, T).
            counts: (B,) int, real frames of each; None: nothing is padded.

        Shape:
            (B, C, T); what comes out in the padding has no meaning, and is finite where the input is.
        """
        if not self.training or (counts is None and values.shape[0] * values.shape[2] > 1):
            return super().forward(values)
        return self._over_real_frames(values, counts)

    def _over_real_frames(self, values: Tensor, counts: Tensor | None) -> Tensor:
        with torch.autocast(device_type=values.device.type, enabled=False):
            numbers, size = values.float(), values.shape[2]
            if counts is None:
                counts = torch.full(values.shape[:1], size, device=values.device)
            padding, total = ~length_mask(counts, size)[:, None], counts.sum()
            mean = numbers.masked_fill(padding, 0.0).sum((0, 2)) / total
            centred = (numbers - mean[:, None]).masked_fill(padding, 0.0)
            variance = centred.square().sum((0, 2)) / total
            self._follow(mean, variance * total / (total - 1).clamp(min=1))
            scale = torch.rsqrt(variance + self.eps) * self.weight.float()
            return torch.addcmul(self.bias.float()[:, None], centred, scale[:, None]).to(values.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class VectorBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over the utterances of a batch, one vector each: in training it needs two or more.

    Args:
        num_features: dimensions of a vector.
        part: what it is a part of, for the message ("projection 'dmha'").
        instead: a part that does without ("projection 'linear'").
    """

    def __init__(self, num_features: int, part: str, instead: str) -> None:
        super().__init__(num_features)
        self.part, self.instead = part, instead

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (B, C) -> (B, C).

        Raises:
            InputError: a batch of one in training: it has no variance.
        """
        if self.training and vectors.shape[0] < 2:
            raise InputError(f"{self.part} can't train on a batch of one: use a larger batch, or {self.instead}")
        return super().forward(vectors)
