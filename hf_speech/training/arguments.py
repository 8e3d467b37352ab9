"""The fields of a run: what YAML and flags may say, each with its meaning, checked before anything is done.

Five groups: the model (`ModelArguments`), its heads (`HeadArguments`), the data (`DataArguments`), the run itself
(`RunArguments`), and all fields of transformers' `TrainingArguments`, under their own names. Nothing changes them after
they are read; what follows from the data (whether there is something to validate on) enters in `training_arguments`.
"""

import dataclasses
import sys
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from ..errors import InputError, lookup, one_line, unknown_name
from ..fields import fit

if TYPE_CHECKING:
    from ..data.several import TargetRule


def _meaning(text: str, default: Any = dataclasses.MISSING) -> Any:
    if isinstance(default, dict | list):
        value = default
        return field(default_factory=lambda: type(value)(value), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ModelArguments:
    """What makes an embedding of a waveform; what is not given is as the preset has it, or the config's default."""

    backbone: str | None = _meaning(
        "Hub name or folder of a pretrained speech encoder, or a preset such as ecapa-512; none: from scratch", None
    )
    backbone_config: dict[str, Any] = _meaning("values of the encoder's config; from scratch with its model_type", {})
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = _meaning(
        "how the encoder attends: eager (gives weights), sdpa, flash_attention_2 (needs its package); "
        "none: the fastest that torch has",
        None,
    )
    layer: int | str = _meaning("which layer: last, a number from 1, weighted_sum", "last")
    layerdrop: float = _meaning("probability that an encoder layer is skipped in training", 0.0)
    neck: str | None = _meaning("between frames and pooling: none, relu, transformer, tdnn", None)
    neck_config: dict[str, Any] = _meaning("its options", {})
    pooling: str | None = _meaning("mean, mean+std, attentive, double-multi-head, ... (mean)", None)
    pooling_config: dict[str, Any] = _meaning("its options", {})
    projection: str | None = _meaning("pooled vector -> embedding: none, linear, batchnorm+linear, ... (none)", None)
    projection_config: dict[str, Any] = _meaning("its options", {})
    freeze: Literal["none", "cnn", "backbone"] = _meaning("what is not trained: none, cnn, backbone", "none")
    lora: dict[str, Any] = _meaning("train low-rank updates of the encoder: peft's fields, such as {r: 8}", {})
    freeze_layers: int = _meaning("so many encoder layers, and all below them, are not trained", 0)
    normalize: bool | None = _meaning("zero mean, unit variance an utterance; none: as the checkpoint has it", None)


@dataclass(frozen=True)
class HeadArguments:
    """What is learnt of the embedding, and how."""

    head: str | None = _meaning("linear, mlp, batchnorm, cosine, ordinal, ... (linear)", None)
    head_config: dict[str, Any] = _meaning("its options, such as {size: 128}", {})
    loss: str | None = _meaning("cross_entropy, aam_softmax, ...; mse, ccc, ... for regression (cross_entropy)", None)
    loss_config: dict[str, Any] = _meaning("its options, such as {margin: 0.2}", {})
    class_weights: str | list[float] | None = _meaning("balanced, a factor a class, or none", None)
    tasks: dict[str, Any] = _meaning(
        "several columns to predict, each with its fields: {emotion: {head: mlp}, age: {loss: ccc, weight: 0.5}}", {}
    )


@dataclass(frozen=True)
class DataArguments:
    """What is learnt from."""

    dataset: str | None = _meaning("a folder with a sub-folder a class, a csv, or any data set of the Hub", None)
    dataset_config: str | None = _meaning("configuration of a data set of the Hub", None)
    reader: str | None = _meaning("folder, csv or dataset; none: by what `dataset` is", None)
    columns: dict[str, str] = _meaning("our column name -> the data's, such as {speaker_id: speaker}", {})
    target: str = _meaning("the column to predict", "label")
    labels: list[str] | None = _meaning("label names in order; none: as in the training rows, sorted", None)
    bins: str | None = _meaning("classes of a number: decades, six-decades, or edges such as 20,40,60", None)
    augment: dict[str, Any] = _meaning("what is done to training audio, such as {speeds: [0.9, 1.0, 1.1]}", {})
    validation: str | None = _meaning("split rule for validation rows; none: the data's own split, if any", None)
    test: str | None = _meaning("split rule for test rows; none: the data's own split, if any", None)
    split_seed: int = _meaning("seed of a share; the run's own seed does not change what is held out", 0)
    group_by: str | None = _meaning("column whose values a share keeps together; none: single rows", "speaker_id")
    speaker_independent: bool | None = _meaning(
        "stop where a speaker is in two splits; none: yes for emotion, age, gender", None
    )
    streaming: bool = _meaning("read training rows as they come (needs max_steps and labels)", False)
    on_bad_audio: Literal["raise", "skip"] = _meaning("a file that can't be used: raise, or skip and report", "raise")
    check_audio: Literal["full", "headers"] = _meaning("look at files before training: full decodes them", "full")
    channel: int | str = _meaning("channel of multi-channel files: an index from 0, or mean", "mean")
    crop_seconds: float | None = _meaning("random crop in training, seconds; none: whole utterances", None)
    max_seconds: float = _meaning("longer utterances are evaluated in pieces, and averaged", 30.0)


@dataclass(frozen=True)
class RunArguments:
    """Where it goes and what the card can't find out by itself."""

    output_dir: str | None = _meaning("folder of the finished model", None)
    name: str | None = _meaning("name of the model; none: the folder's", None)
    overwrite: bool = _meaning("replace a finished model in output_dir", False)
    keep_checkpoints: bool = _meaning("whether the Trainer's checkpoints stay beside the finished model", True)
    early_stopping_patience: int | None = _meaning("stop after so many validations without gain", None)
    data_name: str | None = _meaning("name of the data on the card; none: that of `dataset`", None)
    language: list[str] = _meaning("language codes of the speech, for the card", [])
    license: str | None = _meaning("licence of the model, for the card", None)
    unit: str | None = _meaning("unit of a regression target, such as years", None)
    synthetic: bool = _meaning("whether the speech was made by a machine, for the card", False)


@dataclass(frozen=True)
class RunConfig:
    """All fields of one run; `training` holds those of transformers' TrainingArguments that were given."""

    model: ModelArguments
    head: HeadArguments
    data: DataArguments
    run: RunArguments
    training: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Every field that differs from its default, flat, as a YAML file has them."""
        given: dict[str, Any] = {}
        for group in (self.model, self.head, self.data, self.run):
            for item in dataclasses.fields(group):
                value = getattr(group, item.name)
                default = item.default_factory() if callable(item.default_factory) else item.default
                if value != default:
                    given[item.name] = value
        return {**given, **self.training}

    def recipe(self) -> dict[str, Any]:
        """The same without what only holds for this one run: what to do with files that were there before it."""
        return {name: value for name, value in self.to_dict().items() if name not in _OF_ONE_RUN}


_OF_ONE_RUN = {"output_dir", "overwrite", "resume_from_checkpoint"}
GROUPS = {"model": ModelArguments, "head": HeadArguments, "data": DataArguments, "run": RunArguments}
_WITH_OPTIONS = {"backbone", "neck", "pooling", "projection", "head", "loss"}

# Where ours differ from transformers' own defaults.
TRAINING_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 16,
    "num_train_epochs": 10,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "train_sampling_strategy": "group_by_length",
    "length_column_name": "length",
    "logging_steps": 10,
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "ddp_find_unused_parameters": False,
    "remove_unused_columns": False,
}
# Fields of TrainingArguments that the run decides, or that would go round the model's own loss.
OF_THE_RUN = {"output_dir", "do_train", "do_eval", "do_predict", "remove_unused_columns", "length_column_name"}
OF_THE_RUN |= {"label_smoothing_factor", "label_names", "prediction_loss_only"}
OF_THE_RUN |= {"hub_token"}  # train.yaml and the card show all fields: a token belongs in the environment
# Fields that make no sense at 0 or below; transformers and torch find out late, or never.
_ABOVE_ZERO: tuple[str, ...] = ("crop_seconds", "max_seconds", "early_stopping_patience", "learning_rate")
_ABOVE_ZERO += ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps")


def training_fields() -> dict[str, Any]:
    """Names and types of transformers' training arguments that a run may set."""
    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    hints["resume_from_checkpoint"] |= bool  # true: the last one; transformers' command line knows paths only
    return {f.name: hints[f.name] for f in dataclasses.fields(TrainingArguments) if f.init and f.name not in OF_THE_RUN}


def read_config(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Reads a YAML file and lays flags over it.

    Args:
        path: a YAML file of fields; None: flags only. Its field `base` names another file, relative to it, whose
            fields hold where it does not give them itself.
        overrides: field -> value; `backbone_config.hidden_size` reaches into a field that is a table. Here as there, a
            part that is named anew loses the options it had.

    Raises:
        InputError: a file that can't be read, a field that does not exist, a value of the wrong kind.
    """
    from ..models.presets import merged

    values = {} if path is None else _read_yaml(Path(path))
    if path is not None and "base" in values:
        base = _read_yaml(Path(path).parent / str(values.pop("base")))
        values = merged(base, values)
    places = ([str(path)] if path is not None else []) + (["flags"] if overrides or path is None else [])
    given = overrides or {}
    for name in _WITH_OPTIONS & given.keys() & values.keys():
        if given[name] != values[name]:
            values.pop(f"{name}_config", None)
    for name, value in given.items():
        _lay(values, name, value)
    return make_config(values, " with ".join(places))


def _lay(values: dict[str, Any], name: str, value: Any) -> None:
    """Puts a flag's value in its place: `a.b.c` into the table b of the table a; no table that was there is changed."""
    *path, last = name.split(".")
    table = values
    for i, part in enumerate(path):
        inner = table.get(part) or {}
        if not isinstance(inner, dict):
            raise InputError(f"flags: {name}: {'.'.join(path[: i + 1])} is {inner!r}, which has no fields of its own")
        table[part] = dict(inner)
        table = table[part]
    table[last] = value


def make_config(values: Mapping[str, Any], where: str = "arguments") -> RunConfig:
    """A run's config from a flat table of fields; see `read_config`."""
    group_of = {f.name: group for group, kind in GROUPS.items() for f in dataclasses.fields(kind)}
    hints = {name: hint for kind in GROUPS.values() for name, hint in typing.get_type_hints(kind).items()}
    foreign = training_fields()
    sorted_in: dict[str, dict[str, Any]] = {
        **{group: {} for group in GROUPS},
        "training": {},
    }
    for raw, value in values.items():
        name = str(raw).replace("-", "_")
        if name not in group_of and name not in foreign:
            further = dict.fromkeys(foreign, "and the fields of transformers' TrainingArguments")
            raise InputError(f"{where}: {unknown_name(name, group_of, 'field', further)}")
        hint = hints[name] if name in group_of else foreign[name]
        sorted_in[group_of.get(name, "training")][name] = fit(value, hint, f"{where}: {name}")
    if sorted_in["head"].get("tasks"):
        from .parts import fit_tasks

        sorted_in["head"]["tasks"] = fit_tasks(sorted_in["head"]["tasks"], f"{where}: tasks")
    config = RunConfig(
        ModelArguments(**sorted_in["model"]),
        HeadArguments(**sorted_in["head"]),
        DataArguments(**sorted_in["data"]),
        RunArguments(**sorted_in["run"]),
        sorted_in["training"],
    )
    _check_names(config, where)
    for name in _ABOVE_ZERO:
        value = next((fields[name] for fields in sorted_in.values() if name in fields), None)
        if value is not None and not value > 0:
            raise InputError(f"{where}: {name} is {value}; give a number above 0")
    return config


def model_settings(config: RunConfig) -> dict[str, Any]:
    """The fields of `HfSpeechConfig` that a run gives, over those of its preset where it names one."""
    from ..models.presets import PRESETS, merged

    names = {"layer", "layerdrop", *(f.name for f in dataclasses.fields(HeadArguments))} - {"class_weights"}
    names |= {f"{part}{ending}" for part in ("neck", "pooling", "projection") for ending in ("", "_config")}
    values = {**vars(config.model), **vars(config.head)}
    given = {name: values[name] for name in sorted(names) if values[name] not in (None, {})}
    preset = PRESETS.get(config.model.backbone or "", {})
    return merged({name: value for name, value in preset.items() if name != "backbone_config"}, given)


def _check_names(config: RunConfig, where: str) -> None:
    # What the model would refuse after minutes of reading data is refused here.
    from ..models.configuration import BACKBONES
    from .build import augmentation_of, makes_speakers
    from .parts import check_parts

    model, head = config.model, config.head
    try:
        if model.backbone is None and "model_type" not in model.backbone_config:
            raise InputError(
                "no encoder: give --backbone, a Hub name, a folder or a preset, or a backbone_config with a model_type"
            )
        if model.backbone is None:
            lookup(dict.fromkeys(BACKBONES), model.backbone_config.get("model_type"), "backbone_config.model_type")
        if isinstance(head.class_weights, str):
            lookup({"balanced": True, "[1, 2], a factor a class": True}, head.class_weights, "class_weights")
        check_parts(model_settings(config))
        rules = target_rules(config)
        augmentation_of(config)
        makes_speakers(config)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if all(rule.regression for rule in rules.values()):
        for name, value in (("class_weights", head.class_weights), ("labels", config.data.labels)):
            if value is not None:
                raise InputError(f"{where}: {name} has no part in a regression ({_losses(config)}); leave it out")
    if head.class_weights == "balanced" and any(rule.kind == "multi_label_classification" for rule in rules.values()):
        raise InputError(f"{where}: class_weights balanced is for one label a row; give a factor a class, or none")
    for name in ("labels", "bins", "target") if head.tasks else ():
        if getattr(config.data, name) != getattr(DataArguments, name):
            raise InputError(f"{where}: {name} has no part where there are tasks; give it in the table of its task")
    if config.data.speaker_independent and config.data.target == "speaker_id":
        raise InputError(f"{where}: speaker_independent can't hold where speakers are the classes; leave it out")
    if config.data.on_bad_audio == "skip" and not config.data.streaming and config.data.check_audio != "full":
        raise InputError(f"{where}: on_bad_audio skip needs check_audio full: headers do not show every bad file")
    if config.data.streaming and config.data.on_bad_audio == "skip" and config.training.get("dataloader_num_workers"):
        raise InputError(
            f"{where}: on_bad_audio skip can't count a stream's files in workers: dataloader_num_workers 0"
        )
    if isinstance(model.layer, str) and model.layer not in ("last", "weighted_sum"):
        raise InputError(f"{where}: unknown layer {model.layer!r}; valid: last, weighted_sum, or a number from 1")


def _losses(config: RunConfig) -> str:
    settings = model_settings(config)
    names = [table.get("loss") or settings.get("loss") for table in (settings.get("tasks") or {"": {}}).values()]
    return f"loss {', '.join(dict.fromkeys(map(str, names)))}"


def target_rules(config: RunConfig) -> "dict[str, TargetRule]":
    """The columns that a run predicts, and how each becomes labels.

    Raises:
        InputError: bins that are no rule, or of a loss that is not for classes.
    """
    from ..data.bins import bin_names
    from ..data.several import TargetRule
    from ..models.losses import LOSSES

    settings = model_settings(config)
    tables = settings.get("tasks") or {config.data.target: {"labels": config.data.labels, "bins": config.data.bins}}
    rules = {}
    for column, table in tables.items():
        name, bins = table.get("loss") or settings.get("loss") or "cross_entropy", table.get("bins")
        kind = LOSSES[name].problem_type
        if bins and kind != "single_label_classification":
            raise InputError(f"bins make classes of {column!r}, but loss {name!r} is for {kind}; leave one of them out")
        if bins:
            bin_names(bins)
        rules[column] = TargetRule(table.get("labels"), kind, bins)
    return rules


def training_arguments(
    config: RunConfig, *, validates: bool, metric: str, numbers: Collection[str], drop_last: bool
) -> Any:
    """Transformers' `TrainingArguments` of this run.

    Args:
        config: the run.
        validates: whether there are validation rows: then each epoch is validated, and the best one kept, where
            the arguments do not say otherwise.
        metric: name of the metric that decides which is best ("uar", "mae"), where the arguments name none.
        numbers: names of all metrics that a validation gives.
        drop_last: whether a last, smaller batch is left out.
    """
    import torch
    from transformers import TrainingArguments

    from ..metrics.regression import LOWER_IS_BETTER

    derived: dict[str, Any] = {
        "dataloader_drop_last": drop_last,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "disable_tqdm": not sys.stderr.isatty(),  # log lines in place of a bar
        "use_cpu": not torch.accelerator.is_available(),  # or bf16 is refused there
        "eval_strategy": "no",
    }
    given = config.training
    best = str(given.get("metric_for_best_model", metric)).removeprefix("eval_")
    if best not in numbers:
        raise unknown_name(best, numbers, "metric_for_best_model")
    if validates and given.get("eval_strategy") != "no":
        derived.update(
            eval_strategy="epoch",
            load_best_model_at_end=given.get("save_strategy") != "no",
            greater_is_better=best.rpartition("/")[2] not in LOWER_IS_BETTER,
        )
    if config.data.streaming:
        # The rows come in their own order; every process reads them all and takes its share.
        derived.update(train_sampling_strategy="random", accelerator_config={"dispatch_batches": False})
    values = {**TRAINING_DEFAULTS, **derived, **given, "metric_for_best_model": f"eval_{best}"}
    try:
        return TrainingArguments(output_dir=config.run.output_dir, **values)
    except (ValueError, TypeError) as error:
        raise InputError(f"training arguments: {one_line(error)}") from error


def boolean_fields() -> set[str]:
    """Our fields that are true or false: as flags they need no value."""
    return {f.name for kind in GROUPS.values() for f in dataclasses.fields(kind) if f.type in ("bool", bool)}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a YAML file of fields") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read as YAML: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected lines of `field: value`")
    return {str(name).replace("-", "_"): value for name, value in values.items()}
