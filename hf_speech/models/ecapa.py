"""ECAPA-TDNN: time-delay layers with residual scales, squeeze-excitation and multi-layer aggregation.

Desplanques, Thienpondt & Demuynck, "ECAPA-TDNN", Interspeech 2020, sections 2 and 3. As in SpeechBrain's, each block's
input is the output of the one before, not the sum of all before (section 2.3 has both).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .conv_products import convolve
from .frames import Count
from .masking import length_mask, masked_mean, zero_padding
from .registry import InputError
from .tdnn import TDNNLayer, check_layers, check_size


class Res2Layer(nn.Module):
    """A convolution in a hierarchy of scales: each group of channels sees what the group before gave.

    Gao et al., "Res2Net", TPAMI 2021, section 3.1. The first group passes unchanged.

    Args:
        size: channels in and out, a multiple of `scale`.
        scale: groups of channels.
        kernel_size: taps of each convolution, odd.
        dilation: frames from one tap to the next.
    """

    def __init__(self, size: int, scale: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        width = size // scale
        self.scale = scale
        self.layers = nn.ModuleList(TDNNLayer(width, width, kernel_size, dilation) for _ in range(scale - 1))

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """Values (B, C, T), of which the first `counts` (B,) frames are real -> (B, C, T)."""
        first, *others = values.chunk(self.scale, dim=1)
        groups = [first]
        for group, layer in zip(others, self.layers, strict=True):
            groups.append(layer(group if len(groups) == 1 else group + groups[-1], counts))
        return _beside(groups)


class SqueezeExcitation(nn.Module):
    """A factor for each channel, from the channels' means over the real frames.

    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, section 3.

    Args:
        size: channels.
        hidden_size: width between the two affine maps.
    """

    def __init__(self, size: int, hidden_size: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(size, hidden_size)
        self.excite = nn.Linear(hidden_size, size)

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """Values (B, C, T), of which the first `counts` (B,) frames are real -> factors (B, C, 1) in (0, 1)."""
        # In float32: in bfloat16 the number of frames itself would be rounded.
        if counts is None:
            mean = values.mean(dim=2, dtype=torch.float32)
        else:
            mean = masked_mean(values.float().transpose(1, 2), length_mask(counts, values.shape[2]))
        return self.excite(self.squeeze(mean.to(values.dtype)).relu()).sigmoid()[..., None]


class EcapaBlock(nn.Module):
    """One SE-Res2Block: pointwise layer, scales, pointwise layer, squeeze-excitation, and the input added (2.2).

    Args:
        input_size: channels in; where they are not `output_size`, a pointwise convolution maps what is added.
        output_size: channels out.
        kernel_size: taps of the convolutions between the scales.
        dilation: frames from one tap to the next.
        scale: groups of channels.
        se_channels: width of the squeeze.
    """

    def __init__(
        self, input_size: int, output_size: int, kernel_size: int, dilation: int, scale: int, se_channels: int
    ) -> None:
        super().__init__()
        self.before = TDNNLayer(input_size, output_size)
        self.scales = Res2Layer(output_size, scale, kernel_size, dilation)
        self.after = TDNNLayer(output_size, output_size)
        self.excitation = SqueezeExcitation(output_size, se_channels)
        self.shortcut = None if input_size == output_size else nn.Conv1d(input_size, output_size, 1)

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """Values (B, C, T), of which the first `counts` (B,) frames are real -> (B, C', T)."""
        residual = values if self.shortcut is None else convolve(self.shortcut, values)
        inner = self.after(self.scales(self.before(values, counts), counts), counts)
        return torch.addcmul(residual, inner, self.excitation(inner, counts))


class EcapaTDNN(nn.Module):
    """The frame level of ECAPA-TDNN, up to what attentive statistics pooling takes.

    The pooling "attentive" and the projection "batchnorm+linear" make the embedding of it. The defaults are
    the smaller preset of the paper; the larger has channels of 1024 (1024 x 4 + 1536, or 3072 in SpeechBrain's).

    Args:
        input_size: features of a frame.
        channels: of the first layer, of each block, and of the aggregation.
        kernel_sizes: taps of the same, odd.
        dilations: frames from one tap to the next, of the same.
        scale: groups of channels in a block's hierarchy; it divides every block's channels.
        se_channels: width of the squeeze.
        aggregate: whether a last layer sees the outputs of all blocks (2.3). Without it the last block's frames come
            out, and the last of `channels`, `kernel_sizes` and `dilations` is not used.

    Attributes:
        output_size: channels that come out.
        stride: frames in for a frame out, 1.

    Raises:
        InputError: lists of unequal length, or a number that can't be.
    """

    stride = 1

    def __init__(
        self,
        input_size: int,
        *,
        channels: Sequence[int] = (512, 512, 512, 512, 1536),
        kernel_sizes: Sequence[int] = (5, 3, 3, 3, 1),
        dilations: Sequence[int] = (1, 2, 3, 4, 1),
        scale: int = 8,
        se_channels: int = 128,
        aggregate: bool = True,
    ) -> None:
        super().__init__()
        check_layers("ecapa-tdnn", channels, kernel_sizes, dilations)
        _check(channels, scale, se_channels)
        first, *blocks, last = zip(channels, kernel_sizes, dilations, strict=True)
        self.first = TDNNLayer(input_size, *first)
        self.blocks = nn.ModuleList(
            EcapaBlock(before, *block, scale, se_channels) for before, block in zip(channels, blocks, strict=False)
        )
        self.aggregation = TDNNLayer(sum(channels[1:-1]), *last) if aggregate else None
        self.output_size = channels[-1] if aggregate else channels[-2]

    def count(self, frames: Count) -> Count:
        """Frames out for so many in: as many."""
        return frames

    def centre(self, frame: int) -> float:
        """Which input frame lies in the middle of what an output frame has seen: the same.

        That all frames are scaled by the utterance's mean is left out of it.
        """
        return frame

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """Features to frames.

        Args:
            features: (B, F, input_size), F of 1 or more.
            counts: (B,) int, real frames of each; None: nothing is padded.

        Shape:
            (B, F, output_size)
        """
        values = self.first(zero_padding(features.transpose(1, 2), counts), counts)
        outputs = []
        for block in self.blocks:
            values = block(values, counts)
            outputs.append(values)
        if self.aggregation is not None:
            values = self.aggregation(_beside(outputs), counts)
        return values.transpose(1, 2)


def _beside(groups: Sequence[Tensor]) -> Tensor:
    """Channels of (B, C, T) tensors side by side, laid out as (B, T, C), which is how a CPU computes them."""
    return torch.cat([group.transpose(1, 2) for group in groups], dim=-1).transpose(1, 2)


def _check(channels: Sequence[int], scale: int, se_channels: int) -> None:
    if len(channels) < 3:
        raise InputError(f"ecapa-tdnn: channels has {len(channels)} values; give those of layer, block(s), aggregation")
    check_size("ecapa-tdnn", "scale", scale)
    check_size("ecapa-tdnn", "se_channels", se_channels)
    for size in channels[1:-1]:
        if size % scale:
            raise InputError(f"ecapa-tdnn: scale {scale} does not divide {size} channels; give a divisor of them")
