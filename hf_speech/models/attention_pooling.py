"""Poolings that learn how much each frame counts; softmaxes, means and variances are computed in float32.

Learned queries (self-attention, multi-head, double multi-head): India et al., "Double multi-head attention for speaker
verification", ICASSP 2021 (arXiv 2007.13199), section 3. Attentive statistics: Okabe et al., Interspeech 2018, in the
form of ECAPA-TDNN (Desplanques et al., Interspeech 2020, section 2.1), with weights for each dimension.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .batchnorm import MaskedBatchNorm1d
from .initialisation import reset_as_torch
from .masking import masked_softmax, utterances
from .pooled import AttentionPooling
from .registry import InputError

VARIANCE_FLOOR = 1e-12  # SpeechBrain's; no gradient flows below it, so that a single frame has a finite one


class MultiHeadPooling(AttentionPooling):
    """One weighted mean of the frames for each slice of their dimensions.

    The D dimensions are split into H slices of d = D / H, with a learned query u_j each: w_tj is the softmax over time
    of h_tj . u_j / sqrt(d), and c_j = sum_t w_tj h_tj. The vector is all c_j side by side. The authors' code divides by
    sqrt(H) instead; here it is the paper's formula.

    Args:
        input_size: D.
        heads: H, a divisor of D.

    Raises:
        InputError: the heads do not divide the dimensions; it names numbers that do.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def __init__(self, input_size: int, *, heads: int = 8) -> None:
        super().__init__(input_size)
        check_heads(heads, input_size)
        self.queries = nn.Parameter(torch.empty(heads, input_size // heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the queries: normal, with the variance 2 / (d + H) (Glorot & Bengio, AISTATS 2010)."""
        for queries in self.parameters():
            init.xavier_normal_(queries)

    def contexts(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Each head's weighted mean and weights, in float32.

        Shape:
            frames (B, F, D), frame_mask (B, F) bool -> (B, H, d), (B, F, H)
        """
        numbers = frames.float().masked_fill(~frame_mask[..., None], 0.0)  # 0 * NaN would be NaN
        slices = numbers.unflatten(-1, self.queries.shape)
        # Products and sums, not a matrix product: of all heads with all queries only the diagonal would be of use.
        weights = masked_softmax(_scores(slices, self.queries), frame_mask[..., None], dim=1)
        return (weights[..., None] * slices).sum(1), weights

    def attend(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `AttentionPooling`; a frame's weight is the mean over the heads."""
        contexts, weights = self.contexts(frames, frame_mask)
        return contexts.flatten(1).to(frames.dtype), weights.mean(-1)


class SelfAttentionPooling(MultiHeadPooling):
    """The weighted mean of the frames, by the softmax over time of h_t . u / sqrt(D) with one learned query u.

    Multi-head pooling with one head.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D)
    """

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size, heads=1)


class DoubleMultiHeadPooling(MultiHeadPooling):
    """Multi-head pooling, and a second attention over its heads.

    A learned query v of d dimensions, shared by the heads, weighs them: a_j is the softmax over the heads of
    c_j . v / sqrt(d), and the vector is sum_j a_j c_j. The authors' code leaves out this division; here it is the
    paper's formula. Leaving out heads in training is in the code only, where all heads of an utterance can be lost.

    Args:
        input_size: D.
        heads: H, a divisor of D.
        head_drop: probability that a head is left out in training, from 0 to below 1. Where all would be, one chosen
            at random stays, so the rate is head_drop - head_drop^H / H.

    Raises:
        InputError: the heads do not divide the dimensions, or a probability that can't be.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, D / H)
    """

    def __init__(self, input_size: int, *, heads: int = 8, head_drop: float = 0.0) -> None:
        super().__init__(input_size, heads=heads)
        if not 0 <= head_drop < 1:
            raise InputError(f"pooling: head_drop is {head_drop!r}; give a probability from 0 to below 1")
        self.head_drop = head_drop
        self.output_size = input_size // heads
        self.head_query = nn.Parameter(torch.empty(1, self.output_size))
        self.reset_parameters()

    def attend(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `AttentionPooling`; a frame's weight is sum_j a_j w_tj."""
        contexts, weights = self.contexts(frames, frame_mask)
        scores = _scores(contexts, self.head_query)
        if self.training and self.head_drop:
            scores = scores.masked_fill(~self._kept(scores), -torch.inf)
        head_weights = scores.softmax(-1)
        vector = (head_weights[..., None] * contexts).sum(1)
        return vector.to(frames.dtype), (weights * head_weights[:, None]).sum(-1)

    def _kept(self, scores: Tensor) -> Tensor:
        """Which heads stay in training: (B, H) -> (B, H) bool, a True in every row."""
        chances = torch.rand(scores.shape, device=scores.device)
        # Where all are below, the highest stays; elsewhere it stays anyway.
        return (chances >= self.head_drop).scatter(-1, chances.argmax(-1, keepdim=True), True)


class TorchLinear(nn.Linear):
    """A linear layer whose weights are drawn as torch does it, inside a model of transformers too."""

    def reset_parameters(self) -> None:
        """Draws them; transformers asks only modules with parameters of their own."""
        reset_as_torch(self)


class AttentivePooling(AttentionPooling):
    """Weighted mean and standard deviation of each dimension, concatenated (attentive statistics pooling).

    The weights are the softmax over time, for each dimension, of what a small network says of each frame: linear,
    ReLU, batch norm, tanh, linear. Equal to SpeechBrain's for an utterance alone.

    Args:
        input_size: D.
        bottleneck: size of the small network's hidden layer.
        global_context: whether it sees the mean and the standard deviation of the whole utterance beside each frame.

    Raises:
        InputError: a bottleneck below 1.

    Shape:
        frames (B, F, D) float, frame_mask (B, F) bool, True at real frames -> (B, 2 * D)
    """

    def __init__(self, input_size: int, *, bottleneck: int = 128, global_context: bool = True) -> None:
        super().__init__(input_size)
        if bottleneck < 1:
            raise InputError(f"pooling: bottleneck is {bottleneck!r}; give a whole number of 1 or more")
        self.global_context = global_context
        self.hidden = TorchLinear((3 if global_context else 1) * input_size, bottleneck)
        self.norm = MaskedBatchNorm1d(bottleneck)
        self.score = TorchLinear(bottleneck, input_size)
        self.output_size = 2 * input_size

    def attend(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `AttentionPooling`; a frame's weight is the mean over the dimensions."""
        alone = None if self.training else utterances(frames, frame_mask)
        if alone is None:
            return self._attend(frames, frame_mask)
        vectors, weights = [], frames.new_zeros(frame_mask.shape, dtype=torch.float32)
        for row, values in enumerate(alone):
            vector, weights[row, : len(values)] = self._attend(values[None], None)
            vectors.append(vector)
        return torch.cat(vectors), weights

    def _attend(self, frames: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mask None: nothing is padded."""
        if frame_mask is None:
            mask, counts, numbers = None, None, frames.float()
        else:
            mask, counts = frame_mask[..., None], frame_mask.sum(-1)
            numbers = frames.masked_fill(~mask, 0.0).float()
        hidden = self._hidden(numbers, mask).relu().transpose(1, 2)
        hidden = self.norm(hidden, counts).transpose(1, 2).tanh()
        scores = self.score(hidden).float()
        weights = scores.softmax(1) if mask is None else masked_softmax(scores, mask, dim=1)
        return _statistics(numbers, weights).to(frames.dtype), weights.mean(-1)

    def _hidden(self, numbers: Tensor, mask: Tensor | None) -> Tensor:
        dtype = self.hidden.weight.dtype
        if not self.global_context:
            return self.hidden(numbers.to(dtype))
        # What the utterance's statistics add is the same at every frame: it is worked out once.
        of_frame, of_utterance = self.hidden.weight.split([self.output_size // 2, self.output_size], dim=1)
        real = numbers.new_ones(1, numbers.shape[1], 1) if mask is None else mask
        statistics = _statistics(numbers, real / real.sum(1, keepdim=True)).to(dtype)
        return F.linear(numbers.to(dtype), of_frame) + F.linear(statistics, of_utterance, self.hidden.bias)[:, None]


def check_heads(heads: int, size: int) -> None:
    """Refuses a number of heads that does not divide the dimensions.

    Raises:
        InputError: names the divisors next to it.
    """
    if heads >= 1 and size % heads == 0:
        return
    divisors = [number for number in range(1, size + 1) if size % number == 0]
    near = sorted(sorted(divisors, key=lambda number: abs(number - heads))[:4])
    raise InputError(
        f"pooling: heads is {heads!r}; give a whole number that divides the {size} dimensions of a frame, "
        f"such as {', '.join(map(str, near))}"
    )


def _scores(vectors: Tensor, queries: Tensor) -> Tensor:
    """Dot products over sqrt(d), each head's with its query: (..., H, d), (H or 1, d) -> (..., H)."""
    return (vectors * queries.float()).sum(-1) / queries.shape[-1] ** 0.5


def _statistics(frames: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean and deviation side by side: (B, F, D), (B, F, D or 1) of sum 1 over F -> (B, 2 * D)."""
    mean = (weights * frames).sum(1)
    variance = (weights * (frames - mean[:, None]).square()).sum(1)
    return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=-1)
