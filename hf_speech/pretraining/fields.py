"""The fields of a run that learns without labels: which have a part in it, and what they mean together."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..fields import fit
from ..models.configuration import BACKBONES
from ..models.presets import PRESETS
from ..training.arguments import check_encoder, check_learning, require_unused
from ..training.config import HeadArguments, ModelArguments, RunConfig
from .contrastive import GumbelTemperature
from .spans import Masking

_OF_ENCODERS = {"backbone", "backbone_config", "attn_implementation", "layerdrop", "normalize"}
# Of a model above its encoder, and of rows with labels.
_WITHOUT_PART = {f.name for f in dataclasses.fields(HeadArguments)}
_WITHOUT_PART |= {f.name for f in dataclasses.fields(ModelArguments)} - _OF_ENCODERS
_WITHOUT_PART |= {"target", "labels", "bins", "trials", "unit", "max_seconds", "frozen_cache", "regularization"}
_WITHOUT_PART |= {"push_to_hub", "streaming"}


def check_pretraining(config: RunConfig) -> None:
    """Refuses fields that don't agree, or have no part in learning without labels.

    Raises:
        InputError: the field, and the mend.
    """
    require_unused(config, _WITHOUT_PART, "pretraining")
    check_encoder(config)
    check_learning(config)
    if config.model.backbone in PRESETS:
        raise InputError(
            f"backbone {config.model.backbone} learns with labels only; give an SSL encoder: a checkpoint, or a "
            f"backbone_config with a model_type of {', '.join(BACKBONES)}"
        )
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
