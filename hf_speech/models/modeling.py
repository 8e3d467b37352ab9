"""The models: waveforms -> one vector (`HfSpeechModel`) -> logits and loss (`HfSpeechForSequenceClassification`)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import can_return_tuple

from .backbones import OWN_BACKBONES
from .configuration import HfSpeechConfig
from .embedding import embed
from .encoder import Encoder, naming
from .encoders import make_encoder
from .heads import HEADS, Head
from .initialisation import reset_as_torch
from .losses import LOSSES, apply_loss
from .necks import NECKS
from .outputs import HfSpeechClassifierOutput, HfSpeechModelOutput
from .pooled import AttentionPooling
from .pooling import POOLINGS
from .presets import PRESETS, merged
from .projections import PROJECTIONS
from .registry import InputError, build, lookup
from .tasks import Task


class HfSpeechPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialising, shared by the models."""

    config_class = HfSpeechConfig
    base_model_prefix = "speech"
    _keys_to_ignore_on_load_unexpected = [r"^heads\."]  # a classifier's heads, where only embeddings are wanted
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    # Trainer must divide the loss by the accumulation steps itself: ours is a mean over the batch (transformers#47688).
    accepts_loss_kwargs = False
    # Settings that hold where `from_backbone` is given none.
    defaults: ClassVar[dict[str, Any]] = {}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if _starts_itself(module):
            module.reset_parameters()
        elif self.config.backbone_config.model_type in OWN_BACKBONES and isinstance(
            module, nn.Linear | nn.Conv1d | nn.Conv2d
        ):
            reset_as_torch(module)
        else:
            super()._init_weights(module)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # transformers takes a module without parameters of its own for loaded if its code is not in transformers; ours
        # may start what lies below it, and draws with functions that leave alone what was loaded.
        super()._initialize_weights(module, is_custom_code and not _starts_itself(module))

    @property
    def encoder(self) -> Encoder:
        """The waveform encoder."""
        return self.base_model.frame_encoder

    def save_pretrained(self, save_directory: str | os.PathLike[str], **settings: Any) -> None:
        """Saves as transformers does, with the code beside the weights; `AutoModel` finds the embeddings there too."""
        self.config.auto_map = {"AutoModel": f"{__name__.rpartition('.')[2]}.{HfSpeechModel.__name__}"}
        super().save_pretrained(save_directory, **settings)

    def get_input_embeddings(self) -> None:
        """None: waveforms are not embedded by a table (accelerate's FSDP2 asks)."""
        return None

    def embed(
        self, waveforms: Sequence[Any], *, sampling_rate: int | None = None, batch_seconds: float = 60.0
    ) -> Tensor:
        """Embeds waveforms of any lengths, in their order, those of like length together.

        They are normalised as the model wants it. The model's mode is the same afterwards.

        Args:
            waveforms: N arrays or tensors (samples,), mono, in [-1, 1].
            sampling_rate: of the waveforms, samples per second; None: the model's own.
            batch_seconds: padded seconds in a batch.

        Returns:
            (N, E) float32 on the CPU.

        Raises:
            InputError: another rate than the model's, or a waveform that is not (samples,), not finite or too short.

        Example:
            >>> model.embed([first, second], sampling_rate=16_000)  # doctest: +SKIP
        """
        return embed(self, waveforms, sampling_rate, batch_seconds)

    def frame_times(self, frames: int) -> list[float]:
        """The centre of each frame's receptive field, in seconds from the start: what `frame_weights` speak of."""
        return [self.base_model.frame_centre(i) / self.config.sampling_rate for i in range(frames)]

    def freeze_feature_encoder(self) -> None:
        """Stops training the convolutions that make features of the waveform."""
        self.encoder.freeze_features()

    def freeze_encoder_layers(self, count: int) -> None:
        """Stops training the first `count` transformer layers and all that lies below them.

        Raises:
            InputError: there are fewer layers.
        """
        self.encoder.freeze_layers(count)

    def freeze_backbone(self) -> None:
        """Stops training the whole encoder; it stays in evaluation mode from now on."""
        self.encoder.backbone.requires_grad_(False)
        self.encoder.train(self.training)

    @classmethod
    def from_backbone(
        cls,
        backbone: str | PretrainedConfig,
        *,
        labels: Sequence[str] | None = None,
        backbone_config: dict[str, Any] | None = None,
        revision: str | None = None,
        **settings: Any,
    ) -> "HfSpeechPreTrainedModel":
        """A model on a pretrained speech encoder, or on a network of ours from scratch, with a fresh head.

        Args:
            backbone: Hub name or folder of a checkpoint (any head on it is left out); or the name of a preset
                ("ecapa-512", see `PRESETS`) or a configuration, for a model from scratch.
            labels: label names in order; sets `num_labels`, `id2label` and `label2id`.
            backbone_config: values that replace the checkpoint's or the preset's own, such as
                `{"hidden_dropout": 0.0}`.
            revision: branch, tag or commit on the Hub.
            settings: fields of `HfSpeechConfig`: layer, pooling, head, loss, tasks ...

        Raises:
            InputError: an unknown setting or name, no such checkpoint, or one that lacks weights of the encoder.

        Example:
            >>> model = HfSpeechForSequenceClassification.from_backbone(
            ...     "facebook/wav2vec2-base", layer=9, pooling="mean+std", head="batchnorm", labels=["calm", "angry"]
            ... )  # doctest: +SKIP
        """
        values = merged(cls.defaults, {**_label_settings(labels), **_known(settings)})
        overrides = backbone_config or {}
        if isinstance(backbone, str) and backbone in PRESETS:
            values = merged(PRESETS[backbone], values)
            return cls(HfSpeechConfig(**merged(values, {"backbone_config": overrides})))
        pretrained = None if isinstance(backbone, PretrainedConfig) else backbone
        if pretrained is None:
            stock = backbone
        else:
            with naming(pretrained):
                stock = AutoConfig.from_pretrained(pretrained, revision=revision)
        config = HfSpeechConfig(backbone_config=cls.backbone_config_of(stock, overrides), **values)
        model = cls(config)
        if pretrained is not None:
            model.encoder.load_pretrained(pretrained, revision=revision)
        return model

    @staticmethod
    def backbone_config_of(stock: PretrainedConfig, overrides: dict[str, Any]) -> PretrainedConfig:
        """A copy of an encoder's configuration with some values replaced.

        Raises:
            InputError: the encoder has no such value. (transformers would take it, and it would have no effect.)
        """
        for name in overrides:
            lookup(dict.fromkeys(stock.to_dict()), name, f"value of a {stock.model_type} configuration")
        return type(stock).from_dict({**stock.to_dict(), **overrides})


class HfSpeechModel(HfSpeechPreTrainedModel):
    """Waveforms -> one embedding an utterance: encoder, choice of layer, neck, pooling, projection."""

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__(config)
        self.frame_encoder = make_encoder(config)
        self.neck = build(NECKS, config.neck, "neck", config.neck_config, self.frame_encoder.output_size)
        self.pooling = build(POOLINGS, config.pooling, "pooling", config.pooling_config, self.neck.output_size)
        if hasattr(self.pooling, "token") and not getattr(self.frame_encoder, "has_token", False):
            raise InputError(
                f"pooling {config.pooling!r} puts a token before a transformer's frames, and a "
                f"{config.backbone_config.model_type} has no transformer: take 'first', or another pooling"
            )
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
                facts = task.facts(head, step)
                losses.append(apply_loss(LOSSES[task.loss], task.loss_config, values, labels[task.name], facts))
            else:
                losses.append(values[:0].float().sum())  # 0, and its head still has a gradient: DDP counts on it
        return losses


class HfSpeechForXVector(HfSpeechForSequenceClassification):
    """Waveforms -> embeddings that tell speakers apart, trained as a classifier of speakers with a margin.

    `AutoModelForAudioXVector` loads it; `embeddings` are what is compared (cosine), `logits` are of the speakers that
    it was trained on.
    """

    defaults: ClassVar[dict[str, Any]] = {"head": "cosine", "loss": "aam_softmax"}


def _starts_itself(module: nn.Module) -> bool:
    """Whether a module's `reset_parameters` is written here, wherever this code was loaded from, and not in torch."""
    reset = getattr(type(module), "reset_parameters", None)
    return reset is not None and reset.__module__.rpartition(".")[0] == __name__.rpartition(".")[0]


def _logits(task: Task, head: Head, scores: Tensor) -> Tensor:
    logits = head.logits(scores)
    if task.problem_type == "regression" and not head.in_units:
        # In float32 under autocast too: at 65 years, bfloat16 has steps of half a year.
        logits = logits.float() * task.target_std + task.target_mean
    return logits


def _given(value: bool | None, default: bool | None) -> bool | None:
    return default if value is None else value


def _label_settings(labels: Sequence[str] | None) -> dict[str, Any]:
    if labels is None:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    # transformers' configurations take any keyword silently: a misspelt one would have no effect
    known = set(HfSpeechConfig.__dataclass_fields__) | {"num_labels"}
    for name in settings:
        lookup(dict.fromkeys(known), name, "setting of HfSpeechConfig")
    return settings


HfSpeechModel.register_for_auto_class("AutoModel")
HfSpeechForSequenceClassification.register_for_auto_class("AutoModelForAudioClassification")
HfSpeechForXVector.register_for_auto_class("AutoModelForAudioXVector")
