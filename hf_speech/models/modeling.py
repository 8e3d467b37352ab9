"""The models: waveforms -> one vector (`HfSpeechModel`) -> logits and loss (`HfSpeechForSequenceClassification`)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple

from .configuration import HfSpeechConfig
from .encoder import SSLEncoder, WeightedSum, naming
from .heads import HEADS
from .losses import LOSSES
from .pooling import POOLINGS
from .registry import InputError, lookup


@dataclass
class HfSpeechModelOutput(ModelOutput):
    """What `HfSpeechModel` gives.

    Attributes:
        embeddings: (B, E), one vector an utterance.
        last_hidden_state: (B, F, D), the frames that were pooled.
        frame_mask: (B, F) bool, True at real frames.
        hidden_states: the encoder's input and each layer's output, (B, F, D) each, when asked for.
        attentions: each layer's attention weights (B, heads, F, F), when asked for.
    """

    embeddings: Tensor | None = None
    last_hidden_state: Tensor | None = None
    frame_mask: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class HfSpeechClassifierOutput(ModelOutput):
    """What `HfSpeechForSequenceClassification` gives.

    Attributes:
        loss: scalar, when labels were given.
        logits: (B, num_labels); for regression (B, 1), in the target's own unit.
        embeddings: (B, E), the vectors that the head saw.
        hidden_states: as in `HfSpeechModelOutput`.
        attentions: as in `HfSpeechModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    embeddings: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class HfSpeechPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialising, shared by the models."""

    config_class = HfSpeechConfig
    base_model_prefix = "speech"
    _keys_to_ignore_on_load_unexpected = [r"^head\."]  # a classifier's head, where only embeddings are wanted
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    # Trainer must divide the loss by the accumulation steps itself: ours is a mean over the batch (transformers#47688).
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WeightedSum):
            init.constant_(module.layer_weights, 1 / len(module.layer_weights))

    @property
    def encoder(self) -> SSLEncoder:
        """The waveform encoder."""
        return self.base_model.frame_encoder

    def save_pretrained(self, save_directory: str | os.PathLike[str], **settings: Any) -> None:
        """Saves as transformers does, with the code beside the weights; `AutoModel` finds the embeddings there too."""
        self.config.auto_map = {"AutoModel": f"{__name__.rpartition('.')[2]}.{HfSpeechModel.__name__}"}
        super().save_pretrained(save_directory, **settings)

    def get_input_embeddings(self) -> None:
        """None: waveforms are not embedded by a table (accelerate's FSDP2 asks)."""
        return None

    def freeze_feature_encoder(self) -> None:
        """Stops training the convolutions."""
        self.encoder.backbone.feature_extractor.requires_grad_(False)

    def freeze_encoder_layers(self, count: int) -> None:
        """Stops training the first `count` transformer layers and all that lies below them.

        Raises:
            InputError: there are fewer layers.
        """
        backbone = self.encoder.backbone
        depth = len(backbone.encoder.layers)
        if not 0 <= count <= depth:
            raise InputError(f"can't freeze {count} layers: the encoder has {depth}")
        if not count:
            return
        below = [backbone.feature_extractor, backbone.feature_projection, backbone.encoder.pos_conv_embed]
        if not self.encoder.norm_is_last:
            below.append(backbone.encoder.layer_norm)
        if hasattr(backbone, "masked_spec_embed"):
            below.append(backbone.masked_spec_embed)
        for part in (*below, *backbone.encoder.layers[:count]):
            part.requires_grad_(False)

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
        """A model on a pretrained speech encoder, with a fresh head.

        Args:
            backbone: Hub name or folder of a checkpoint (any head on it is left out), or a configuration for an
                encoder from scratch.
            labels: label names in order; sets `num_labels`, `id2label` and `label2id`.
            backbone_config: values that replace the checkpoint's own, such as `{"hidden_dropout": 0.0}`.
            revision: branch, tag or commit on the Hub.
            settings: fields of `HfSpeechConfig`: layer, pooling, head, loss ...

        Raises:
            InputError: an unknown setting or name, no such checkpoint, or one that lacks weights of the encoder.

        Example:
            >>> model = HfSpeechForSequenceClassification.from_backbone(
            ...     "facebook/wav2vec2-base", layer=9, pooling="mean+std", head="batchnorm", labels=["calm", "angry"]
            ... )  # doctest: +SKIP
        """
        pretrained = None if isinstance(backbone, PretrainedConfig) else backbone
        overrides = backbone_config or {}
        if pretrained is None:
            stock = backbone
        else:
            with naming(pretrained):
                stock = AutoConfig.from_pretrained(pretrained, revision=revision)
        built = cls.backbone_config_of(stock, overrides)
        config = HfSpeechConfig(backbone_config=built, **_label_settings(labels), **_known(settings))
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
    """Waveforms -> one embedding an utterance: encoder, choice of layer, pooling."""

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__(config)
        pooling = lookup(POOLINGS, config.pooling, "pooling")
        self.frame_encoder = SSLEncoder(config)
        self.pooling = pooling(config.hidden_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> HfSpeechModelOutput:
        """Embeds utterances.

        Args:
            input_values: (B, T) float waveforms at `config.sampling_rate`, padded at the right, normalised as the
                feature extractor does it.
            attention_mask: (B, T), 1 at real samples; None: nothing is padded.
            output_hidden_states: also give all layers.
            output_attentions: also give attention weights (needs `attn_implementation="eager"`).
            return_dict: False gives a tuple.

        Raises:
            InputError: a waveform is shorter than one receptive field (400 samples for wav2vec2).
        """
        encoded = self.frame_encoder(
            input_values,
            attention_mask,
            output_hidden_states=bool(_given(output_hidden_states, self.config.output_hidden_states)),
            output_attentions=bool(_given(output_attentions, self.config.output_attentions)),
        )
        return HfSpeechModelOutput(
            embeddings=self.pooling(encoded.frames, encoded.frame_mask),
            last_hidden_state=encoded.frames,
            frame_mask=encoded.frame_mask,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


class HfSpeechForSequenceClassification(HfSpeechPreTrainedModel):
    """Waveforms -> a label, or a number, for each utterance."""

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__(config)
        head = lookup(HEADS, config.head, "head")
        self.speech = HfSpeechModel(config)
        self.head = head(config, self.speech.pooling.output_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> HfSpeechClassifierOutput:
        """Classifies utterances.

        Args:
            input_values: (B, T) float waveforms, as in `HfSpeechModel.forward`.
            attention_mask: (B, T), 1 at real samples; None: nothing is padded.
            labels: (B,) class numbers, or for regression values in the target's own unit; gives the loss.
            output_hidden_states: also give all layers.
            output_attentions: also give attention weights.
            return_dict: False gives a tuple.
        """
        outputs = self.speech(
            input_values,
            attention_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.head(outputs.embeddings)
        if self.config.problem_type == "regression":
            # In float32 under autocast too: at 65 years, bfloat16 has steps of half a year.
            logits = logits.float() * self.config.target_std + self.config.target_mean
        return HfSpeechClassifierOutput(
            loss=None if labels is None else self.loss(logits, labels),
            logits=logits,
            embeddings=outputs.embeddings,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The configured loss: (B, C) and (B,) -> scalar."""
        return LOSSES[self.config.loss](logits, labels, self.config)


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
