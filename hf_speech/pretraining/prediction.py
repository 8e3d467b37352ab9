"""Masked prediction: of which clusters a hidden frame is, for several numbers of clusters at once.

Hsu et al., "HuBERT", TASLP 2021, sections II-B and II-C; Chen & Rudnicky, "Exploring wav2vec 2.0 fine tuning for
improved speech emotion recognition", ICASSP 2023, section 2.3 (P-TAPT): as in its code, only hidden frames count, and a
head is linear, tanh, linear.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..errors import InputError
from ..models.encoder import Encoder
from ..models.heads import TanhHead
from .collator import MaskedCollator
from .frame_labels import FrameLabels
from .model import Correct, PretrainingModel, PretrainingOutput

NONE = -100  # stands where a frame has no cluster, as torch's cross-entropy has it
SIZE = 256  # of the hidden layer of a head


class MaskedPrediction(PretrainingModel):
    """An encoder, and for each number of clusters a head that says of which a hidden frame is.

    Args:
        config: of the encoder, as `with_masks` gives it.
        encoder: with all its layers.
        counts: numbers of clusters.
        chance: number of clusters -> share of the largest one.
    """

    def __init__(
        self, config: PretrainedConfig, encoder: Encoder, counts: Sequence[int], chance: Mapping[int, float]
    ) -> None:
        super().__init__()
        self.config, self.encoder, self.counts = config, encoder, tuple(counts)
        self.heads = nn.ModuleList(TanhHead(encoder.output_size, count, size=SIZE) for count in counts)
        self.part_names = tuple(f"loss_k{count}" for count in counts)
        self.accuracy_names = tuple(f"accuracy_k{count}" for count in counts)
        self.chance = {f"accuracy_k{count}": share for count, share in chance.items()}
        self.architecture = type(encoder.backbone).__name__

    def forward(
        self, input_values: Tensor, attention_mask: Tensor, hidden: Tensor, targets: Tensor
    ) -> PretrainingOutput:
        """The losses of a batch, whose sum is learnt from.

        Args:
            input_values: (B, T) waveforms, padded at the right.
            attention_mask: (B, T), 1 at real samples.
            hidden: (B, F) bool, True where hidden, never at padding.
            targets: (B, F, N) int64, the cluster of each frame for each of the N numbers; `NONE`: not known.
        """
        encoder: Any = self.encoder
        outputs = encoder(input_values, attention_mask, hidden=hidden)
        asked = hidden & (targets != NONE).all(-1)
        frames, wanted, rows = outputs.frames[asked], targets[asked], asked.nonzero()[:, 0]
        parts, correct = {}, {}
        for i, (count, head) in enumerate(zip(self.counts, self.heads, strict=True)):
            scores = head(frames).float()
            # The sum of no frames, over 1, is 0: a batch whose hidden frames are all at an end without labels.
            parts[f"loss_k{count}"] = F.cross_entropy(scores, wanted[:, i], reduction="sum") / max(len(frames), 1)
            correct[f"accuracy_k{count}"] = Correct(rows, scores.argmax(-1) == wanted[:, i])
        return PretrainingOutput(torch.stack(list(parts.values())).sum(), parts, correct, len(frames))


class TargetCollator(MaskedCollator):
    """A `MaskedCollator` whose batches also say of which clusters each frame is.

    A frame has the labels of that frame of the encoder which was clustered whose middle lies nearest: the two encoders
    may have other hops and other receptive fields, and a crop may begin anywhere.

    Args:
        labels: of the rows, by id.
        first: middle of the encoder's first frame, seconds.
        hop: from one frame of the encoder to the next, seconds.
        arguments: of `MaskedCollator`; rows have `labels_of`, their id in the labels.

    Shape:
        beside what a `MaskedCollator` gives: targets (B, F, N) int64, `NONE` at padding and where no label lies
    """

    def __init__(self, labels: FrameLabels, first: float, hop: float, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.labels, self.first, self.hop = labels, first, hop

    def require_labels(self, rows: Dataset) -> None:
        """Refuses rows of which no frame has a label: nothing would be learnt. The first one that has some ends it.

        Args:
            rows: with `labels_of` and `duration`.

        Raises:
            InputError: so.
        """
        for row in rows.select_columns(["labels_of", "duration"]):
            count = max(int((row["duration"] - self.first) / self.hop), 1)
            if (self._targets(row["labels_of"], 0.0, count) != NONE).any():
                return
        raise InputError(
            f"clusters: no frame of {len(rows)} recordings has a label; these begin at {self.labels.first} s and come "
            f"every {self.labels.hop} s: give what `hf-speech cluster` wrote of these recordings"
        )

    def batch_of(self, clips: Sequence[Any]) -> dict[str, Any]:
        """See the class."""
        batch = super().batch_of(clips)
        counts = self.frames_of(batch["attention_mask"].sum(-1)).tolist()
        targets = torch.full((*batch["hidden"].shape, len(self.labels.counts)), NONE)
        for row, (clip, count) in enumerate(zip(clips, counts, strict=True)):
            targets[row, :count] = torch.from_numpy(self._targets(clip.row["labels_of"], clip.offset, count))
        return {**batch, "targets": targets}

    def _targets(self, name: str, offset: float, count: int) -> NDArray[np.int64]:
        """(count, N) labels of the frames of a crop that begins at `offset` seconds."""
        columns = self.labels[name]
        labels = np.stack([columns[number] for number in self.labels.counts], axis=1).astype(np.int64)
        places = nearest(offset + self.first + self.hop * np.arange(count), self.labels.first, self.labels.hop)
        inside = (places >= 0) & (places < len(labels))
        return np.where(inside[:, None], labels[np.where(inside, places, 0)], NONE)


def nearest(times: NDArray, first: float, hop: float) -> NDArray[np.int64]:
    """Numbers of the frames whose middles lie nearest to some times; they may lie outside of what there is.

    Args:
        times: seconds.
        first: middle of frame 0, seconds.
        hop: from one frame to the next, seconds.

    >>> nearest(np.array([0.0125, 0.0325]), 0.0295, 0.02)
    array([-1,  0])
    """
    return np.floor((times - first) / hop + 0.5).astype(np.int64)
