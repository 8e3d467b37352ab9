"""Two-dimensional convolutions over a spectrogram: VGG, as under double multi-head attention, and a residual one.

India, Safari & Hernando, "Double Multi-Head Attention for Speaker Verification", ICASSP 2021, section 3 (VGG); a fork
of their code for age classification put residual blocks in its place, and averaged time away: here time is kept.

Every convolution pads with zeros, so what stands behind an utterance's end is set to zero before each of them. Every
maximum is taken over what a ReLU gave, 0 or more, so that the same zeros stand for the places that pooling leaves out
at the odd end of an utterance alone.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .batchnorm import MaskedBatchNorm2d
from .frames import Count
from .masking import length_mask
from .registry import InputError


def halved(count: Count, times: int = 1) -> Count:
    """Frames (or bands) that are left after halving, rounded up, so many times.

    >>> halved(350, 4)
    22
    """
    return (count + 2**times - 1) // 2**times


def blank(values: Tensor, counts: Tensor | None) -> Tensor:
    """Zeros behind each utterance's end: (B, C, F, bands), (B,) int | None -> (B, C, F, bands)."""
    if counts is None:
        return values
    return values.masked_fill(~length_mask(counts, values.shape[2])[:, None, :, None], 0.0)


class SpectralNetwork(nn.Module):
    """Base of the networks that see a spectrogram as a picture with one channel.

    Args:
        input_size: bands of a frame.
        size: channels that the widest convolution is counted by.
        divisor: what `size` must be a multiple of.

    Attributes:
        output_size: dimensions of a frame that comes out.
        stride: input frames an output frame.

    Raises:
        InputError: `size` is not a positive multiple of `divisor`.
    """

    output_size: int
    stride: int

    def __init__(self, input_size: int, size: int, divisor: int) -> None:
        super().__init__()
        if size < 1 or size % divisor:
            raise InputError(
                f"size {size} of a network is not a multiple of {divisor}; give {divisor}, {2 * divisor} ..."
            )
        self.input_size = input_size

    def reset_parameters(self) -> None:
        """Weights that keep the variance behind a ReLU (He et al., ICCV 2015, section 2.2), biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    init.zeros_(module.bias)

    def picture(self, features: Tensor, counts: Tensor | None) -> Tensor:
        """Features (B, F, bands) as a picture (B, 1, F, bands) in the weights' dtype, zero in the padding."""
        return blank(features.to(next(self.parameters()).dtype)[:, None], counts)


class VGG(SpectralNetwork):
    """Blocks of two 3 x 3 convolutions with ReLU and a 2 x 2 maximum; no norm.

    The channels double from block to block up to `size`; a pooled edge of odd length keeps its last frame (or band).
    With 4 blocks, K = 1024 and 80 bands: channels 128, 256, 512, 1024; 5,120 numbers each 16 frames.

    Args:
        input_size: bands of a frame.
        blocks: 4 for VGG4L, 3 for VGG3L.
        size: K, channels of the last block.

    Shape:
        features (B, F, bands), counts (B,) int or None -> (B, ceil(F / 2**blocks), K * ceil(bands / 2**blocks)).
        Dimension c * bands' + b of a frame is channel c at band b, as in the original.

    Raises:
        InputError: no block, or K is not a multiple of 2**(blocks - 1).
    """

    def __init__(self, input_size: int, *, blocks: int = 4, size: int = 1024) -> None:
        if blocks < 1:
            raise InputError(f"VGG with {blocks} blocks; give 1 or more: 4 for VGG4L, 3 for VGG3L")
        super().__init__(input_size, size, 2 ** (blocks - 1))
        self.blocks, self.stride = blocks, 2**blocks
        self.output_size = size * halved(input_size, blocks)
        channels = [1, *(size // 2 ** (blocks - 1 - block) for block in range(blocks))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for block in range(blocks)
            for before, after in ((channels[block], channels[block + 1]), (channels[block + 1], channels[block + 1]))
        )
        self.reset_parameters()

    def count(self, frames: Count) -> Count:
        """Frames that come out for so many that go in."""
        return halved(frames, self.blocks)

    def centre(self, frame: int) -> float:
        """Which input frame lies in the middle of what an output frame has seen.

        A convolution looks as far to either side; a maximum of two lies half a frame behind the first of them. Halves
        of 1, 2, 4 ... input frames come together: (stride - 1) / 2.
        """
        return frame * self.stride + (self.stride - 1) / 2

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """See the class; what stands in the padding of the output has no meaning."""
        values = self.picture(features, counts)
        for place, convolution in enumerate(self.convolutions):
            values = blank(F.relu(convolution(values)), counts)
            if place % 2:
                values = F.max_pool2d(values, 2, ceil_mode=True)
                counts = None if counts is None else halved(counts)
        return values.transpose(1, 2).flatten(2)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a way around them (He et al., CVPR 2016, figure 5, left).

    Shape:
        (B, before, F, bands), zero in the padding, counts (B,) int or None -> (B, after, F, bands), the same
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = MaskedBatchNorm2d(after)
        self.downsample = None
        if before != after:
            self.downsample = nn.ModuleList([nn.Conv2d(before, after, 1, bias=False), MaskedBatchNorm2d(after)])

    def forward(self, values: Tensor, counts: Tensor | None) -> Tensor:
        """See the class."""
        inner = blank(F.relu(self.bn1(self.conv1(values), counts)), counts)
        inner = self.bn2(self.conv2(inner), counts)
        if self.downsample is not None:
            convolution, norm = self.downsample
            values = norm(convolution(values), counts)
        return blank(F.relu(inner + values), counts)


class ResidualVGG(SpectralNetwork):
    """The residual front end of the age classifier: a 3 x 3 convolution, a 3 x 3 maximum, three stages of two blocks.

    The channels are K/8, K/4, K/2; only the maximum has a stride, 2. The mean is taken over the bands alone: the
    original's was over time too, which left its attention one frame to weigh. Batch norm learns from real frames only.

    Args:
        input_size: bands of a frame.
        size: K, twice the channels of the last stage.

    Shape:
        features (B, F, bands), counts (B,) int or None -> (B, ceil(F / 2), K / 2)

    Raises:
        InputError: K is not a multiple of 8.
    """

    def __init__(self, input_size: int, *, size: int = 1024) -> None:
        super().__init__(input_size, size, 8)
        self.output_size, self.stride = size // 2, 2
        self.conv1 = nn.Conv2d(1, size // 8, 3, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm2d(size // 8)
        channels = (size // 8, size // 8, size // 4, size // 2)
        self.stages = nn.ModuleList(
            nn.ModuleList([ResidualBlock(before, after), ResidualBlock(after, after)])
            for before, after in zip(channels[:-1], channels[1:], strict=True)
        )
        self.reset_parameters()

    def count(self, frames: Count) -> Count:
        """Frames that come out for so many that go in."""
        return halved(frames)

    def centre(self, frame: int) -> float:
        """Which input frame lies in the middle of what an output frame has seen: a maximum of three has a middle."""
        return frame * self.stride

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """See the class; what stands in the padding of the output is zero."""
        values = self.bn1(self.conv1(self.picture(features, counts)), counts)
        values = F.max_pool2d(blank(F.relu(values), counts), 3, stride=2, padding=1)
        counts = None if counts is None else halved(counts)
        values = blank(values, counts)  # the last window of a padded utterance reaches over its end
        for stage in self.stages:
            for block in stage:
                values = block(values, counts)
        return values.mean(3).transpose(1, 2)
