"""The fields of a run of pretraining: which have a part in it, and what they mean together."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ..errors import InputError, lookup
from ..fields import fit
from ..models.backbones import Wav2VecConfig
from ..models.configuration import SSL_BACKBONES
from ..models.presets import PRESETS
from ..training.arguments import check_encoder, check_learning, require_unused
from ..training.config import HeadArguments, ModelArguments, RunConfig
from .contrastive import GumbelTemperature
from .spans import Masking

ENCODERS = (*SSL_BACKBONES, Wav2VecConfig.model_type)
_OF_ENCODERS = {"backbone", "backbone_config", "attn_implementation", "layerdrop", "normalize"}
_OF_LABELS = {"target", "labels", "class_weights", "soft_labels"}
# Of a model above its encoder, and of what is measured by it.
WITHOUT_PART = {f.name for f in dataclasses.fields(HeadArguments)} - _OF_LABELS
WITHOUT_PART |= {f.name for f in dataclasses.fields(ModelArguments)} - _OF_ENCODERS
WITHOUT_PART |= {"bins", "trials", "unit", "max_seconds", "frozen_cache", "regularization", "push_to_hub", "streaming"}
WITHOUT_PART |= {"adaptation", "adaptation_dir"}
# Objective -> fields that other objectives have.
_OF_OTHERS = {
    "contrastive": {*_OF_LABELS, "clusters"},
    "clusters": {*_OF_LABELS, "temperature"},
    "labels": {"clusters", "masking", "temperature"},
}


def check_pretraining(config: RunConfig) -> None:
    """Refuses fields that don't agree, or have no part in what an encoder is to learn.

    Raises:
        InputError: the field, and the mend.
    """
    objective = config.pretraining.objective
    require_unused(config, WITHOUT_PART, "pretraining")
    require_unused(config, _OF_OTHERS[objective], f"objective {objective}")
    check_encoder(config)
    check_learning(config)
    if config.model.backbone in PRESETS:
        raise InputError(
            f"backbone {config.model.backbone} is a network that is trained as a whole; give an encoder: a checkpoint, "
            f"or a backbone_config with a model_type of {', '.join(ENCODERS)}"
        )
    model_type = config.model.backbone_config.get("model_type")
    if model_type is not None:
        lookup(dict.fromkeys(ENCODERS), model_type, "kind of encoder to pretrain")
    if config.learning.freeze == "backbone":
        raise InputError("freeze backbone leaves nothing to pretrain; leave it out")
    masking_of(config)
    temperature_of(config)


def masking_of(config: RunConfig) -> Masking:
    """How frames are hidden.

    Raises:
        InputError: a field that does not exist, or an impossible value.
    """
    return _table(Masking, config.pretraining.masking, "masking")


def temperature_of(config: RunConfig) -> GumbelTemperature:
    """How soft the choice of codes is.

    Raises:
        InputError: a field that does not exist, or an impossible value.
    """
    return _table(GumbelTemperature, config.pretraining.temperature, "temperature")


def _table(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    fields = typing.get_type_hints(kind)
    stray = [name for name in values if name not in fields]
    if stray:
        raise InputError(f"{where}: unknown field {stray[0]!r}; valid: {', '.join(fields)}")
    return kind(**{name: fit(value, fields[name], f"{where}: {name}") for name, value in values.items()})
