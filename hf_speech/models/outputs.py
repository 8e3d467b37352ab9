"""What the models give."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class HfSpeechModelOutput(ModelOutput):
    """What `HfSpeechModel` gives.

    Attributes:
        embeddings: (B, E), one vector an utterance.
        last_hidden_state: (B, F, D), the frames that were pooled.
        frame_mask: (B, F) bool, True at real frames.
        frame_weights: (B, F), how much each frame counted in the pooling, when asked for; they sum to 1.
        hidden_states: the encoder's input and each layer's output, (B, F, D) each, when asked for.
        attentions: each layer's attention weights (B, heads, F, F), when asked for.
    """

    embeddings: Tensor | None = None
    last_hidden_state: Tensor | None = None
    frame_mask: Tensor | None = None
    frame_weights: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class HfSpeechClassifierOutput(ModelOutput):
    """What `HfSpeechForSequenceClassification` and `HfSpeechForXVector` give.

    Attributes:
        loss: scalar, when labels were given.
        logits: (B, num_labels) of the first task; for regression (B, 1), in the target's own unit.
        task_logits: task -> its logits, where there are several tasks.
        scores: for each task what the loss acts on, (B, S); logits follow from it.
        embeddings: (B, E), the vectors that the heads saw.
        frame_mask: as in `HfSpeechModelOutput`.
        frame_weights: as in `HfSpeechModelOutput`.
        hidden_states: as in `HfSpeechModelOutput`.
        attentions: as in `HfSpeechModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    task_logits: dict[str, Tensor] | None = None
    scores: tuple[Tensor, ...] | None = None
    embeddings: Tensor | None = None
    frame_mask: Tensor | None = None
    frame_weights: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
