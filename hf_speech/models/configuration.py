"""The configuration of every model of ours: which encoder, which of its layers, which pooling, head and loss."""

from typing import TYPE_CHECKING, Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .registry import InputError, lookup, unknown_name

# Loss name -> problem type, as transformers names them.
PROBLEM_TYPES = {
    "cross_entropy": "single_label_classification",
    "mse": "regression",
    "l1": "regression",
}

# The waveform encoders of transformers that `encoder.py` makes exact under padding, by their model_type.
BACKBONES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech-sat", "wav2vec2-conformer")


@strict
class HfSpeechConfig(PreTrainedConfig):
    """What an `HfSpeechModel` and the models built on it are made of.

    Args:
        backbone_config: configuration (or its dict, with `model_type`) of a waveform encoder of transformers: wav2vec2,
            hubert, wavlm, data2vec-audio, unispeech-sat or wav2vec2-conformer. Its `num_hidden_layers` is the depth of
            the checkpoint; with `layer=k` only the first k layers are built.
        layer: which layer's frames are pooled. "last": the encoder's output. An integer k: the output of the k-th
            transformer layer, counted from 1, before any final norm. "weighted_sum": a learned convex combination of
            the encoder's input and all layers' outputs (Yang et al., "SUPERB", Interspeech 2021, section 2).
        pooling: name of a pooling ("mean", "mean+std", "max", "first", "last").
        head: name of a head ("linear", "projector", "mlp", "batchnorm").
        head_size: width of the head's hidden layer (all heads but "linear").
        head_dropout: dropout before the head's last layer ("mlp" and "batchnorm").
        loss: name of a loss ("cross_entropy", "mse", "l1"); None: "mse" for `problem_type="regression"` or a single
            label, else "cross_entropy".
        class_weights: one factor a class for cross-entropy, in label order; None: all 1.
        target_mean: mean of the regression target over the training rows, in its own unit.
        target_std: standard deviation of the same; the loss is taken on (value - mean) / std.
        layerdrop: probability that an encoder layer is skipped in training (Fan et al., ICLR 2020). 0 by default,
            whatever the checkpoint says: a skipped layer leaves parameters without gradients, which stops DDP.
        sampling_rate: samples per second of the waveforms that the model takes.
        target: what is predicted, as the column of the training rows is called ("emotion").
        unit: of a regression target ("years").

    Raises:
        InputError: an unknown name, or a combination that can't be built; the valid values are listed.
    """

    model_type = "hf_speech"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="wav2vec2")}
    # The plain Trainer gathers every output but these when it evaluates: only logits are wanted there.
    keys_to_ignore_at_inference: ClassVar = ["embeddings", "hidden_states", "attentions"]
    if TYPE_CHECKING:  # fields of the base class
        problem_type: str | None
        num_labels: int

    backbone_config: Any = None  # a dict until the base class has made a configuration of it
    layer: int | str = "last"
    pooling: str = "mean"
    head: str = "linear"
    head_size: int = 256
    head_dropout: float | int = 0.1
    loss: str | None = None
    class_weights: list | None = None
    target_mean: float | int = 0.0
    target_std: float | int = 1.0
    layerdrop: float | int = 0.0
    sampling_rate: int = 16_000
    target: str | None = None
    unit: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self._check_backbone()
        super().__post_init__(**kwargs)
        if self.loss is None:
            regression = self.problem_type == "regression" or self.num_labels == 1
            self.loss = "mse" if regression else "cross_entropy"
        problem_type = lookup(PROBLEM_TYPES, self.loss, "loss")
        if self.problem_type not in (None, problem_type):
            raise InputError(f"loss {self.loss!r} is for {problem_type}, but problem_type is {self.problem_type!r}")
        self.problem_type = problem_type
        self._check()

    def _check_backbone(self) -> None:
        given = self.backbone_config
        if given is None:
            return  # transformers builds a configuration from nothing to find out what the defaults are
        model_type = given.get("model_type") if isinstance(given, dict) else given.model_type
        if model_type not in BACKBONES:
            raise unknown_name(model_type, BACKBONES, "backbone model_type")

    def _check(self) -> None:
        depth = self.backbone_config.num_hidden_layers
        if isinstance(self.layer, bool) or not (self.layer in ("last", "weighted_sum") or isinstance(self.layer, int)):
            raise InputError(f"unknown layer {self.layer!r}; valid: last, weighted_sum, or a number from 1 to {depth}")
        if isinstance(self.layer, int) and not 1 <= self.layer <= depth:
            raise InputError(f"layer {self.layer} does not exist: the encoder has layers 1 to {depth}")
        if self.layer == "weighted_sum" and self.layerdrop > 0:
            raise InputError("layerdrop must be 0 with layer 'weighted_sum': a skipped layer has no output to sum")
        if self.problem_type == "regression" and self.num_labels != 1:
            raise InputError(f"loss {self.loss!r} predicts one number, but num_labels is {self.num_labels}")
        if self.problem_type != "regression" and self.num_labels < 2:
            raise InputError(f"loss {self.loss!r} needs at least 2 labels, but num_labels is {self.num_labels}")
        if self.class_weights is not None and len(self.class_weights) != self.num_labels:
            raise InputError(f"class_weights has {len(self.class_weights)} values for {self.num_labels} labels")
        if not self.target_std > 0:
            raise InputError(f"target_std must be above 0, but is {self.target_std}")

    @property
    def hidden_size(self) -> int:
        """Dimensions of a frame."""
        return self.backbone_config.hidden_size

    @property
    def depth(self) -> int:
        """Transformer layers that are built."""
        return self.layer if isinstance(self.layer, int) else self.backbone_config.num_hidden_layers

    def encoder_config(self) -> PreTrainedConfig:
        """The backbone's configuration as it is built: a copy with `depth` layers and this model's LayerDrop.

        Where SpecAugment is off, both mask probabilities are set to 0, so that transformers makes no mask embedding
        (a parameter that no loss would reach).
        """
        values = self.backbone_config.to_dict()
        # An adapter above the encoder would shorten its frames; it belongs to speech translation, not to this.
        values.update(num_hidden_layers=self.depth, layerdrop=float(self.layerdrop), add_adapter=False)
        if not values.get("apply_spec_augment", True):
            values.update(mask_time_prob=0.0, mask_feature_prob=0.0)
        config = type(self.backbone_config).from_dict(values)
        config._attn_implementation = self.backbone_config._attn_implementation
        return config


HfSpeechConfig.register_for_auto_class()
