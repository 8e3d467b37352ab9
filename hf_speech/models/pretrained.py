"""What the models share: starting, loading and saving, attention kinds, freezing, embedding of whole waveforms."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.utils import FEATURE_EXTRACTOR_NAME

from .backbones import OWN_BACKBONES
from .configuration import HfSpeechConfig
from .embedding import embed
from .encoder import Encoder, name_of, naming
from .initialisation import reset_as_torch
from .presets import PRESETS, merged
from .registry import InputError, lookup, one_line, unknown_name
from .wavlm_sdpa import use_sdpa


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
    def dtype(self) -> torch.dtype:
        """That of the weights; spectral features that are only pooled have none, but a buffer."""
        return self._any_values().dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._any_values().device

    def _any_values(self) -> Tensor:
        return next(values for values in chain(self.parameters(), self.buffers()) if values.is_floating_point())

    @property
    def encoder(self) -> Encoder:
        """The waveform encoder."""
        return self.base_model.frame_encoder

    def save_pretrained(self, save_directory: str | os.PathLike[str], **settings: Any) -> None:
        """Saves as transformers does, with the code beside the weights, and a feature extractor where there is none.

        Each Auto class finds its model there: `AutoModel` the embeddings of a classifier too.
        """
        self.config.auto_map = {"AutoModel": "modeling.HfSpeechModel"}
        if self.base_model is not self:
            self.config.auto_map["AutoModelForAudioXVector"] = "modeling.HfSpeechForXVector"
            self.config.auto_map["AutoModelForAudioClassification"] = "modeling.HfSpeechForSequenceClassification"
        super().save_pretrained(save_directory, **settings)
        written = os.path.join(save_directory, FEATURE_EXTRACTOR_NAME)
        if settings.get("is_main_process", True) and not os.path.exists(written):
            self.make_feature_extractor().save_pretrained(save_directory)

    def make_feature_extractor(self) -> Wav2Vec2FeatureExtractor:
        """Waveforms -> what the model takes: padded at the right, with a mask, normalised as it was configured."""
        return Wav2Vec2FeatureExtractor(
            sampling_rate=self.config.sampling_rate,
            do_normalize=self.config.normalizes,
            return_attention_mask=True,
        )

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
        """The centre of each frame's receptive field, in seconds from the start: what `frame_weights` speak of.

        It can lie behind the end of an utterance, where the field of its last frame reaches into nothing.
        """
        return [self.base_model.frame_centre(i) / self.config.sampling_rate for i in range(frames)]

    def set_attn_implementation(self, attn_implementation: Any, allow_all_kernels: bool = False) -> None:
        """As transformers' own; WavLM's "sdpa", which transformers does not have, is known here."""
        backbone = self.config.backbone_config
        if backbone.model_type != "wavlm":
            super().set_attn_implementation(attn_implementation, allow_all_kernels=allow_all_kernels)
            return
        lookup(dict.fromkeys(("eager", "sdpa")), attn_implementation, "attention implementation of wavlm")
        use_sdpa(self.encoder.backbone, attn_implementation == "sdpa")
        self.config._attn_implementation_internal = attn_implementation

    def activation_checkpointing_enable(self, *arguments: Any, **settings: Any) -> None:
        """As transformers' own.

        Raises:
            InputError: the backbone is a network of ours, which has none.
        """
        model_type = self.config.backbone_config.model_type
        if model_type in OWN_BACKBONES:
            raise InputError(f"activation_checkpointing: {model_type} is small and has none; leave it out")
        super().activation_checkpointing_enable(*arguments, **settings)

    def freeze(self, kind: str = "none", layers: int = 0) -> None:
        """Stops training the lower parts of the encoder, beside what is frozen already.

        What is frozen gets no gradient, and stays in evaluation mode while the model trains: no dropout, fixed
        statistics of batch norms.

        Args:
            kind: "none", "cnn", "cnn+projection" (the feature projection too) or "backbone", the whole encoder.
            layers: so many transformer layers, and all that lies below them.

        Raises:
            InputError: another kind, or the encoder has no such parts.
        """
        encoder = self.encoder
        encoder.freeze(max(encoder.frozen_rungs, encoder.rungs_of(kind, layers)))

    def freeze_feature_encoder(self) -> None:
        """Stops training the convolutions that make features of the waveform, as transformers' method does."""
        self.freeze("cnn")

    def freeze_encoder_layers(self, count: int) -> None:
        """Stops training the first `count` transformer layers and all that lies below them."""
        self.freeze(layers=count)

    def freeze_backbone(self) -> None:
        """Stops training the whole encoder."""
        self.freeze("backbone")

    @classmethod
    def from_backbone(
        cls,
        backbone: str | os.PathLike[str] | PretrainedConfig,
        *,
        labels: Sequence[str] | None = None,
        backbone_config: dict[str, Any] | None = None,
        revision: str | None = None,
        attn_implementation: str | None = None,
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
            attn_implementation: "eager", "sdpa" ... as transformers takes it; None: the fastest there is. Networks of
                ours have no attention, and take none.
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
        is_folder = isinstance(backbone, os.PathLike)
        if not isinstance(backbone, PretrainedConfig):
            backbone = name_of(backbone)
        if isinstance(backbone, str) and backbone in PRESETS and not is_folder:
            values = merged(PRESETS[backbone], values)
            return cls._with_attention(
                HfSpeechConfig(**merged(values, {"backbone_config": overrides})), attn_implementation
            )
        pretrained = None if isinstance(backbone, PretrainedConfig) else backbone
        if pretrained is None:
            stock = backbone
        else:
            if not os.path.exists(pretrained) and get_close_matches(pretrained, PRESETS, cutoff=0.75):
                raise unknown_name(pretrained, PRESETS, "preset")
            with naming(pretrained):
                stock = AutoConfig.from_pretrained(pretrained, revision=revision)
        config = HfSpeechConfig(backbone_config=cls.backbone_config_of(stock, overrides), **values)
        model = cls._with_attention(config, attn_implementation)
        if pretrained is not None:
            model.encoder.load_pretrained(pretrained, revision=revision)
        return model

    @classmethod
    def _with_attention(cls, config: HfSpeechConfig, kind: str | None) -> "HfSpeechPreTrainedModel":
        """The model without numbers of a checkpoint.

        Raises:
            InputError: the encoder has no attention, or not this kind; or its package is not installed.
        """
        if kind is None:
            return cls._from_config(config)
        backbone = config.backbone_config.model_type
        if backbone in OWN_BACKBONES:
            raise InputError(
                f"attn_implementation is {kind!r}, but a network {backbone!r} has no attention; leave it out"
            )
        try:
            return cls._from_config(config, attn_implementation=kind)
        except (ValueError, ImportError) as error:
            raise InputError(f"attn_implementation {kind!r}: {one_line(error)}") from error

    @staticmethod
    def backbone_config_of(stock: PretrainedConfig, overrides: dict[str, Any]) -> PretrainedConfig:
        """A copy of an encoder's configuration with some values replaced.

        Raises:
            InputError: the encoder has no such value. (transformers would take it, and it would have no effect.)
        """
        for name in overrides:
            lookup(dict.fromkeys(stock.to_dict()), name, f"value of a {stock.model_type} configuration")
        return type(stock).from_dict({**stock.to_dict(), **overrides})


def _starts_itself(module: nn.Module) -> bool:
    """Whether a module's `reset_parameters` is written here, wherever this code was loaded from, and not in torch."""
    reset = getattr(type(module), "reset_parameters", None)
    return reset is not None and reset.__module__.rpartition(".")[0] == __name__.rpartition(".")[0]


def _label_settings(labels: Sequence[str] | None) -> dict[str, Any]:
    if labels is None:
        return {}
    if isinstance(labels, str):
        raise InputError(f"labels is {labels!r}; give a list of names")
    return {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    # transformers' configurations take any keyword silently: a misspelt one would have no effect
    known = set(HfSpeechConfig.__dataclass_fields__) | {"num_labels"}
    for name in settings:
        lookup(dict.fromkeys(known), name, "setting of HfSpeechConfig")
    return settings
