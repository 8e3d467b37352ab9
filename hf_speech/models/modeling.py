"""The models: waveforms -> one vector (`HfSpeechModel`) -> logits and loss (`HfSpeechForSequenceClassification`)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.utils import can_return_tuple

from .backbones import OWN_BACKBONES
from .configuration import HfSpeechConfig
from .encoders import make_encoder
from .heads import HEADS, Head
from .losses import LOSSES, apply_loss
from .necks import NECKS
from .outputs import HfSpeechClassifierOutput, HfSpeechModelOutput
from .pooled import AttentionPooling
from .pooling import POOLINGS
from .pretrained import HfSpeechPreTrainedModel
from .projections import PROJECTIONS
from .registry import InputError, build, lookup
from .tasks import Task


class HfSpeechModel(HfSpeechPreTrainedModel):
    """Waveforms -> one embedding an utterance: encoder, choice of layer, neck, pooling, projection."""

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__(config)
        self.frame_encoder = make_encoder(config)
        self.neck = build(NECKS, config.neck, "neck", config.neck_config, self.frame_encoder.output_size)
        self.pooling = build(POOLINGS, config.pooling, "pooling", config.pooling_config, self.neck.output_size)
        if hasattr(self.pooling, "token"):
            _check_token(config)
        self.projection = build(
            PROJECTIONS, config.projection, "projection", config.projection_config, self.pooling.output_size
        )
        self.output_size = self.projection.output_size
        self.post_init()

    def frame_centre(self, frame: int) -> float:
        """The centre of a pooled frame's receptive field, in samples from the start of the waveform."""
        return self.frame_encoder.frame_centre(self.neck.centre(frame))

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_frame_weights: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> HfSpeechModelOutput:
        """Embeds utterances.

        Args:
            input_values: (B, T) float waveforms at `config.sampling_rate`, padded at the right, normalised as the
                feature extractor does it.
            attention_mask: (B, T), 1 at real samples; None: nothing is padded.
            output_frame_weights: also say how much each frame counted (attention poolings); `frame_times` says when.
            output_hidden_states: also give all layers.
            output_attentions: also give attention weights (needs `attn_implementation="eager"`).
            return_dict: False gives a tuple.

        Raises:
            InputError: a waveform is shorter than one receptive field (400 samples for wav2vec2), or frame weights
                are wanted of a pooling that has none.
        """
        encoded = self.frame_encoder(
            input_values,
            attention_mask,
            output_hidden_states=bool(_given(output_hidden_states, self.config.output_hidden_states)),
            output_attentions=bool(_given(output_attentions, self.config.output_attentions)),
        )
        frames, frame_mask = self.neck(encoded.frames, encoded.frame_mask)
        pooled, weights = self._pool(frames, frame_mask, bool(output_frame_weights))
        return HfSpeechModelOutput(
            embeddings=self.projection(pooled),
            last_hidden_state=frames,
            frame_mask=frame_mask,
            frame_weights=weights,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    def _pool(self, frames: Tensor, frame_mask: Tensor, with_weights: bool) -> tuple[Tensor, Tensor | None]:
        if not with_weights:
            return self.pooling(frames, frame_mask), None
        if not hasattr(self.pooling, "attend"):  # not its class: an adapter may stand around it
            able = sorted(name for name, part in POOLINGS.items() if issubclass(part, AttentionPooling))
            raise InputError(f"pooling {self.config.pooling!r} has no frame weights; those that do: {', '.join(able)}")
        return self.pooling.attend(frames, frame_mask)


class HfSpeechForSequenceClassification(HfSpeechPreTrainedModel):
    """Waveforms -> a label, or a number, for each utterance and each task.

    Attributes:
        optimizer_step: steps of the optimiser so far, for losses that change with them (a margin that grows); a
            trainer sets it. None: not told, and such losses are what they will be in the end.
        run_steps: steps of the whole run, of which such losses may name a share; None: not told.
    """

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__(config)
        self.tasks = tuple(config.task_list())
        self.speech = HfSpeechModel(config)
        self.heads = nn.ModuleList(
            build(HEADS, task.head, "head", task.head_config, self.speech.output_size, len(task.labels))
            for task in self.tasks
        )
        self.optimizer_step: int | None = None
        self.run_steps: int | None = None
        self.post_init()

    @property
    def head(self) -> Head:
        """The head of the first task."""
        return self.heads[0]

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | Mapping[str, Tensor] | None = None,
        output_frame_weights: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> HfSpeechClassifierOutput:
        """Classifies utterances.

        Args:
            input_values: (B, T) float waveforms, as in `HfSpeechModel.forward`.
            attention_mask: (B, T), 1 at real samples; None: nothing is padded.
            labels: (B,) class numbers, (B, C) zeros and ones (multi-label), or for regression (B,) values in the
                target's own unit; with several tasks {task: labels}. -100 or NaN: not known, adds no loss.
            output_frame_weights: also say how much each frame counted.
            output_hidden_states: also give all layers.
            output_attentions: also give attention weights.
            return_dict: False gives a tuple.

        Raises:
            InputError: labels out of range, or not those of the tasks; see `HfSpeechModel.forward`.
        """
        outputs = self.speech(
            input_values,
            attention_mask,
            output_frame_weights=output_frame_weights,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        scores = tuple(head(outputs.embeddings) for head in self.heads)
        logits = {
            task.name: _logits(task, head, values)
            for task, head, values in zip(self.tasks, self.heads, scores, strict=True)
        }
        return HfSpeechClassifierOutput(
            loss=None if labels is None else self.loss(scores, labels),
            logits=logits[self.tasks[0].name],
            task_logits=logits if self.config.tasks else None,
            scores=scores,
            embeddings=outputs.embeddings,
            frame_mask=outputs.frame_mask if output_frame_weights else None,
            frame_weights=outputs.frame_weights,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def loss(self, scores: Sequence[Tensor], labels: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The configured loss; with several tasks, the sum of theirs by weight.

        Args:
            scores: of each task, (B, S).
            labels: (B,) or (B, C), or with several tasks {task: labels}; a task that is left out adds nothing.

        Raises:
            InputError: labels of a task that does not exist, or one tensor for several tasks.
        """
        losses = self.task_losses(scores, labels)
        total = losses[0] * self.tasks[0].weight
        for task, loss in zip(self.tasks[1:], losses[1:], strict=True):
            total = total + task.weight * loss
        return total

    def task_losses(self, scores: Sequence[Tensor], labels: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """Each task's loss, without its weight; arguments as in `loss`."""
        if not isinstance(labels, Mapping):
            if len(self.tasks) > 1:
                names = ", ".join(task.name for task in self.tasks)
                raise InputError(f"this model has several tasks: give labels as a table, task -> labels, of {names}")
            labels = {self.tasks[0].name: labels}
        for name in labels:
            lookup({task.name: task for task in self.tasks}, name, "task in labels")
        step = self.optimizer_step if self.training else None
        losses = []
        for task, head, values in zip(self.tasks, self.heads, scores, strict=True):
            if task.name in labels:
                facts = task.facts(head, step, self.run_steps)
                losses.append(apply_loss(LOSSES[task.loss], task.loss_config, values, labels[task.name], facts))
            else:
                losses.append(values[:0].float().sum())  # 0, and its head still has a gradient: DDP counts on it
        return losses


class HfSpeechForXVector(HfSpeechForSequenceClassification):
    """Waveforms -> embeddings that tell speakers apart, trained as a classifier of speakers with a margin.

    `AutoModelForAudioXVector` loads it; `embeddings` are what is compared (cosine), `logits` are of the speakers that
    it was trained on. `from_backbone` gives it a cosine head and an additive angular margin where nothing else is said.
    """

    defaults: ClassVar[dict[str, Any]] = {"head": "cosine", "loss": "aam_softmax"}


def _check_token(config: HfSpeechConfig) -> None:
    model_type = config.backbone_config.model_type
    if model_type in OWN_BACKBONES:
        raise InputError(
            f"pooling {config.pooling!r} puts a token before a transformer's frames, and a {model_type} has no "
            "transformer: take 'first', or another pooling"
        )
    if config.neck not in ("none", "relu"):
        raise InputError(
            f"pooling {config.pooling!r} takes the first frame, which neck {config.neck!r} mixes with others: "
            "take neck 'none' or 'relu', or another pooling"
        )


def _logits(task: Task, head: Head, scores: Tensor) -> Tensor:
    logits = head.logits(scores)
    if task.problem_type == "regression" and not head.in_units:
        # In float32 under autocast too: at 65 years, bfloat16 has steps of half a year.
        logits = logits.float() * task.target_std + task.target_mean
    return logits


def _given(value: bool | None, default: bool | None) -> bool | None:
    return default if value is None else value


HfSpeechModel.register_for_auto_class("AutoModel")
HfSpeechForSequenceClassification.register_for_auto_class("AutoModelForAudioClassification")
HfSpeechForXVector.register_for_auto_class("AutoModelForAudioXVector")
