"""Where in time a model looked: the weights that an attention pooling gave to an utterance's frames."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from .audio import SAMPLE_RATE
from .data.collator import SpeechCollator
from .inference import own_model
from .models.embedding import evaluating
from .models.modeling import HfSpeechForSequenceClassification
from .outcome import MAX_SECONDS


@dataclass(frozen=True, eq=False)
class Evidence:
    """How much each moment counted.

    Attributes:
        times: (F,) middles of the frames, seconds, rising.
        weights: (F,) shares; they sum to 1.
        seconds: length of the utterance.
    """

    times: NDArray
    weights: NDArray
    seconds: float

    @property
    def edges(self) -> NDArray:
        """(F + 1,) where the time that is nearest to one frame ends and that of the next begins, seconds."""
        middles = (self.times[1:] + self.times[:-1]) / 2
        return np.clip([0.0, *middles, self.seconds], 0.0, self.seconds)

    def shares(self, bins: int) -> NDArray:
        """The share of each of so many equal parts of the utterance: -> (bins,), summing to 1.

        Args:
            bins: parts.

        >>> Evidence(np.array([0.5, 1.5]), np.array([0.25, 0.75]), 2.0).shares(4).tolist()
        [0.125, 0.125, 0.375, 0.375]
        """
        sums = np.concatenate([[0.0], np.cumsum(self.weights)])
        return np.diff(np.interp(np.linspace(0.0, self.seconds, bins + 1), self.edges, sums))

    def densest(self, share: float = 0.5) -> tuple[float, float]:
        """The shortest stretch with so much of the evidence: where it begins and ends, seconds.

        >>> Evidence(np.arange(0.5, 5), np.array([0.1, 0.1, 0.4, 0.3, 0.1]), 5.0).densest(0.6)
        (2.0, 4.0)
        """
        sums = np.concatenate([[0.0], np.cumsum(self.weights)])
        # For each first frame, the first end at which enough lies between; 1e-9: sums of float32 fall short of 1.
        ends = np.searchsorted(sums, sums[:-1] + share - 1e-9)
        starts = np.flatnonzero(ends < len(sums))
        edges = self.edges
        best = starts[np.argmin(edges[ends[starts]] - edges[starts])]
        return float(edges[best]), float(edges[ends[best]])


def has_evidence(model: PreTrainedModel) -> bool:
    """Whether a model weighs frames: one of ours with an attention pooling."""
    whole = own_model(model)
    return isinstance(whole, HfSpeechForSequenceClassification) and hasattr(whole.speech.pooling, "attend")


@torch.no_grad()
def evidence(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    waveform: NDArray,
    max_seconds: float = MAX_SECONDS,
) -> Evidence | None:
    """The weights of an utterance's frames.

    A long utterance is cut into pieces of equal length, as for prediction; each counts by its length.

    Args:
        model: an audio classifier.
        feature_extractor: the model's.
        waveform: (samples,) float32 at 16,000 Hz.
        max_seconds: the longest piece.

    Returns:
        None where the model weighs nothing.

    Raises:
        InputError: the waveform is shorter than the model takes.
    """
    if not has_evidence(model):
        return None
    whole = own_model(model)
    pieces = np.array_split(waveform, max(1, math.ceil(len(waveform) / (max_seconds * SAMPLE_RATE))))
    collate = SpeechCollator(feature_extractor)
    times, weights, before = [], [], 0
    with evaluating(whole):
        for piece in pieces:
            batch = collate([{"audio": {"array": piece, "sampling_rate": SAMPLE_RATE}}])
            tensors = {name: tensor.to(whole.device) for name, tensor in batch.items()}
            found = whole(**tensors, output_frame_weights=True).frame_weights[0].double().cpu().numpy()
            times.append(np.array(whole.frame_times(len(found))) + before / SAMPLE_RATE)
            weights.append(found * len(piece) / len(waveform))
            before += len(piece)
    return Evidence(np.concatenate(times), np.concatenate(weights), len(waveform) / SAMPLE_RATE)
