"""Fields of a dataclass from YAML and flags: every value as its annotation wants it, or refused in one line."""

import difflib
import re
import types
import typing
from collections.abc import Collection, Sequence
from typing import Any, Literal

import yaml

from .errors import InputError, unknown_name


class _Loader(yaml.SafeLoader):
    """YAML with numbers such as 1e-8, which YAML 1.2 has and PyYAML reads as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """What a text in YAML says: the one way in which files and flags are read here.

    >>> read_yaml("{final: 1e-8, name: e-8, when: 1.5e3}")
    {'final': 1e-08, 'name': 'e-8', 'when': 1500.0}

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, Loader=_Loader)


def parse_flags(words: Sequence[str]) -> dict[str, Any]:
    """`--name value`, `--name=value` and a bare `--name` (true) -> a table; values are read as YAML reads them.

    >>> parse_flags(["--max-steps", "3", "--pooling=mean+std", "--overwrite"])
    {'max_steps': 3, 'pooling': 'mean+std', 'overwrite': True}

    Raises:
        InputError: a word that belongs to no flag.
    """
    table: dict[str, Any] = {}
    name = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, given, value = word[2:].partition("=")
            name = name.replace("-", "_")
            table[name] = _read_value(name, value) if given else True
            name = None if given else name
        elif name is not None:
            table[name], name = _read_value(name, word), None
        else:
            raise InputError(f"unexpected word {word!r}: give fields as --name value")
    return table


def unknown_field(
    name: str, fields: Collection[str], foreign: Collection[str] = (), flags: Collection[str] = ()
) -> InputError:
    """The error for a field that does not exist: the nearest name, or all where none is near.

    Args:
        name: what was given.
        fields: ours.
        foreign: those of transformers' TrainingArguments, too many to list.
        flags: those of the command itself, where it was given as a flag.
    """
    own = {flag.removeprefix("--").replace("-", "_"): flag for flag in flags}
    known = [*own, *sorted(fields), *foreign]
    near = difflib.get_close_matches(name, known, n=1) or [field for field in known if name in field.split("_")]
    if not near:
        further = dict.fromkeys(foreign, "and the fields of transformers' TrainingArguments")
        return unknown_name(name, fields, "field", further)
    meant = own.get(near[0], repr(near[0]))
    return InputError(f"unknown field {name!r} (did you mean {meant}?); `hf-speech train --fields` lists all")


def lay(values: dict[str, Any], name: str, value: Any) -> None:
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


def _read_value(name: str, text: str) -> Any:
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"--{name}: {text!r} can't be read as YAML; put it in quotes of its own") from None
    # YAML reads 010 as 8 and 1_0 as 10: what is not written as a whole number is, is text.
    return text if type(value) is int and str(value) != text.strip() else value


def fit(value: Any, hint: Any, where: str) -> Any:
    """The value, as the annotation wants it: flags read 3 where 3.0 is meant, and the word none where nothing is.

    >>> fit(3, float, "learning_rate"), fit(0.1, str | None, "test"), fit("a, b", list[str], "labels")
    (3.0, '0.1', ['a', 'b'])
    >>> fit("none", float | None, "crop_seconds"), fit("none", dict, "augment"), fit("none", str | None, "neck")
    (None, {}, 'none')

    Args:
        value: as YAML or a flag has it.
        hint: the annotation, as `typing.get_type_hints` gives it.
        where: what messages begin with: the file or the flags, and the field.

    Raises:
        InputError: the value is not of that kind.
    """
    wanted = kinds(hint)
    if value is None and type(None) in wanted:
        return None
    if value in (None, "none"):
        literals = {item for kind in wanted for item in typing.get_args(kind) if typing.get_origin(kind) is Literal}
        if str not in wanted and "none" not in literals and type(None) in wanted:
            return None
        if all((typing.get_origin(kind) or kind) is dict for kind in wanted):
            return {}
    if float in wanted and not isinstance(value, bool):
        if isinstance(value, int | float) and int not in wanted:
            return float(value)
        if isinstance(value, str) and str not in wanted:
            try:
                return float(value)
            except ValueError:
                raise InputError(f"{where}: {value!r} is not a number") from None
    allowed = [v for kind in wanted if typing.get_origin(kind) is Literal for v in typing.get_args(kind)]
    if value in allowed:
        return value
    plain = tuple(typing.get_origin(kind) or kind for kind in wanted if typing.get_origin(kind) is not Literal)
    plain = tuple(kind for kind in plain if isinstance(kind, type))
    if isinstance(value, str) and str not in plain and (list in plain or dict in plain):
        value = _fit_text(value, list if list in plain else dict, where)
    if isinstance(value, list) and list in plain:
        items = next(typing.get_args(kind) for kind in wanted if (typing.get_origin(kind) or kind) is list)
        return [fit(item, items[0], where) for item in value] if items else value
    if isinstance(value, bool) and bool not in plain and (allowed or str in plain):
        if value:
            raise InputError(f"{where}: {value!r} is no text; give a value, in quotes if it is the word itself")
        return fit("no", hint, where)  # YAML reads the word no as false: the strategy, or Norwegian
    if isinstance(value, plain) and not (isinstance(value, bool) and bool not in plain):
        return value
    if allowed:
        raise InputError(f"{where}: {unknown_name(value, map(str, allowed), 'value')}")
    if str in plain and isinstance(value, int | float):
        return str(value)  # a split rule of 0.1 is a share
    if any(kind.__module__ != "builtins" for kind in plain):
        return value  # an enumeration or object of transformers: it checks its own values
    if bool in plain:
        raise InputError(f"{where}: {value!r} is neither yes nor no")
    names = " or ".join(sorted(kind.__name__ for kind in plain if kind is not types.NoneType))
    mend = "; begin each of its lines with a dash" if list in plain and isinstance(value, dict) else ""
    raise InputError(f"{where}: {value!r} is not of the kind {names}{mend}")


def _fit_text(value: str, kind: type, where: str) -> list[str] | dict[str, str]:
    """`a,b` as a list, `a=b,c=d` as a table: what is convenient to type as a flag."""
    parts = [part.strip() for part in value.split(",")]
    if kind is list:
        return parts
    pairs = [part.partition("=") for part in parts]
    if not all(name and sign and item for name, sign, item in pairs):
        raise InputError(f"{where}: {value!r} is no table; give name=value,name=value, or --name.key value")
    return {name.strip(): item.strip() for name, _, item in pairs}


def kinds(hint: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation, unions within unions laid flat.

    >>> kinds(int | str | None)
    (<class 'int'>, <class 'str'>, <class 'NoneType'>)
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(kind for part in typing.get_args(hint) for kind in kinds(part))
    return (hint,)
