"""Arithmetic of samples, frames and seconds for stacks of unpadded convolutions.

Source: the output length of a convolution without padding, floor((length - kernel) / stride) + 1, composed over the
stack; wav2vec 2.0 (Baevski et al., NeurIPS 2020, section 2) has kernels (10, 3, 3, 3, 3, 2, 2) and strides
(5, 2, 2, 2, 2, 2, 2): a receptive field of 400 samples, a hop of 320.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Count = TypeVar("Count", int, "Tensor")


def conv_frames(samples: Count, kernels: Sequence[int], strides: Sequence[int]) -> Count:
    """Frames that the stack makes of so many samples (0 or negative where there are too few).

    >>> conv_frames(16_000, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    49
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def receptive_field(kernels: Sequence[int], strides: Sequence[int], frames: int = 1) -> int:
    """The fewest samples that give so many frames.

    >>> receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    400
    """
    samples = frames
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def hop(strides: Sequence[int]) -> int:
    """Samples between the starts of two frames.

    >>> hop((5, 2, 2, 2, 2, 2, 2))
    320
    """
    return prod(strides)


def length_batches(lengths: Sequence[float], budget: float) -> list[list[int]]:
    """Places in order of length, longest first (memory shows at once), cut so that a batch's padded size fits.

    >>> length_batches([3, 10, 9, 2], budget=20)
    [[1, 2], [0, 3]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
