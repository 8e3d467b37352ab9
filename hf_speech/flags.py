"""Which words of a command line are fields of a run, which are flags of the command itself, and what they say."""

import argparse
import dataclasses
import typing
from collections.abc import Iterable
from typing import Any

from .errors import InputError

# Commands that take the fields of a run as flags -> the flags they have besides.
_OWN = {
    "quickstart": {"--output-dir", "--data-dir", "--overwrite"},
    "train": {"--fields", "--plot-schedule"},
    "pretrain": {"--fields"},
    "layer-sweep": {"--folds", "--layers", "--probe", "--parallel", "--output-dir"},
    "augment": {"--output-dir", "--recipe", "--count", "--seed"},
    "evaluate": {
        "--split",
        "--output-dir",
        "--overwrite",
        "--revision",
        "--label-map",
        "--trust-remote-code",
        "--push-results",
    },
    "prepare": {
        "--data-dir",
        "--output-dir",
        "--config-name",
        "--shard-size",
        "--num-workers",
        "--overwrite",
        "--dry-run",
        "--fields",
        "--push-to-hub",
        "--public",
        "--i-may-redistribute",
    },
}
_EXPERIMENTS = ("crossval", "sweep")


def take_fields(words: list[str]) -> tuple[list[str], list[str]]:
    """Parts the flags that are fields of a run, each with its value, from the words that argparse knows."""
    if not words or not takes_fields(words[0]):
        return words, []
    own = _own_flags(words[0])
    switches = set()
    if words[0] not in ("prepare", "augment"):
        from .training.config import boolean_fields

        switches = boolean_fields()
    kept, fields = words[:1], []
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        name, sign, value = word.partition("=")
        is_switch = name.removeprefix("--").replace("-", "_") in switches
        takes_value = not sign and bool(rest) and not rest[0].startswith("--") and not is_switch
        takes_value |= is_switch and bool(rest) and rest[0].lower() in ("true", "false", "yes", "no")
        if not word.startswith("--") or word in ("--", "--help"):
            kept.append(word)
        elif name.replace("_", "-") in own:
            kept.append(name.replace("_", "-") + sign + value)
        else:
            fields += [word, rest.pop(0)] if takes_value else [word]
    return kept, fields


def check_fields(command: str, names: Iterable[str]) -> None:
    """Refuses flags that are neither fields of a run nor the command's own, of which one may be meant.

    Args:
        command: that was given.
        names: of the fields that its flags give; `a.b` is a field of the table a.

    Raises:
        InputError: there is no such field.
    """
    from .training.arguments import check_field

    for name in (name.partition(".")[0] for name in names):
        if name != "base":  # which is refused with a mend of its own
            check_field(name, "flags", _own_flags(command))


def takes_fields(command: str) -> bool:
    """Whether the fields of a run, or of a corpus, are flags of a command."""
    return command in _OWN or command in _EXPERIMENTS


def _own_flags(command: str) -> set[str]:
    if command not in _EXPERIMENTS:
        return _OWN[command]
    from .experiments.command import own_flags

    return own_flags(command)


def add_flags(parser: argparse.ArgumentParser, kind: type, title: str | None = None) -> None:
    """Puts the fields of a dataclass into a parser as flags.

    A field's metadata says what it is for ("help"), and whether its flag may be given again and again ("several").

    Args:
        parser: of the command.
        kind: a dataclass.
        title: of a group of their own in the help; None: they stand among the other flags.
    """
    place = parser if title is None else parser.add_argument_group(title)
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        flag, words = _flag_of(item), item.metadata["help"].replace("%", "%%")
        if hints[item.name] is bool:
            place.add_argument(flag, action="store_true", default=None, help=words)
            continue
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        shown = ",".join(map(str, default)) if isinstance(default, list | dict) else default
        choices = typing.get_args(hints[item.name]) if typing.get_origin(hints[item.name]) is typing.Literal else None
        place.add_argument(
            flag,
            action="append" if item.metadata.get("several") else "store",
            choices=choices,
            metavar=None if choices else item.metadata.get("metavar"),
            help=words if shown in (None, "") else f"{words} ({shown})",
        )


def given_flags(kind: type, options: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line of the fields of a dataclass, each as its annotation wants it.

    Raises:
        InputError: a value that its field can't have.
    """
    from .fields import fit, kinds

    hints, given = typing.get_type_hints(kind), {}
    for item in dataclasses.fields(kind):
        value, hint = getattr(options, item.name), hints[item.name]
        if value is None:
            continue
        if int in kinds(hint) and float not in kinds(hint) and isinstance(value, str):
            if not value.lstrip("-").isdigit():
                raise InputError(f"{_flag_of(item)} {value}: give a whole number")
            value = int(value)
        if dict in {typing.get_origin(kind) or kind for kind in kinds(hint)} and str(value).startswith("{"):
            value = _table(value, _flag_of(item))
        given[item.name] = fit(value, hint, _flag_of(item))
    return given


def _table(text: str, flag: str) -> Any:
    """`{a: b}`, as YAML has tables; what is none is left to `fit`."""
    import yaml

    from .fields import read_yaml

    try:
        return read_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"{flag}: {text!r} can't be read as YAML; give name=value,name=value") from None


def _flag_of(item: "dataclasses.Field[Any]") -> str:
    return f"--{item.name.replace('_', '-')}"
