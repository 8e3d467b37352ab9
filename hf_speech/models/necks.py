"""Between the encoder's frames and the pooling: nothing, a ReLU, a small Transformer, or time-delay layers.

A neck takes the frames with their mask and gives frames with theirs. A mask of None says that nothing is padded; None
comes out again.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .frames import Count, conv_frames, hop, receptive_field
from .masking import length_mask
from .positions import sinusoids
from .registry import InputError
from .tdnn import check_size

KERNELS, STRIDES = (3, 3), (2, 2)  # of the Transformer's two convolutions


class NoNeck(nn.Module):
    """Frames as they are.

    Args:
        input_size: D.

    Attributes:
        output_size: dimensions of the frames that come out.

    Shape:
        frames (B, F, D), frame_mask (B, F) bool or None -> the same
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size

    def count(self, frames: Count) -> Count:
        """Frames that come out for so many that go in."""
        return frames

    def centre(self, frame: int) -> int:
        """Which frame that goes in lies in the middle of what a frame that comes out has seen."""
        return frame

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        return frames, frame_mask


class ReluNeck(NoNeck):
    """ReLU of each number, as wav2vec 2.0 was fine-tuned to emotions (Chen & Rudnicky, 2110.06309; their code).

    Shape:
        frames (B, F, D), frame_mask (B, F) bool or None -> the same
    """

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        return F.relu(frames), frame_mask


class PreNormLayer(nn.Module):
    """Self-attention and a feed-forward block, each behind a norm and with a way around.

    Xiong et al., "On layer normalization in the Transformer architecture", ICML 2020, table 1, right. The attention
    weights have no dropout.

    Shape:
        frames (B, F, D), attention_mask (B, 1, 1, F) bool or None -> (B, F, D)
    """

    def __init__(self, size: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.attended = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.inner, self.outer = nn.Linear(size, feedforward), nn.Linear(feedforward, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """See the class."""
        parts = self.query_key_value(self.attention_norm(frames)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, F, D / heads) each
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        frames = frames + self.dropout(self.attended(attended.transpose(1, 2).flatten(2)))
        inner = self.dropout(F.relu(self.inner(self.feedforward_norm(frames))))
        return frames + self.dropout(self.outer(inner))


class TransformerNeck(nn.Module):
    """Two convolutions that leave a frame in four, sinusoidal positions, and a Transformer of its own.

    The encoder of age regression on speech features (a fork of ESPnet; Watanabe et al., Interspeech 2018; Dong et al.,
    "Speech-Transformer", ICASSP 2018): the frames are a picture with one channel, two 3 x 3 convolutions of stride 2
    without padding and a linear layer make frames of `size`, which are multiplied by sqrt(size) before the positions
    are added; a norm stands at the end.

    Each frame that comes out has seen 7 that went in. An utterance of fewer is followed by zeros up to 7, so that one
    frame comes out; what a longer one has behind its last whole field is left out, as in the original.

    Args:
        input_size: D, 7 or more.
        layers: Transformer layers.
        size: dimensions of the frames that come out; even.
        heads: attention heads, a divisor of `size`.
        feedforward: width of the feed-forward blocks.
        dropout: after the positions and in each block (not on attention weights).

    Shape:
        frames (B, F, D), frame_mask (B, F) bool or None -> (B, F', size), (B, F') bool or None;
        F' = count(F) = ((max(F, 7) - 1) // 2 - 1) // 2

    Raises:
        InputError: sizes that don't fit together.
    """

    def __init__(
        self,
        input_size: int,
        *,
        layers: int = 6,
        size: int = 256,
        heads: int = 4,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.field = receptive_field(KERNELS, STRIDES)
        if input_size < self.field:
            raise InputError(f"neck 'transformer' takes frames of {self.field} dimensions or more, not {input_size}")
        if size < 2 or heads < 1 or size % 2 or size % heads:
            raise InputError(f"neck 'transformer': size {size} must be even and a multiple of its heads, {heads}")
        if layers < 1 or feedforward < 1 or not 0 <= dropout < 1:
            raise InputError(
                f"neck 'transformer': layers {layers} and feedforward {feedforward} must be 1 or more, dropout "
                f"{dropout} from 0 to below 1"
            )
        self.output_size = size
        self.convolutions = nn.ModuleList([nn.Conv2d(1, size, 3, stride=2), nn.Conv2d(size, size, 3, stride=2)])
        self.projection = nn.Linear(size * conv_frames(input_size, KERNELS, STRIDES), size)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(PreNormLayer(size, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights uniform as Glorot & Bengio (AISTATS 2010) have it, biases 0; norms as they are."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                init.xavier_uniform_(module.weight)
                init.zeros_(module.bias)

    def count(self, frames: Count) -> Count:
        """Frames that come out for so many that go in, 1 or more."""
        least = max(frames, self.field) if isinstance(frames, int) else frames.clamp(min=self.field)
        return conv_frames(least, KERNELS, STRIDES)

    def centre(self, frame: int) -> int:
        """See `NoNeck`."""
        return receptive_field(KERNELS, STRIDES) // 2 + frame * hop(STRIDES)

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        if frame_mask is not None:
            frames = frames.masked_fill(~frame_mask[..., None], 0.0)
        values = self._subsampled(at_least(frames, self.field))
        if frame_mask is not None:
            frame_mask = length_mask(self.count(frame_mask.sum(-1)), values.shape[1])
        places = torch.arange(values.shape[1], device=values.device)
        positions = sinusoids(places, self.output_size).to(values.dtype)
        values = self.dropout(values * self.output_size**0.5 + positions)
        for layer in self.layers:
            values = layer(values, None if frame_mask is None else frame_mask[:, None, None])
        return self.norm(values), frame_mask

    def _subsampled(self, frames: Tensor) -> Tensor:
        """Frames (B, F, D), 7 or more -> (B, F', size); channel and then place in the frame, as they are flattened."""
        values = frames[:, None]
        for convolution in self.convolutions:
            values = F.relu(convolution(values))
        return self.projection(values.transpose(1, 2).flatten(2))


class TDNNNeck(nn.Module):
    """A linear layer, then convolutions over time, each with a ReLU: the frame level of an x-vector on an SSL encoder.

    Snyder et al., "X-vectors", ICASSP 2018, table 1, as SUPERB (Yang et al., Interspeech 2021) and transformers'
    `Wav2Vec2ForXVector` have it: without norms, and without padding, so that each frame that comes out has seen a whole
    field of frames that went in, 15 of them by default. An utterance of fewer is followed by zeros up to one field, so
    that one frame comes out.

    Args:
        input_size: D.
        sizes: dimensions behind each convolution; the linear layer has those of the first.
        kernel_sizes: taps of each.
        dilations: frames from one tap to the next, of each.

    Attributes:
        output_size: dimensions of the frames that come out.
        field: frames that a frame that comes out has seen.

    Shape:
        frames (B, F, D), frame_mask (B, F) bool or None -> (B, F', sizes[-1]), (B, F') bool or None;
        F' = count(F) = max(F, field) - field + 1

    Raises:
        InputError: lists of unequal length, or a number that can't be.
    """

    def __init__(
        self,
        input_size: int,
        *,
        sizes: Sequence[int] = (512, 512, 512, 512, 1500),
        kernel_sizes: Sequence[int] = (5, 3, 3, 1, 1),
        dilations: Sequence[int] = (1, 2, 3, 1, 1),
    ) -> None:
        super().__init__()
        for name, values in (("sizes", sizes), ("kernel_sizes", kernel_sizes), ("dilations", dilations)):
            if not values or len(values) != len(sizes):
                raise InputError(f"neck 'tdnn': {name} is {values!r}; give a list with one number a convolution")
            for value in values:
                check_size("neck 'tdnn'", name, value)
        self.field = 1 + sum((kernel - 1) * step for kernel, step in zip(kernel_sizes, dilations, strict=True))
        self.output_size = sizes[-1]
        self.projection = nn.Linear(input_size, sizes[0])
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel, dilation=step)
            for before, after, kernel, step in zip((sizes[0], *sizes), sizes, kernel_sizes, dilations, strict=False)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights that keep the variance: Glorot & Bengio (AISTATS 2010); behind a ReLU He et al. (ICCV 2015)."""
        init.xavier_uniform_(self.projection.weight)
        init.zeros_(self.projection.bias)
        for layer in self.layers:
            init.kaiming_normal_(layer.weight, nonlinearity="relu")
            init.zeros_(layer.bias)

    def count(self, frames: Count) -> Count:
        """Frames that come out for so many that go in, 1 or more."""
        least = max(frames, self.field) if isinstance(frames, int) else frames.clamp(min=self.field)
        return least - (self.field - 1)

    def centre(self, frame: int) -> int:
        """See `NoNeck`."""
        return self.field // 2 + frame

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        if frame_mask is not None:
            frames = frames.masked_fill(~frame_mask[..., None], 0.0)
        frames = at_least(frames, self.field)
        values = self.projection(frames).transpose(1, 2)
        for layer in self.layers:
            values = F.relu(layer(values))
        if frame_mask is not None:
            frame_mask = length_mask(self.count(frame_mask.sum(-1)), values.shape[2])
        return values.transpose(1, 2), frame_mask


def at_least(frames: Tensor, count: int) -> Tensor:
    """Frames, with zeros behind them where they are fewer than `count`: (B, F, D) -> (B, max(F, count), D)."""
    # Cut out of zeros, where F.pad would need a maximum: a traced graph would keep what it was for the example.
    missing = frames.new_zeros(frames.shape[0], count, frames.shape[2])[:, frames.shape[1] :]
    return torch.cat([frames, missing], dim=1)


NECKS = {"none": NoNeck, "relu": ReluNeck, "transformer": TransformerNeck, "tdnn": TDNNNeck}
