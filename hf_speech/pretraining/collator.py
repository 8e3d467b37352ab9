"""Rows -> batches in which frames are hidden."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..data.collator import Clip, SpeechCollator
from .spans import Masking, draw_negatives

_MASKS = 1  # tells the stream of a clip's masks from that of its crop, whose key has four numbers


class MaskedCollator(SpeechCollator):
    """A `SpeechCollator` whose batches say which frames are hidden.

    Masks hang on the row's `draw`, as all that is random about it: they are the same whoever else is in the batch and
    whichever worker makes it, and no frame of the padding is hidden. Without one they come from torch's generator.

    Args:
        feature_extractor: see `SpeechCollator`.
        masking: of the frames.
        frames_of: (B,) samples -> (B,) frames that the encoder makes of them.
        negatives: distractors of each hidden frame; 0: none are drawn.
        settings: of `SpeechCollator`.

    Shape:
        beside what a `SpeechCollator` gives: hidden (B, F) bool with M True; negatives (M, N) int64, numbers of hidden
        frames counted through the batch, each of the same utterance
    """

    def __init__(
        self,
        feature_extractor: Any,
        masking: Masking,
        frames_of: Callable[[torch.Tensor], torch.Tensor],
        negatives: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(feature_extractor, **settings)
        self.masking, self.frames_of, self.negatives = masking, frames_of, negatives

    def batch_of(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """See the class."""
        batch = super().batch_of(clips)
        counts = self.frames_of(batch["attention_mask"].sum(-1)).tolist()
        hidden = np.zeros((len(clips), max(counts)), dtype=bool)
        negatives, before = [], 0
        for row, (clip, count) in enumerate(zip(clips, counts, strict=True)):
            rng = _generator(clip)
            drawn = self.masking.draw(count, rng)
            hidden[row, :count] = drawn
            if self.negatives:
                negatives.append(before + draw_negatives(drawn, self.negatives, rng))
                before += int(drawn.sum())
        batch["hidden"] = torch.from_numpy(hidden)
        if negatives:
            batch["negatives"] = torch.from_numpy(np.concatenate(negatives))
        return batch


def _generator(clip: Clip) -> np.random.Generator:
    draw = clip.row.get("draw")
    if draw is None:
        return np.random.default_rng(int(torch.randint(0, 2**62, ())))
    return np.random.default_rng([*map(int, draw), _MASKS])
