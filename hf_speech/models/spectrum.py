"""No network at all: the spectral features themselves are the frames, for models of their statistics."""

import torch
from torch import Tensor, nn

from .frames import Count


class Spectrum(nn.Module):
    """The features of the front end as they are: with mean+std pooling, the classic statistics of log-mel energies.

    Args:
        input_size: dimensions of a feature.

    Attributes:
        output_size: the same.
        stride: frames in for a frame out, 1.
    """

    stride = 1

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size
        # It has no parameters, and yet a dtype and a device of its own.
        self.register_buffer("place", torch.empty(0), persistent=False)

    def count(self, frames: Count) -> Count:
        """Frames out for so many in: as many."""
        return frames

    def centre(self, frame: int) -> float:
        """Which input frame lies in the middle of what an output frame has seen: the same."""
        return frame

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """(B, F, input_size) -> the same."""
        return features
