"""What every pooling is: frames -> one vector an utterance, from the real frames only."""

from torch import Tensor, nn


class Pooling(nn.Module):
    """Base of the poolings: `(frames (B, F, D), frame_mask (B, F) bool) -> (B, output_size)`.

    Each row has at least one real frame, and its real frames come first.

    Args:
        input_size: D.

    Attributes:
        output_size: dimensions of the vector.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size


class AttentionPooling(Pooling):
    """Base of the poolings that weigh frames: they can say how much each counted."""

    def attend(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors and the weights.

        Shape:
            frames (B, F, D), frame_mask (B, F) bool -> (B, output_size), (B, F): the weights are 0 or more, sum to 1
            over the real frames and are 0 in the padding; heads and dimensions are averaged
        """
        raise NotImplementedError

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """See the class."""
        return self.attend(frames, frame_mask)[0]
