"""Reads the fields of a run from YAML and flags, and checks them before anything is done."""

import dataclasses
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import InputError, lookup, one_line
from ..fields import fit, kinds, lay, read_yaml, unknown_field
from .config import (
    GROUPS,
    PRETRAINING_FIELDS,
    BatchArguments,
    DataArguments,
    HeadArguments,
    LearningArguments,
    RunConfig,
)
from .hf_arguments import REPLACED, TRAINING_DEFAULTS, training_fields
from .recipes import PRETRAINING, find_recipe

if TYPE_CHECKING:
    from ..data.several import TargetRule

Check = Callable[[RunConfig], None]  # refuses fields that don't agree, by an InputError

# Parts with options, and which one it is where none is named.
_WITH_OPTIONS: dict[str, Any] = {
    "backbone": None,
    "neck": "none",
    "pooling": "mean",
    "projection": "none",
    "head": "linear",
    "loss": "cross_entropy",
    "schedule": LearningArguments.schedule,
}
# Text fields in which none is a value with a meaning of its own; in all others it is the same as nothing given.
_KNOW_NONE = {"neck", "projection", "regularization", "validation", "test", "group_by"}
# Fields that make no sense at 0 or below; transformers and torch find out late, or never.
_ABOVE_ZERO: tuple[str, ...] = ("crop_seconds", "max_seconds", "early_stopping_patience", "learning_rate")
_ABOVE_ZERO += (
    "batch_seconds",
    "buckets",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
)


def read_config(
    path: str | Path | None, overrides: Mapping[str, Any] | None = None, check: Check | None = None
) -> RunConfig:
    """Reads a YAML file and lays flags over it.

    Args:
        path: a YAML file of fields, or the name of a recipe that comes with the package; None: flags only. Its field
            `base` names another file, relative to it, whose fields hold where it does not give them itself.
        overrides: field -> value; `backbone_config.hidden_size` reaches into a field that is a table. Here as there, a
            part that is named anew loses the options it had.
        check: refuses fields that don't agree; None: as a run that trains a classifier does.

    Raises:
        InputError: a file that can't be read, a field that does not exist, a value of the wrong kind.

    Example:
        >>> config = read_config("wav2vec2-iemocap-vft", {"learning_rate": 3e-5, "head": "mlp"})
        >>> config.head.head, config.training["learning_rate"], config.model.backbone
        ('mlp', 3e-05, 'facebook/wav2vec2-base')
        >>> read_config(None, {"backbone": "ecapa-512", "poling": "mean"})
        Traceback (most recent call last):
            ...
        hf_speech.models.registry.InputError: flags: ...
    """
    file = None if path is None else find_recipe(path)
    if check is None and file is not None and file.name == PRETRAINING:
        raise InputError(f"{path}: is a recipe of pretraining; run it by `hf-speech pretrain`")
    values = {} if file is None else _read_file(file)
    places = ([str(path)] if path is not None else []) + (["flags"] if overrides or path is None else [])
    given = overrides or {}
    if "base" in given:
        raise InputError("flags: base is a field of YAML files only; give its file in place of CONFIG.yaml")
    return make_config(laid_over(values, given), " with ".join(places), check)


def laid_over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with others over them; a part that is named anew loses the options it had."""
    values = _without_options(lower, upper)
    for name, value in upper.items():
        lay(values, name, value)
    return values


def check_field(name: str, where: str, flags: Collection[str] = ()) -> None:
    """Refuses what is no field of a run.

    Args:
        name: of the field.
        where: it stands.
        flags: of the command itself, of which one may be meant.

    Raises:
        InputError: there is no such field, or another one in its place.
    """
    ours, foreign = {field.name for kind in GROUPS.values() for field in dataclasses.fields(kind)}, training_fields()
    if name in REPLACED:
        raise InputError(f"{where}: {name} has no part here; give {REPLACED[name]}")
    if name not in ours and name not in foreign:
        raise InputError(f"{where}: {unknown_field(name, {'base', *ours}, foreign, flags)}")


def make_config(values: Mapping[str, Any], where: str = "arguments", check: Check | None = None) -> RunConfig:
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
        check_field(name, where)
        hint = hints[name] if name in group_of else foreign[name]
        if value == "none" and name in group_of and name not in _KNOW_NONE and type(None) in kinds(hint):
            value = None
        sorted_in[group_of.get(name, "training")][name] = fit(value, hint, f"{where}: {name}")
    if sorted_in["head"].get("tasks"):
        from .parts import fit_tasks

        sorted_in["head"]["tasks"] = fit_tasks(sorted_in["head"]["tasks"], f"{where}: tasks")
    groups = {group: kind(**sorted_in[group]) for group, kind in GROUPS.items()}
    config = RunConfig(**groups, training=sorted_in["training"])
    for name in _ABOVE_ZERO:
        value = next((fields[name] for fields in sorted_in.values() if name in fields), None)
        if value is not None and not value > 0:
            raise InputError(f"{where}: {name} is {value}; give a number above 0")
    try:
        (check or _check)(config)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return config


def require_unused(config: RunConfig, names: Collection[str], what: str) -> None:
    """Refuses fields that have no part in a kind of run.

    Args:
        config: of the run.
        names: of the fields.
        what: the kind of run, in words.

    Raises:
        InputError: one of them has another value than its default.
    """
    given = sorted(config.to_dict().keys() & set(names))
    if given:
        raise InputError(f"{given[0]} has no part in {what}; leave it out")


def model_settings(config: RunConfig) -> dict[str, Any]:
    """The fields of `HfSpeechConfig` that a run gives, over those of its preset where it names one."""
    from ..models.presets import PRESETS, merged
    from .regularization import REGULARIZATIONS

    names = {"layer", "layerdrop", *(f.name for f in dataclasses.fields(HeadArguments))} - {"class_weights"}
    names |= {f"{part}{ending}" for part in ("neck", "pooling", "projection") for ending in ("", "_config")}
    values = {**vars(config.model), **vars(config.head)}
    given = {name: values[name] for name in sorted(names) if values[name] not in (None, {})}
    preset = PRESETS.get(config.model.backbone or "", {})
    name = config.learning.regularization
    if name in REGULARIZATIONS and "layerdrop" not in given:
        given["layerdrop"] = REGULARIZATIONS[name]["layerdrop"]
    return merged({name: value for name, value in preset.items() if name != "backbone_config"}, given)


def _check(config: RunConfig) -> None:
    """Refuses what could only be found out after minutes of reading data: names, options, fields that don't agree.

    Raises:
        InputError: what it is.
    """
    from .parts import check_parts

    require_unused(config, PRETRAINING_FIELDS, "training a classifier")
    check_encoder(config)
    check_parts(model_settings(config))
    check_learning(config)
    _check_targets(config, target_rules(config))
    _check_rows(config)
    if config.batches.frozen_cache is not None:
        from .frozen import check_frozen

        check_frozen(config)


def check_encoder(config: RunConfig) -> None:
    """Refuses a run without an encoder, or of an unknown one.

    Raises:
        InputError: so.
    """
    from ..models.configuration import BACKBONES

    model = config.model
    if model.backbone is None and "model_type" not in model.backbone_config:
        raise InputError(
            "no encoder: give --backbone, a Hub name, a folder or a preset, or a backbone_config with a model_type"
        )
    if model.backbone is None:
        lookup(dict.fromkeys(BACKBONES), model.backbone_config.get("model_type"), "backbone_config.model_type")
    if isinstance(model.layer, str) and model.layer not in ("last", "weighted_sum"):
        raise InputError(f"unknown layer {model.layer!r}; valid: last, weighted_sum, or a number from 1")


def check_learning(config: RunConfig) -> None:
    """Refuses an augmentation, a schedule, a freezing or a seed that can't be.

    Raises:
        InputError: so.
    """
    from .build import augmentation_of, makes_speakers
    from .learning import learning_of
    from .regularization import REGULARIZATIONS

    augmentation_of(config)
    makes_speakers(config)
    learning, steps = learning_of(config), config.training.get("max_steps", -1)
    if steps > 0:
        learning.check(steps, {**TRAINING_DEFAULTS, **config.training}["learning_rate"])
    if not 0 < learning.layer_decay <= 1:
        raise InputError(f"layer_decay is {learning.layer_decay:g}; give a factor above 0, to 1 (all layers alike)")
    if config.training.get("seed", 0) < 0:
        raise InputError(f"seed is {config.training['seed']}; give a whole number of 0 or more")
    if config.learning.regularization is not None:
        lookup(REGULARIZATIONS, config.learning.regularization, "regularization")


def _check_targets(config: RunConfig, rules: "Mapping[str, TargetRule]") -> None:
    head = config.head
    if isinstance(head.class_weights, str):
        lookup({"balanced": True, "[1, 2], a factor a class": True}, head.class_weights, "class_weights")
    if all(rule.regression for rule in rules.values()):
        for name, value in (("class_weights", head.class_weights), ("labels", config.data.labels)):
            if value is not None:
                raise InputError(f"{name} has no part in a regression ({_losses(config)}); leave it out")
    if head.class_weights == "balanced" and any(rule.kind == "multi_label_classification" for rule in rules.values()):
        raise InputError("class_weights balanced is for one label a row; give a factor a class, or none")
    for name in ("labels", "bins", "target") if head.tasks else ():
        if getattr(config.data, name) != getattr(DataArguments, name):
            raise InputError(f"{name} has no part where there are tasks; give it in the table of its task")


def _check_rows(config: RunConfig) -> None:
    data = config.data
    if config.split.speaker_independent and data.target == "speaker_id":
        raise InputError("speaker_independent can't hold where speakers are the classes; leave it out")
    for name in ("batch_seconds", "buckets", "balance") if data.streaming else ():
        if getattr(config.batches, name) != getattr(BatchArguments, name):
            raise InputError(f"{name} has no part where rows are streamed, as they come; leave it out")
    if data.on_bad_audio == "skip" and not data.streaming and data.check_audio != "full":
        raise InputError("on_bad_audio skip needs check_audio full: headers do not show every bad file")
    if data.streaming and data.on_bad_audio == "skip" and config.training.get("dataloader_num_workers"):
        raise InputError("on_bad_audio skip can't count a stream's files in workers: dataloader_num_workers 0")


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


def _read_file(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fields of a file over those of its base, and of that one's base."""
    from ..models.presets import merged

    here = path.resolve()
    if here in seen:
        raise InputError(f"{path}: is its own base, by way of {seen[-1].name}; mend the field base")
    values = _read_yaml(path)
    if "base" not in values:
        return values
    base = _read_file(path.parent / str(values.pop("base")), (*seen, here))
    return merged(_without_options(base, values), values)


def _without_options(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """The fields below others, without the options of the parts that the others name anew."""
    from ..models.presets import PRESETS

    preset = PRESETS.get(str(lower.get("backbone")), {})
    named = {name: lower.get(name) or preset.get(name, default) for name, default in _WITH_OPTIONS.items()}
    anew = {f"{name}_config" for name, part in named.items() if upper.get(name, part) != part}
    return {name: value for name, value in lower.items() if name not in anew}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a YAML file of fields") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read as YAML: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected lines of `field: value`")
    return {str(name).replace("-", "_"): value for name, value in values.items()}
