"""Batch norms that know what is real: over the real frames of a batch, and over its utterances.

Ioffe & Szegedy, "Batch Normalization", ICML 2015. All have the parameter names of torch's.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .masking import length_mask, runs_on_cpu
from .registry import InputError


class MaskedBatchNorm(_BatchNorm):
    """Batch norm over places, which in training takes its statistics from those of real frames only.

    The population variance normalises, the unbiased one goes into the running average. A batch with one real place in
    all has the variance 0; it gives the bias, and leaves the running variance as it is.

    Args:
        num_features: C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """Normalises each channel.

        Args:
            values: (B, C, T, ...).
            counts: (B,) int, of the T frames of each the real ones; None: nothing is padded.

        Shape:
            (B, C, T, ...); what comes out in the padding has no meaning, and is finite where the input is.
        """
        if not self.training or (counts is None and values.numel() > values.shape[1]):
            return super().forward(values)
        return self._over_real_frames(values, counts)

    def _over_real_frames(self, values: Tensor, counts: Tensor | None) -> Tensor:
        with torch.autocast(device_type=values.device.type, enabled=False):
            numbers, size = values.float(), values.shape[2]
            if counts is None:
                counts = torch.full(values.shape[:1], size, device=values.device)
            others = list(range(2, values.dim()))
            channels = (-1, *[1] * len(others))  # (C,) beside (B, C, T, ...)
            padding = ~length_mask(counts, size).view(len(counts), 1, size, *[1] * (len(others) - 1))
            total = counts.sum() * values.shape[3:].numel()
            mean = numbers.masked_fill(padding, 0.0).sum((0, *others)) / total
            centred = (numbers - mean.view(channels)).masked_fill(padding, 0.0)
            variance = centred.square().sum((0, *others)) / total
            self._follow(mean, variance, total)
            scale = torch.rsqrt(variance + self.eps) * self.weight.float()
            return torch.addcmul(self.bias.float().view(channels), centred, scale.view(channels)).to(values.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        unbiased = (variance * total / (total - 1).clamp(min=1)).to(self.running_var.dtype)
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(torch.where(total > 1, unbiased, self.running_var), self.momentum)


class MaskedBatchNorm1d(MaskedBatchNorm, nn.BatchNorm1d):
    """Of frames (B, C, T)."""

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """See the base class."""
        rows = values.transpose(1, 2)
        of_real_frames = self.training and (counts is not None or values.numel() <= values.shape[1])
        if of_real_frames or not (rows.is_contiguous() and runs_on_cpu(values)):
            return super().forward(values, counts)
        # As (B, T, C) in memory: torch goes over a table in a seventh of the time.
        return nn.BatchNorm1d.forward(self, rows.flatten(0, 1)).view(rows.shape).transpose(1, 2)


class MaskedBatchNorm2d(MaskedBatchNorm, nn.BatchNorm2d):
    """Of pictures (B, C, T, bands), over all bands."""


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
