"""Frames -> one vector an utterance. Every pooling sees the real frames only."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .attention_pooling import (
    AttentivePooling,
    DoubleMultiHeadPooling,
    MultiHeadPooling,
    SelfAttentionPooling,
)
from .masking import masked_mean
from .pooled import Pooling
from .registry import InputError

EPS = 1e-7  # under the square root of a variance: keeps its gradient finite where all frames are equal
# Options of "mean+std" for weights that were trained behind torch.std: a channel that is dead deviates by 1e-7, not by
# the root of EPS, 3e-4.
TORCH_STD = {"unbiased": True, "eps": 1e-14}


class MeanPooling(Pooling):
    """Mean of the real frames.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)

    Example:
        >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
        >>> MeanPooling(1)(frames, torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        # In float32: in bfloat16 the number of frames itself would be rounded (1,501 to 1,504).
        return masked_mean(frames.float(), frame_mask).to(frames.dtype)


class MeanStdPooling(Pooling):
    """Mean and standard deviation of the real frames, concatenated (statistics pooling).

    Snyder et al., "X-vectors", ICASSP 2018, section 2.1. The deviation is the population one (divided by N), so that a
    single frame gives (nearly) 0 and not NaN.

    Args:
        input_size: D.
        unbiased: whether the squares are divided by N - 1, as torch.std does it; that of a single frame stays 0.
        eps: added to the variance.

    Raises:
        InputError: an eps of 0 or less.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, 2 * D)
    """

    def __init__(self, input_size: int, *, unbiased: bool = False, eps: float = EPS) -> None:
        super().__init__(input_size)
        if not eps > 0:
            raise InputError(f"pooling 'mean+std': eps is {eps}; give a number above 0, such as {EPS:g}")
        self.unbiased, self.eps = unbiased, float(eps)
        self.output_size = 2 * input_size

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        # Emptied first: the square of what stands in the padding would have no finite gradient.
        numbers = frames.float().masked_fill(~frame_mask[..., None], 0.0)
        mean = masked_mean(numbers, frame_mask)
        variance = masked_mean((numbers - mean[:, None]).square(), frame_mask)
        if self.unbiased:
            count = frame_mask.sum(-1, keepdim=True)
            variance = variance * (count / (count - 1).clamp(min=1))
        return torch.cat([mean, (variance + self.eps).sqrt()], dim=-1).to(frames.dtype)


class MaxPooling(Pooling):
    """The largest value of each dimension over the real frames.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return frames.masked_fill(~frame_mask[..., None], torch.finfo(frames.dtype).min).amax(dim=1)


class QuantilePooling(Pooling):
    """Quantiles of each dimension over the real frames, interpolated linearly, one quantile's D values after another's.

    With the default five: the least, the quartiles and the largest. Vaessen & van Leeuwen, "Fine-tuning wav2vec2 for
    speaker recognition", ICASSP 2022.

    Args:
        input_size: D.
        quantiles: which, from 0 to 1 each.

    Raises:
        InputError: no quantile, or a number that is none.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, len(quantiles) * D)
    """

    def __init__(self, input_size: int, *, quantiles: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)) -> None:
        super().__init__(input_size)
        if not quantiles or not all(0 <= quantile <= 1 for quantile in quantiles):
            raise InputError(f"pooling: quantiles is {quantiles!r}; give a list of numbers from 0 to 1")
        self.quantiles = tuple(float(q) for q in quantiles)
        self.output_size = len(self.quantiles) * input_size

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        # Behind the real frames, +inf stays behind them when sorted; no rank reaches it.
        rising = frames.float().masked_fill(~frame_mask[..., None], torch.inf).sort(dim=1).values
        last = (frame_mask.sum(-1) - 1).float()
        picked = []
        for quantile in self.quantiles:
            rank = quantile * last
            below, above = frame_at(rising, rank.floor().long()), frame_at(rising, rank.ceil().long())
            picked.append(torch.lerp(below, above, (rank - rank.floor())[:, None]))
        return torch.cat(picked, dim=-1).to(frames.dtype)


class FirstPooling(Pooling):
    """The first frame.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return frames[:, 0]


class ClassTokenPooling(FirstPooling):
    """The first frame, where the encoder has put a token of ones before the frames that its transformer sees.

    Vaessen & van Leeuwen, "Fine-tuning wav2vec2 for speaker recognition", ICASSP 2022 ("first&cls").

    Attributes:
        token: what the encoder puts there: "constant" (ones) or "learned".
    """

    token = "constant"


class LearnedClassTokenPooling(ClassTokenPooling):
    """The first frame, where the encoder has put a learned token before the frames that its transformer sees."""

    token = "learned"


class LastPooling(Pooling):
    """The last real frame.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return frame_at(frames, frame_mask.sum(-1) - 1)


class MiddlePooling(Pooling):
    """The middle real frame; of an even number, the later of the two.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return frame_at(frames, frame_mask.sum(-1) // 2)


class RandomPooling(MiddlePooling):
    """In training any real frame, each as likely; in evaluation the middle one, so that a result can be had again.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        if not self.training:
            return super().forward(frames, frame_mask)
        chances = torch.rand(frame_mask.shape, device=frames.device)
        return frame_at(frames, chances.masked_fill(~frame_mask, -1.0).argmax(-1))


def frame_at(frames: Tensor, places: Tensor) -> Tensor:
    """One frame of each utterance: (B, F, D), (B,) int -> (B, D)."""
    return frames[torch.arange(frames.shape[0], device=frames.device), places]


POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "mean+std": MeanStdPooling,
    "max": MaxPooling,
    "quantile": QuantilePooling,
    "first": FirstPooling,
    "first+cls": ClassTokenPooling,
    "first+cls-learned": LearnedClassTokenPooling,
    "last": LastPooling,
    "middle": MiddlePooling,
    "random": RandomPooling,
    "self-attention": SelfAttentionPooling,
    "multi-head": MultiHeadPooling,
    "double-multi-head": DoubleMultiHeadPooling,
    "attentive": AttentivePooling,
}
