"""Time-delay layers: convolutions over time that keep the number of frames, and the x-vector's network of them.

Frames stand channel-first, (B, C, T), inside the networks. Each utterance is reflected at its own end, so that a batch
gives what the utterance gives alone; what stands behind that end has no meaning, and is never read.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from .batchnorm import MaskedBatchNorm1d
from .conv_products import convolve
from .frames import Count
from .masking import reflect, zero_padding
from .registry import InputError, lookup

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky-relu": nn.LeakyReLU}


class TDNNLayer(nn.Module):
    """Convolution over time, activation, batch norm.

    Args:
        input_size: channels in.
        output_size: channels out.
        kernel_size: taps of the convolution, odd.
        dilation: frames from one tap to the next.
        activation: a name in `ACTIVATIONS`.
    """

    def __init__(
        self, input_size: int, output_size: int, kernel_size: int = 1, dilation: int = 1, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.reach = dilation * (kernel_size - 1) // 2
        self.conv = nn.Conv1d(input_size, output_size, kernel_size, dilation=dilation)
        self.activation = ACTIVATIONS[activation](inplace=True)
        self.norm = MaskedBatchNorm1d(output_size)

    def forward(self, values: Tensor, counts: Tensor | None = None) -> Tensor:
        """Values (B, C, T), of which the first `counts` (B,) frames are real -> (B, C', T)."""
        if self.reach:
            values = reflect(values, counts, self.reach, self.reach)
        return self.norm(self.activation(convolve(self.conv, values)), counts)


class XVectorTDNN(nn.Module):
    """The frame level of the x-vector network.

    Snyder et al., "X-vectors", ICASSP 2018, table 1, whose first five layers these are; with reflected ends in place of
    lost frames, and leaky ReLU before the norm, as SpeechBrain has it. Statistics pooling ("mean+std") and the
    projection "linear" make the x-vector of it.

    Args:
        input_size: features of a frame.
        channels: of each layer.
        kernel_sizes: taps of each layer's convolution, odd.
        dilations: frames from one tap to the next, in each layer.
        activation: "leaky-relu" or "relu".

    Attributes:
        output_size: channels of the last layer.
        stride: frames in for a frame out, 1.

    Raises:
        InputError: lists of unequal length, or a number that can't be.
    """

    stride = 1

    def __init__(
        self,
        input_size: int,
        *,
        channels: Sequence[int] = (512, 512, 512, 512, 1500),
        kernel_sizes: Sequence[int] = (5, 3, 3, 1, 1),
        dilations: Sequence[int] = (1, 2, 3, 1, 1),
        activation: str = "leaky-relu",
    ) -> None:
        super().__init__()
        check_layers("x-vector", channels, kernel_sizes, dilations)
        lookup(ACTIVATIONS, activation, "activation of x-vector")
        sizes = zip([input_size, *channels[:-1]], channels, kernel_sizes, dilations, strict=True)
        self.layers = nn.ModuleList(TDNNLayer(*each, activation) for each in sizes)
        self.output_size = channels[-1]

    def count(self, frames: Count) -> Count:
        """Frames out for so many in: as many."""
        return frames

    def centre(self, frame: int) -> float:
        """Which input frame lies in the middle of what an output frame has seen: the same."""
        return frame

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """Features to frames.

        Args:
            features: (B, F, input_size), F of 1 or more.
            counts: (B,) int, real frames of each; None: nothing is padded.

        Shape:
            (B, F, output_size)
        """
        values = zero_padding(features.transpose(1, 2), counts)
        for layer in self.layers:
            values = layer(values, counts)
        return values.transpose(1, 2)


def check_layers(network: str, channels: Sequence[int], kernel_sizes: Sequence[int], dilations: Sequence[int]) -> None:
    """Refuses empty lists and those of unequal length, even kernels, and numbers below 1.

    Raises:
        InputError: names the option.
    """
    for name, values in (("channels", channels), ("kernel_sizes", kernel_sizes), ("dilations", dilations)):
        if not values or len(values) != len(channels):
            raise InputError(f"{network}: {name} has {len(values)} values for {len(channels)} layers; give one a layer")
        for value in values:
            check_size(network, name, value)
    for kernel in kernel_sizes:
        if kernel % 2 == 0:
            raise InputError(f"{network}: kernel_sizes has {kernel}; give odd numbers, so that no frame is lost")


def check_size(network: str, name: str, value: int) -> None:
    """Refuses a number below 1.

    Raises:
        InputError: names the option.
    """
    if value < 1:
        raise InputError(f"{network}: {name} has {value!r}; give whole numbers of 1 or more")
