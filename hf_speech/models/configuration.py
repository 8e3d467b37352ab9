"""The configuration of every model of ours: backbone, layer, pooling and embedding, and a head with its loss a task."""

from typing import TYPE_CHECKING, Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .backbones import OWN_BACKBONES, check_fields, strict_fields
from .presets import merged
from .registry import InputError, unknown_name
from .tasks import Task, make_task

# The SSL encoders of transformers that are made exact under padding here, by their model_type.
SSL_BACKBONES: tuple[str, ...] = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech-sat")
SSL_BACKBONES += ("wav2vec2-conformer", "wav2vec2-bert")
BACKBONES: tuple[str, ...] = (*SSL_BACKBONES, *OWN_BACKBONES)

# Fields that are one task's, where the config has no `tasks` of its own.
_OF_THE_TASK: tuple[str, ...] = ("head", "head_config", "loss", "loss_config", "class_weights", "class_counts")
_OF_THE_TASK += ("target_mean", "target_std", "unit", "ordered", "bins", "problem_type")


@strict_fields
class HfSpeechConfig(PreTrainedConfig):
    """What an `HfSpeechModel` and the models built on it are made of.

    Every part is a name, and options in a table beside it: `pooling="attentive", pooling_config={"bottleneck": 64}`.

    Attributes:
        backbone_config: configuration (or its dict, with `model_type`) of an SSL encoder of transformers (wav2vec2,
            hubert, wavlm, data2vec-audio, unispeech-sat, wav2vec2-conformer, wav2vec2-bert) or of a network of ours
            (x-vector, ecapa-tdnn, vgg, residual-vgg, wav2vec, spectrum). An encoder's `num_hidden_layers` is the depth
            of the checkpoint; with `layer=k` only the first k layers are built.
        layer: which layer's frames are pooled. "last": the encoder's output. An integer k: the output of the k-th
            transformer layer, counted from 1, before any final norm. "weighted_sum": a learned convex combination of
            the encoder's input and all layers' outputs (Yang et al., "SUPERB", Interspeech 2021, section 2). Our own
            networks have "last" only.
        neck: name of what stands between the frames and the pooling ("none", "relu", "transformer", "tdnn").
        neck_config: its options.
        pooling: name of a pooling ("mean", "mean+std", "attentive", "double-multi-head" ...), see `POOLINGS`.
        pooling_config: its options.
        projection: name of what makes the embedding of the pooled vector ("none", "linear" ...), see `PROJECTIONS`.
        projection_config: its options.
        head: name of a head ("linear", "mlp", "cosine" ...), see `HEADS`.
        head_config: its options.
        loss: name of a loss, see `LOSSES`; None: "mse" for `problem_type="regression"` or a single label,
            "binary_cross_entropy" for `problem_type="multi_label_classification"`, else "cross_entropy".
        loss_config: its options.
        class_weights: one factor a class, in label order; None: all 1.
        class_counts: training rows of each class, in label order; None: not known.
        target_mean: mean of the regression target over the training rows, in its own unit.
        target_std: standard deviation of the same; the loss is taken on (value - mean) / std.
        ordered: whether the classes stand in an order, from low to high: metrics then say how far off.
        bins: the rule that made the classes of numbers, such as "decades"; they are in their order then.
        tasks: several heads over one backbone, {name: {labels, loss, head, weight ...}} with the fields of `Task`; the
            fields above, from `head` on, then hold where a task does not give its own. None: one head. It is kept as a
            list of such tables with their `name`, as JSON keeps no order of names.
        layerdrop: probability that an encoder layer is skipped in training (Fan et al., ICLR 2020); one that is frozen
            is always there. 0 by default, whatever the checkpoint says: a skipped layer leaves parameters without
            gradients, which stops a DDP that is not told to look for such.
        sampling_rate: samples per second of the waveforms that the model takes.
        do_normalize: whether waveforms are brought to zero mean and unit variance before; None: as published
            (`normalizes`).
        target: what is predicted, as the column of the training rows is called ("emotion").
        unit: of a regression target ("years").
        verification: what speaker verification keeps with the model, as `hf_speech.verification.kept` writes it: the
            file of the back end, calibration, threshold, and of which weights they speak. None: nothing.

    Raises:
        InputError: an unknown name, or a combination that can't be built; the valid values are listed.
    """

    model_type = "hf_speech"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="wav2vec2")}
    # The plain Trainer gathers every output but these when it evaluates: only logits are wanted there.
    keys_to_ignore_at_inference: ClassVar = [
        "task_logits",
        "scores",
        "embeddings",
        "frame_weights",
        "frame_mask",
        "hidden_states",
        "attentions",
    ]
    if TYPE_CHECKING:  # fields of the base class
        problem_type: str | None
        num_labels: int
        id2label: dict[int, str]

    backbone_config: Any = None  # a dict until it has been made a configuration
    layer: int | str = "last"
    neck: str = "none"
    neck_config: dict | None = None
    pooling: str = "mean"
    pooling_config: dict | None = None
    projection: str = "none"
    projection_config: dict | None = None
    head: str = "linear"
    head_config: dict | None = None
    loss: str | None = None
    loss_config: dict | None = None
    class_weights: list | None = None
    class_counts: list | None = None
    target_mean: float | int = 0.0
    target_std: float | int = 1.0
    ordered: bool = False
    bins: str | None = None
    tasks: dict | list | None = None
    layerdrop: float | int = 0.0
    sampling_rate: int = 16_000
    do_normalize: bool | None = None
    target: str | None = None
    unit: str | None = None
    verification: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self._make_backbone()
        for part in ("neck", "pooling", "projection", "head", "loss"):
            setattr(self, f"{part}_config", dict(getattr(self, f"{part}_config") or {}))
        if isinstance(self.tasks, dict):
            for name, table in self.tasks.items():
                if not isinstance(table, dict | None):
                    raise InputError(f"tasks: {name!r} is {table!r}; give a table, field -> value")
            self.tasks = [{"name": name, **(table or {})} for name, table in self.tasks.items()]
        self._check_count(kwargs.get("num_labels"))
        if self.tasks:
            first = next(iter(self.task_list()))
            self.id2label = dict(enumerate(first.labels))
            self.label2id = {name: i for i, name in self.id2label.items()}
            kwargs.pop("num_labels", None)
            problem_type, self.problem_type = first.problem_type, None
        super().__post_init__(**kwargs)
        if self.tasks:
            self.problem_type = problem_type
        else:
            (task,) = self.task_list()
            self.loss, self.problem_type = task.loss, task.problem_type
        self._check()

    @property
    def _stored(self) -> bool:
        """Whether this was read from what transformers wrote, which always names the version."""
        return self.transformers_version is not None

    def _check_count(self, count: int | None) -> None:
        # Of a stored configuration transformers lets another number replace the labels; tasks have their own.
        if count is None or self._stored or self.tasks:
            return
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InputError(f"num_labels is {count!r}; give a whole number of 1 or more")
        if self.id2label is not None and len(self.id2label) != count:
            raise InputError(f"num_labels is {count}, but there are {len(self.id2label)} labels: leave num_labels out")

    def _make_backbone(self) -> None:
        given = self.backbone_config
        if given is None:
            return  # transformers builds a configuration from nothing to find out what the defaults are
        if not isinstance(given, dict | PreTrainedConfig):
            raise InputError(f"backbone_config is {given!r}; give a configuration, or its table with a model_type")
        model_type = given.get("model_type") if isinstance(given, dict) else given.model_type
        if model_type not in BACKBONES:
            raise unknown_name(model_type, BACKBONES, "backbone model_type")
        if not isinstance(given, dict):
            return
        values = {name: value for name, value in given.items() if name != "model_type"}
        if model_type in OWN_BACKBONES:
            # transformers knows no such types: they are made here, and travel with this file.
            version = {"transformers_version": self.transformers_version} if self._stored else {}
            self.backbone_config = OWN_BACKBONES[model_type](**{**version, **values})
        elif not self._stored and values.get("transformers_version") is None:
            check_fields(model_type, values, CONFIG_MAPPING[model_type]().to_dict())

    def _check(self) -> None:
        if not 0 <= self.layerdrop < 1:
            raise InputError(f"layerdrop is {self.layerdrop}; give a probability from 0 to below 1")
        if self.sampling_rate < 1:
            raise InputError(f"sampling_rate is {self.sampling_rate}; give samples per second")
        if self.backbone_config.model_type == "wav2vec2-bert" and self.sampling_rate != 16_000:
            raise InputError(f"sampling_rate is {self.sampling_rate}, but w2v-BERT takes 16,000 a second: resample")
        if not self._stored and self.backbone_config.model_type in SSL_BACKBONES:
            _check_masks(self.backbone_config)
        depth = self.backbone_config.num_hidden_layers  # 0 of our own networks
        valid = f"last, weighted_sum, or a number from 1 to {depth}"
        if not depth:
            valid = f"last, as {self.backbone_config.model_type} has no layers to choose from"
        if isinstance(self.layer, bool) or not (self.layer in ("last", "weighted_sum") or isinstance(self.layer, int)):
            raise InputError(f"unknown layer {self.layer!r}; valid: {valid}")
        if not depth and self.layer != "last":
            raise InputError(f"layer {self.layer!r} does not exist; valid: {valid}")
        if isinstance(self.layer, int) and not 1 <= self.layer <= depth:
            raise InputError(f"layer {self.layer} does not exist: the encoder has layers 1 to {depth}")
        if not depth and self.layerdrop > 0:
            raise InputError(
                f"layerdrop is {self.layerdrop}, but {self.backbone_config.model_type} has no layers to skip"
            )
        if self.layer == "weighted_sum" and self.layerdrop > 0:
            raise InputError("layerdrop must be 0 with layer 'weighted_sum': a skipped layer has no output to sum")

    def task_list(self) -> list[Task]:
        """The tasks in order, each with all its fields; one where the config has no `tasks`."""
        own = {name: getattr(self, name) for name in _OF_THE_TASK}
        if not self.tasks:
            own["labels"] = [self.id2label[i] for i in range(self.num_labels)]
            return [make_task(self.target or "label", own)]
        for name in ("problem_type", "class_weights", "class_counts"):
            own.pop(name)  # these can't hold for several
        if not all(isinstance(table, dict) and "name" in table for table in self.tasks):
            raise InputError("tasks: a table has no name; give {name: {field: value}}")
        tables: list[dict[str, Any]] = [dict(table) for table in self.tasks]
        tasks = [make_task(table.pop("name"), merged(own, table)) for table in tables]
        if len({task.name for task in tasks}) < len(tasks):
            raise InputError(f"tasks: a name stands twice in {', '.join(task.name for task in tasks)}")
        return tasks

    @property
    def depth(self) -> int:
        """Transformer layers that are built."""
        return self.layer if isinstance(self.layer, int) else self.backbone_config.num_hidden_layers

    @property
    def normalizes(self) -> bool:
        """Whether the model takes waveforms of zero mean and unit variance.

        Where the config does not say so: as the published checkpoints have it, whose encoders with layer norm do.
        """
        if self.do_normalize is not None:
            return self.do_normalize
        return getattr(self.backbone_config, "feat_extract_norm", None) == "layer"

    def encoder_config(self) -> PreTrainedConfig:
        """The backbone's configuration as it is built: a copy with `depth` layers, whose LayerDrop is ours.

        Where SpecAugment is off, both mask probabilities are set to 0, so that transformers makes no mask embedding
        (a parameter that no loss would reach).
        """
        values = self.backbone_config.to_dict()
        # An adapter above the encoder would shorten its frames; it belongs to speech translation, not to this.
        values.update(num_hidden_layers=self.depth, layerdrop=0.0, add_adapter=False)
        values.setdefault("mask_feature_min_masks", 0)  # WavLM's code asks for it, and its configuration lacks it
        if "use_intermediate_ffn_before_adapter" in values:
            values["use_intermediate_ffn_before_adapter"] = False
        if not values.get("apply_spec_augment", True):
            values.update(mask_time_prob=0.0, mask_feature_prob=0.0)
        config = type(self.backbone_config).from_dict(values)
        # Of WavLM transformers has one kind of attention only; ours is put in its place afterwards.
        is_wavlm = config.model_type == "wavlm"
        config._attn_implementation = "eager" if is_wavlm else self.backbone_config._attn_implementation
        return config


def _check_masks(backbone: PreTrainedConfig) -> None:
    """Refuses SpecAugment that transformers would stumble over at the first training step."""
    if not getattr(backbone, "apply_spec_augment", True):
        return
    for kind in ("time", "feature"):
        share, length = getattr(backbone, f"mask_{kind}_prob"), getattr(backbone, f"mask_{kind}_length")
        where = f"backbone_config: mask_{kind}"
        if not 0 <= share <= 1:
            raise InputError(f"{where}_prob is {share}; give a share from 0 to 1")
        if share and length < 1:
            raise InputError(f"{where}_length is {length}; give 1 or more, or mask_{kind}_prob 0")
        if share and kind == "feature" and length > backbone.hidden_size:
            size = backbone.hidden_size
            raise InputError(f"{where}_length is {length}, but hidden_size is {size}; give {size} or less")


HfSpeechConfig.register_for_auto_class()
