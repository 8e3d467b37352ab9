"""What a run may say, in words: every field, and every part of a model with its options, from their own definitions."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..data.drawing import EFFECTS
from ..models.backbones import OWN_BACKBONES
from ..models.configuration import SSL_BACKBONES
from ..models.presets import PRESETS
from ..models.registry import options_of
from .config import GROUPS, PRETRAINING_FIELDS
from .hf_arguments import OF_THE_RUN, TRAINING_DEFAULTS
from .parts import PARTS
from .regularization import REGULARIZATIONS

# How a run gives the parts that are not fields of their own.
_GIVEN_AS = {
    "front end": "of our own networks: backbone_config.frontend, with frontend_config",
    "network": "from scratch: backbone_config.model_type, with network_config",
}
_PLURALS = {"loss": "losses"}
_BASE = "another YAML file, as seen from this one, whose fields hold where this one does not give them"
_PUBLISHING = ["  hub_model_id                OWNER/NAME; none: the name of the model"]
_PUBLISHING += ["  hub_private_repo            whether only its owner may see it (false)"]
_PUBLISHING += ["  hub_revision                a branch, made if need be (main)"]
_SPEEDS = """augment (--augment; each happens with its probability):
  {speeds: [1], speed_classes: false}
                        Factors of which one is drawn; whether each makes speakers of its own."""


def describe_fields(without: Collection[str] = PRETRAINING_FIELDS) -> str:
    """The fields of a run with their meaning and default, a line each.

    Args:
        without: names of fields that have no part in the kind of run; those of a classifier are the default.
    """
    lines = ["of a YAML file only:", f"  {'base':28}{_BASE}"]
    for group, kind in GROUPS.items():
        items = [item for item in dataclasses.fields(kind) if item.name not in without]
        lines += [f"{group}:"] if items else []
        for item in items:
            default = item.default_factory() if callable(item.default_factory) else item.default
            shown = "" if default in (None, [], {}) else f" ({default})"
            lines.append(f"  {item.name:28}{item.metadata['help']}{shown}")
    lines.append("training: all fields of transformers' TrainingArguments; ours differ in these defaults")
    lines += [f"  {name:28}{value}" for name, value in TRAINING_DEFAULTS.items() if name not in OF_THE_RUN]
    if "push_to_hub" not in without:
        lines += ["  push_to_hub                 push the finished model to the Hub (false), as", *_PUBLISHING]
    return "\n".join(lines)


def describe_parts() -> str:
    """Every part by kind: its name, the first line of its docstring, its options with their defaults; the presets."""
    encoders = f"  of transformers: {', '.join(SSL_BACKBONES)}\n  of our own: {', '.join(OWN_BACKBONES)}"
    texts = [f"backbones, by model_type:\n{encoders}"]
    for what, registry in PARTS.items():
        given = _GIVEN_AS.get(what, f"--{what}, with --{what}-config")
        lines = [line for name, part in registry.items() for line in _lines(name, part)]
        texts.append("\n".join([f"{_PLURALS.get(what, f'{what}s')} ({given}):", *lines]))
    presets = [f"  {name:22}{_of_preset(settings)}" for name, settings in PRESETS.items()]
    effects = [line for name, part in EFFECTS.items() for line in _lines(name, part)]
    texts.append("\n".join([_SPEEDS, *effects]))
    texts.append(f"regularizations (--regularization): {', '.join(REGULARIZATIONS)}")
    texts.append("\n".join(["presets (--backbone; every field given beside stands above theirs):", *presets]))
    return "\n".join(texts)


def _lines(name: str, part: Callable[..., Any]) -> list[str]:
    options = ", ".join(f"{option}: {_plain(value)}" for option, value in options_of(part).items())
    told = (part.__doc__ or "").strip().partition("\n")[0]
    return [f"  {name:22}{told}", *([f"  {'':22}{{{options}}}"] if options else [])]


def _of_preset(settings: Mapping[str, Any]) -> str:
    backbone = settings["backbone_config"]
    network = ", ".join(f"{name}: {_plain(value)}" for name, value in backbone.get("network_config", {}).items())
    parts = (f"{what} {settings[what]}" for what in PARTS if what in settings)
    shown = f"{backbone['model_type']}" + (f" {{{network}}}" if network else "")
    return ", ".join([f"{shown} on {backbone['frontend']}", *parts])


def _plain(value: object) -> str:
    """A default as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
