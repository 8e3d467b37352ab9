"""What every part does with padding: masks from lengths, means over real frames, reflection at each utterance's end.

Batches are padded at their right end. In a mask True stands at real places; lengths count them. Where nothing is padded
a mask or lengths may be None, and the shorter way is taken.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True at the first `lengths[b]` of `size` places: (B,) int -> (B, size) bool."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def masked_mean(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """Mean over the real frames: (B, F, D), (B, F) bool -> (B, D)."""
    alone = utterances(frames, frame_mask)
    if alone is not None:
        total = torch.stack([values.sum(0) for values in alone])
    else:  # masked_fill, not a product: what stands in the padding may be infinite or NaN
        total = frames.masked_fill(~frame_mask[..., None], 0.0).sum(dim=1)
    return total / frame_mask.sum(-1, keepdim=True).to(frames.dtype)


def utterances(frames: Tensor, frame_mask: Tensor) -> list[Tensor] | None:
    """The real frames of each utterance, where it is best to go over one after the other.

    That is where a CPU computes and no gradient is recorded: its cache holds one of them, and the padding is not gone
    over. None elsewhere, for a mask whose real frames do not come first, and where an utterance has none.

    Shape:
        (B, F, D), (B, F) bool -> B views (F_b, D)
    """
    if not (computes_only(frames) and len(frames)):
        return None
    counts = frame_mask.sum(-1)
    if not counts.all() or not torch.equal(frame_mask, length_mask(counts, frame_mask.shape[-1])):
        return None
    return [values[:count] for values, count in zip(frames, counts.tolist(), strict=True)]


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the real places, in float32; 0 at the others. The mask must broadcast, with a True along `dim`."""
    return scores.float().masked_fill(~mask, -torch.inf).softmax(dim).to(scores.dtype)


def zero_padding(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Zeros in place of what stands in the padding: (B, ..., T), (B,) int -> (B, ..., T)."""
    if lengths is None:
        return values
    mask = length_mask(lengths, values.shape[-1])
    return values.masked_fill(~mask.view(mask.shape[0], *[1] * (values.dim() - 2), -1), 0.0)


def reflect(values: Tensor, lengths: Tensor | None, before: int, after: int) -> Tensor:
    """Reflection padding at the start, and at each utterance's own end.

    Place -i holds what stands at i, place L - 1 + i what stands at L - 1 - i. An utterance shorter than the reflection
    is reflected back and forth; a single value is repeated.

    Args:
        values: (B, C, T).
        lengths: (B,) int, 1 or more; None: nothing is padded.
        before: places added at the start.
        after: places added at the end.

    Shape:
        (B, C, before + T + after); what stands behind `before + lengths[b] + after` has no meaning.
    """
    batch, channels, size = values.shape
    by_frames = values.stride(1) == 1 and computes_only(values)
    if lengths is None:
        if size > max(before, after) and not by_frames:
            return F.pad(values, (before, after), mode="reflect")
        lengths = torch.full((batch,), size, device=values.device)
    places = torch.arange(-before, size + after, device=values.device).expand(batch, -1)
    period = (2 * (lengths[:, None] - 1)).clamp(min=1)
    folded = places.remainder(period)
    source = torch.minimum(folded, period - folded).clamp(max=size - 1)
    if by_frames:  # as (B, T, C) in memory: whole frames are copied, and what comes out lies so too
        return values.transpose(1, 2)[torch.arange(batch)[:, None], source].transpose(1, 2)
    return values.gather(2, source[:, None].expand(-1, channels, -1))


def runs_on_cpu(values: Tensor) -> bool:
    """Whether it is a CPU that computes, now: no graph is recorded, which another may run, and nothing is made up."""
    if values.device.type != "cpu" or type(values) not in (Tensor, Parameter):
        return False
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not (recorded or torch._C._are_functorch_transforms_active())


def computes_only(values: Tensor) -> bool:
    """The same, where no gradient is recorded either."""
    return runs_on_cpu(values) and not torch.is_grad_enabled()
