"""The fields of a run: what YAML and flags may say, each with its meaning.

Eight groups: the model (`ModelArguments`), its heads (`HeadArguments`), the data (`DataArguments`), what of it is held
out (`SplitArguments`), how batches are made (`BatchArguments`), how it is learnt (`LearningArguments`), what is learnt
before fine-tuning (`PretrainingArguments`), the run itself (`RunArguments`); and beside them the fields of
transformers' `TrainingArguments`, under their own names. Nothing changes them after they are read.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


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
    layerdrop: float | None = _meaning("probability that an encoder layer is skipped in training (0)", None)
    neck: str | None = _meaning("between frames and pooling: none, relu, transformer, tdnn", None)
    neck_config: dict[str, Any] = _meaning("its options", {})
    pooling: str | None = _meaning("mean, mean+std, attentive, double-multi-head, ... (mean)", None)
    pooling_config: dict[str, Any] = _meaning("its options", {})
    projection: str | None = _meaning("pooled vector -> embedding: none, linear, batchnorm+linear, ... (none)", None)
    projection_config: dict[str, Any] = _meaning("its options", {})
    lora: dict[str, Any] = _meaning("train low-rank updates of the encoder: peft's fields, such as {r: 8}", {})
    normalize: bool | None = _meaning("zero mean, unit variance an utterance; none: as the checkpoint has it", None)


@dataclass(frozen=True)
class HeadArguments:
    """What is learnt of the embedding, and how."""

    head: str | None = _meaning("linear, mlp, batchnorm, cosine, ordinal, ... (linear)", None)
    head_config: dict[str, Any] = _meaning("its options, such as {size: 128}", {})
    loss: str | None = _meaning("cross_entropy, aam_softmax, ...; mse, ccc, ... for regression (cross_entropy)", None)
    loss_config: dict[str, Any] = _meaning("its options, such as {margin: 0.2}", {})
    ordered: bool = _meaning("whether the classes stand in an order, low to high: numbers then say how far off", False)
    class_weights: str | list[float] | None = _meaning("balanced, a factor a class, or none", None)
    tasks: dict[str, Any] = _meaning(
        "several columns to predict, each with its fields: {emotion: {head: mlp}, age: {loss: ccc, weight: 0.5}}", {}
    )


@dataclass(frozen=True)
class DataArguments:
    """What is learnt from."""

    dataset: str | None = _meaning(
        "a folder with a sub-folder a class, a csv, any data set of the Hub, or a corpus such as voxceleb/tiny_few",
        None,
    )
    data_dir: str | None = _meaning("where prepared corpora lie; none: $HF_SPEECH_DATA", None)
    dataset_config: str | None = _meaning("configuration of a data set of the Hub", None)
    reader: str | None = _meaning("folder, csv or dataset; none: by what `dataset` is", None)
    audio_root: str | None = _meaning("folder that paths in a table or list count from; none: that of the table", None)
    columns: dict[str, str] = _meaning("our column name -> the data's, such as {speaker_id: speaker}", {})
    target: str = _meaning("the column to predict", "label")
    labels: list[str] | None = _meaning("label names in order; none: as in the training rows, sorted", None)
    bins: str | None = _meaning("classes of a number: decades, six-decades, or edges such as 20,40,60", None)
    streaming: bool = _meaning("read training rows as they come (needs max_steps and labels)", False)
    on_bad_audio: Literal["raise", "skip"] = _meaning("a file that can't be used: raise, or skip and report", "raise")
    check_audio: Literal["full", "headers"] = _meaning("look at files before training: full decodes them", "full")
    channel: int | str = _meaning("channel of multi-channel files: an index from 0, or mean", "mean")


@dataclass(frozen=True)
class SplitArguments:
    """What of it is learnt from, validated on and tested on."""

    only: str | None = _meaning("rows that are used at all, such as recording_id=meeting1; none: all", None)
    validation: str | None = _meaning("split rule for validation rows; none: the data's own split, if any", None)
    trials: str | None = _meaning("list of trials among the validation rows: validated by their equal error rate", None)
    test: str | None = _meaning("split rule for test rows; none: the data's own split, if any", None)
    split_seed: int = _meaning("seed of a share; the run's own seed does not change what is held out", 0)
    group_by: str | None = _meaning("column whose values a share keeps together; none: single rows", "speaker_id")
    speaker_independent: bool | None = _meaning(
        "stop where a speaker is in two splits; none: yes for emotion, age, gender", None
    )


@dataclass(frozen=True)
class BatchArguments:
    """How training rows become batches; `per_device_train_batch_size` rows each, where no seconds are given."""

    batch_seconds: float | None = _meaning(
        "seconds of audio a batch, padding included, in place of a number of rows", None
    )
    buckets: int = _meaning("rows share a batch with rows of like length: so many kinds of length; 1: with any", 32)
    balance: str | None = _meaning("column whose values are drawn equally often, such as emotion or speaker_id", None)
    crop_seconds: float | None = _meaning("random crop in training, seconds; none: whole utterances", None)
    max_seconds: float = _meaning("longer utterances are evaluated in pieces, and averaged", 30.0)
    augment: dict[str, Any] = _meaning("what is done to training audio, such as {speeds: [0.9, 1.0, 1.1]}", {})
    frozen_cache: str | None = _meaning(
        "folder in which what a frozen encoder says of each utterance is kept, so that it is run once (needs freeze "
        "backbone); none: it is run every time",
        None,
    )


@dataclass(frozen=True)
class LearningArguments:
    """What is learnt when, and how fast. A length below 1 is a share of the run, from 1 on it is optimiser steps."""

    adaptation: list[dict[str, Any]] = _meaning(
        "stages in which the encoder is adapted to the training rows beforehand: [{pretrain: {...}}, {cluster: {...}}, "
        "...], each with fields of that command",
        [],
    )
    schedule: str = _meaning("how the learning rate goes: cosine, linear, triangular2, tri-stage, ...", "cosine")
    schedule_config: dict[str, Any] = _meaning("its options, such as {warmup_steps: 0.1}", {})
    regularization: str | None = _meaning(
        "dropouts and masks of a pretrained encoder: default, none, dropout, masking, layerdrop; none given: its own",
        None,
    )
    freeze: Literal["none", "cnn", "cnn+projection", "backbone"] = _meaning(
        "what is never trained: none, cnn, cnn+projection (the feature projection too), backbone", "none"
    )
    freeze_layers: int = _meaning("so many encoder layers, and all below them, are not trained", 0)
    freeze_steps: float = _meaning("the backbone is not trained for so long at first", 0.0)
    unfreeze_every: float | None = _meaning("after that one more layer is trained every so often, from the top", None)
    layer_decay: float = _meaning("learning rate of an encoder layer over that of the layer above", 1.0)
    early_stopping_patience: int | None = _meaning("stop after so many validations without gain", None)


@dataclass(frozen=True)
class PretrainingArguments:
    """What an encoder learns before it is fine-tuned; these are fields of `hf-speech pretrain` alone."""

    objective: Literal["contrastive", "clusters", "labels"] = _meaning(
        "what is learnt: contrastive (tell a hidden frame from others, as wav2vec 2.0 does), clusters (of which a "
        "hidden frame is, as HuBERT and P-TAPT do), labels (of utterances, in every frame: P-TAPT's first phase)",
        "contrastive",
    )
    clusters: str | None = _meaning("folder that `hf-speech cluster` has written, of the same rows", None)
    soft_labels: bool = _meaning("objective labels: draw a row's label from its votes each time", False)
    masking: dict[str, Any] = _meaning("which frames are hidden: {prob: 0.65, length: 10, min_masks: 2}", {})
    temperature: dict[str, Any] = _meaning(
        "of the choice of codes, by optimiser step: {start: 2.0, factor: 0.999995, end: 0.5}", {}
    )


@dataclass(frozen=True)
class RunArguments:
    """Where it goes and what the card can't find out by itself."""

    output_dir: str | None = _meaning("folder of the finished model", None)
    name: str | None = _meaning("name of the model; none: the folder's", None)
    overwrite: bool = _meaning("replace a finished model in output_dir", False)
    adaptation_dir: str | None = _meaning(
        "folder of the stages of adaptation, shared by runs with the same training rows; none: beneath output_dir", None
    )
    keep_checkpoints: bool = _meaning("whether the Trainer's checkpoints stay beside the finished model", True)
    data_name: str | None = _meaning("name of the data on the card; none: that of `dataset`", None)
    language: list[str] = _meaning("language codes of the speech, for the card", [])
    license: str | None = _meaning("licence of the model, for the card", None)
    data_license: str | None = _meaning("licence of the data, for the card", None)
    unit: str | None = _meaning("unit of a regression target, such as years", None)
    synthetic: bool = _meaning("whether the speech was made by a machine, for the card", False)


@dataclass(frozen=True)
class RunConfig:
    """All fields of one run; `training` holds those of transformers' TrainingArguments that were given."""

    model: ModelArguments
    head: HeadArguments
    data: DataArguments
    split: SplitArguments
    batches: BatchArguments
    learning: LearningArguments
    pretraining: PretrainingArguments
    run: RunArguments
    training: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Every field that differs from its default, flat, as a YAML file has them."""
        given: dict[str, Any] = {}
        for group in (getattr(self, name) for name in GROUPS):
            for item in dataclasses.fields(group):
                value = getattr(group, item.name)
                default = item.default_factory() if callable(item.default_factory) else item.default
                if value != default:
                    given[item.name] = value
        return {**given, **self.training}

    def recipe(self) -> dict[str, Any]:
        """The same without what only holds for this one run: what to do with files that were there before it."""
        return {name: value for name, value in self.to_dict().items() if name not in _OF_ONE_RUN}


PRETRAINING_FIELDS = frozenset(f.name for f in dataclasses.fields(PretrainingArguments))
_OF_ONE_RUN = {"output_dir", "overwrite", "resume_from_checkpoint", "frozen_cache", "adaptation_dir"}
_OF_ONE_RUN |= {"push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_always_push", "hub_revision"}
GROUPS: dict[str, Any] = {
    "model": ModelArguments,
    "head": HeadArguments,
    "data": DataArguments,
    "split": SplitArguments,
    "batches": BatchArguments,
    "learning": LearningArguments,
    "pretraining": PretrainingArguments,
    "run": RunArguments,
}


def boolean_fields() -> set[str]:
    """Our fields that are true or false: as flags they need no value."""
    return {f.name for kind in GROUPS.values() for f in dataclasses.fields(kind) if f.type in ("bool", bool)}
