"""Which frames are hidden from an encoder, and among which others a hidden frame has to be told."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


@dataclass(frozen=True)
class Masking:
    """How frames are hidden: in spans that start anywhere and may overlap.

    Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 4.2: a share of .65 (there as .065 of all frames that start a
    span) in spans of 10, of which, with overlaps, some half of all frames are hidden.

    Attributes:
        prob: share of the frames that spans would cover if none overlapped, above 0, up to 1; `mask_time_prob` of
            transformers.
        length: frames of a span; its `mask_time_length`.
        min_masks: spans of an utterance, at least, where they fit without overlap; its `mask_time_min_masks`.

    Raises:
        InputError: a value that hides nothing, or a span of so few frames that a hidden one has no other beside it.
    """

    prob: float = 0.65
    length: int = 10
    min_masks: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.prob <= 1:
            raise InputError(f"prob of masks is {self.prob:g}; give a share above 0, up to 1")
        if self.length < 2:
            raise InputError(f"length of masks is {self.length}; give 2 frames or more")
        if self.min_masks < 1:
            raise InputError(f"min_masks is {self.min_masks}; give 1 or more")

    @property
    def min_frames(self) -> int:
        """The fewest frames of an utterance in which one span can be hidden and something is still heard."""
        return self.length + 1

    def draw(self, frames: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Hides frames of one utterance.

        Args:
            frames: how many it has, of real ones.
            rng: of the places; one number decides whether the share is rounded up or down.

        Returns:
            (frames,) True where hidden.

        Raises:
            InputError: it has fewer than `min_frames`.
        """
        if frames < self.min_frames:
            raise InputError(f"{frames} frames are too few to hide {self.length} of them; leave the utterance out")
        number = max(int(self.prob * frames / self.length + rng.random()), self.min_masks)
        number = min(number, (frames - 1) // self.length)  # so that something is left, wherever they fall
        starts = rng.choice(frames - self.length + 1, number, replace=False)
        hidden = np.zeros(frames, dtype=bool)
        hidden[(starts[:, None] + np.arange(self.length)).ravel()] = True
        return hidden


def draw_negatives(hidden: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Distractors of each hidden frame: other hidden frames of its utterance, with replacement, all alike likely.

    Baevski et al. (2020), section 3.2.

    Args:
        hidden: (F,) of which M are True.
        count: N distractors a hidden frame.
        rng: of the choice.

    Returns:
        (M, N) numbers from 0 to M - 1 among the hidden frames, never a frame's own.

    Raises:
        InputError: a hidden frame has no other beside it.
    """
    total = int(hidden.sum())
    if total < 2:
        raise InputError(f"{total} hidden frames are too few to tell one from others; leave the utterance out")
    drawn = rng.integers(total - 1, size=(total, count))
    return drawn + (drawn >= np.arange(total)[:, None])
