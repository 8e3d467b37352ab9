"""The first phase of P-TAPT: an encoder learns the label of an utterance in each of its frames, and in all together.

Chen & Rudnicky, "Exploring wav2vec 2.0 fine tuning for improved speech emotion recognition", ICASSP 2023, section 2.3,
and its code: frames that know of emotion make better pseudo-labels than frames of phones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PretrainedConfig

from ..data.collator import SpeechCollator
from ..models.encoder import Encoder
from ..models.heads import TanhHead
from ..models.pooling import MeanPooling
from .model import Correct, PretrainingModel, PretrainingOutput

SIZE = 128  # of the hidden layer of a head
RECURRENT = 256  # in each direction


class LabelledFrames(PretrainingModel):
    """An encoder with two classifiers: of every frame by itself, and of the utterance, behind a recurrent layer.

    The latter is a bidirectional LSTM, the mean over its real frames, and a ReLU. A head is linear, tanh, linear. Of
    both, the cross-entropy counts the same.

    Args:
        config: of the encoder.
        encoder: with all its layers.
        labels: how many there are.
        weights: (labels,) of each in the loss; None: all alike.
        majority: share of the rows that have the most frequent one.
    """

    part_names = ("frame_loss", "utterance_loss")
    accuracy_names = ("accuracy", "frame_accuracy")

    def __init__(
        self,
        config: PretrainedConfig,
        encoder: Encoder,
        labels: int,
        weights: Sequence[float] | None = None,
        majority: float | None = None,
    ) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.frame_head = TanhHead(encoder.output_size, labels, size=SIZE)
        self.recurrent = nn.LSTM(encoder.output_size, RECURRENT, batch_first=True, bidirectional=True)
        self.pooling = MeanPooling(2 * RECURRENT)
        self.utterance_head = TanhHead(2 * RECURRENT, labels, size=SIZE)
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)
        self.chance = {} if majority is None else dict.fromkeys(self.accuracy_names, majority)
        self.architecture = type(encoder.backbone).__name__

    def forward(self, input_values: Tensor, attention_mask: Tensor, labels: Tensor) -> PretrainingOutput:
        """The losses of a batch, whose sum is learnt from.

        Args:
            input_values: (B, T) waveforms, padded at the right.
            attention_mask: (B, T), 1 at real samples.
            labels: (B,) int64.
        """
        outputs = self.encoder(input_values, attention_mask)
        frames, mask = outputs.frames, outputs.frame_mask
        rows = mask.nonzero()[:, 0]
        of_frames, of_utterances = self.frame_head(frames[mask]).float(), self._utterances(frames, mask).float()
        parts = {
            "frame_loss": F.cross_entropy(of_frames, labels[rows], self.weights),
            "utterance_loss": F.cross_entropy(of_utterances, labels, self.weights),
        }
        correct = {
            "accuracy": Correct(torch.arange(len(labels), device=labels.device), of_utterances.argmax(-1) == labels),
            "frame_accuracy": Correct(rows, of_frames.argmax(-1) == labels[rows]),
        }
        return PretrainingOutput(parts["frame_loss"] + parts["utterance_loss"], parts, correct, len(labels))

    def _utterances(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the utterances, (B, labels); the way back begins at the last real frame of each."""
        packed = pack_padded_sequence(frames, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=frames.shape[1])
        return self.utterance_head(self.pooling(states, mask).relu())


class VotesCollator(SpeechCollator):
    """A `SpeechCollator` that draws the label of each row from its votes, anew each time.

    As the code of P-TAPT does it by default: of an utterance that two of three listeners called sad, two epochs of
    three learn that it is. A row without a vote for any of the labels keeps its own.

    Args:
        names: of the labels, in order.
        arguments: of `SpeechCollator`; rows have `votes`, {name: number}.
    """

    def __init__(self, names: Sequence[str], *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.names = list(names)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See the class."""
        return super().__call__([{**row, "labels": self._label_of(row)} for row in rows])

    def _label_of(self, row: Mapping[str, Any]) -> int:
        votes = np.array([(row.get("votes") or {}).get(name) or 0 for name in self.names], dtype=np.float64)
        if not votes.sum() > 0:
            return int(row["labels"])
        draw = row.get("draw")
        rng = np.random.default_rng(int(torch.randint(0, 2**62, ())) if draw is None else [*map(int, draw), _VOTES])
        return int(rng.choice(len(votes), p=votes / votes.sum()))


_VOTES = 2  # tells the stream of a row's label from those of its crop and its masks
