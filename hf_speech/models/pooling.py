"""Frames -> one vector an utterance. Every pooling sees the real frames only."""

import torch
from torch import Tensor, nn

EPS = 1e-7  # under the square root of a variance: keeps its gradient finite where all frames are equal


class Pooling(nn.Module):
    """Base of the poolings: `(frames (B, F, D), frame_mask (B, F) bool) -> (B, output_size)`.

    Each row has at least one real frame, and its real frames come first.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.output_size = hidden_size


class MeanPooling(Pooling):
    """Mean of the real frames.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return masked_mean(frames, frame_mask)


class MeanStdPooling(Pooling):
    """Mean and standard deviation of the real frames, concatenated (statistics pooling).

    Snyder et al., "X-vectors", ICASSP 2018, section 2.1. The deviation is the population one (divided by N), so that a
    single frame gives (nearly) 0 and not NaN.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, 2 * D)
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.output_size = 2 * hidden_size

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        mean = masked_mean(frames, frame_mask)
        variance = masked_mean((frames - mean[:, None]).square(), frame_mask)
        return torch.cat([mean, (variance + EPS).sqrt()], dim=-1)


class MaxPooling(Pooling):
    """The largest value of each dimension over the real frames.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return frames.masked_fill(~frame_mask[..., None], torch.finfo(frames.dtype).min).amax(dim=1)


class FirstPooling(Pooling):
    """The first frame.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return frames[:, 0]


class LastPooling(Pooling):
    """The last real frame.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        last = frame_mask.sum(-1) - 1
        return frames[torch.arange(frames.shape[0], device=frames.device), last]


def masked_mean(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """Mean over the real frames: (B, F, D), (B, F) bool -> (B, D)."""
    # masked_fill, not a product: what stands in the padding may be infinite or NaN
    total = frames.masked_fill(~frame_mask[..., None], 0.0).sum(dim=1)
    return total / frame_mask.sum(-1, keepdim=True).to(frames.dtype)


POOLINGS = {
    "mean": MeanPooling,
    "mean+std": MeanStdPooling,
    "max": MaxPooling,
    "first": FirstPooling,
    "last": LastPooling,
}
